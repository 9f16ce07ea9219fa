"""What the interval of a difference in AUC says about a variant."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bench.records import Auc, Comparison, Interval, Verdict
from bench.results.score.auc import difference
from bench.results.score.intervals import holm, student_quantile
from bench.results.score.placements import Placements

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def verdict(delta: float, interval: Interval, margin: float) -> Verdict:
    """The verdict on a difference of AUC, variant minus baseline; `margin` is the loss that is still acceptable."""
    if interval.low > 0:
        return "improved"
    if interval.low > -margin:
        return "stable"
    if interval.high < 0 and delta < -margin:
        return "degraded"
    return "inconclusive"


def small_but_real(interval: Interval, margin: float) -> bool:
    """Whether a loss is proven, and proven to lie within the margin."""
    return interval.low > -margin and interval.high < 0


def further_frames(delta: Auc, margin: float, count: int) -> int | None:
    """How many more frames than `count` would settle an inconclusive verdict; None where it is settled, or none would.

    If the difference stays what it is, and its interval narrows with the square root of the number of
    frames, with which the degrees of freedom of Student's t grow, while what one frame could make
    shrinks as their number grows.
    """
    value, whole, narrow = delta.value, delta.interval, delta.narrow or delta.interval
    # An interval that ends where differences do may reach any way beyond.
    if verdict(value, whole, margin) != "inconclusive" or whole.low <= -1 or whole.high >= 1:
        return None
    if value < -margin:
        room, reach, one_frame = -value, narrow.high - value, whole.high - value
    else:
        room, reach, one_frame = value + margin, value - narrow.low, value - whole.low
    if room <= 0 or one_frame <= 0:
        return None
    times = max(_times_as_many(reach, room, delta.freedom), one_frame / room if one_frame > reach else 1.0)
    return max(math.floor(count * times) + 1 - count, 1)


def _times_as_many(reach: float, room: float, freedom: float) -> float:
    """How many times as many frames let an interval that reaches so far reach no further than `room`."""
    error = reach / student_quantile(0.95, freedom)
    few, many = 1.0, max((reach / room) ** 2, 1.0)
    for _ in range(60):
        middle = math.sqrt(few * many)
        if student_quantile(0.95, freedom * middle) * error / math.sqrt(middle) < room:
            many = middle
        else:
            few = middle
    return many


def compare(
    placed: Mapping[str, Placements], baseline: str, clusters: NDArray[np.int64] | None, margin: float
) -> dict[str, Comparison]:
    """Every other variant against the baseline, p corrected for their number; empty without the baseline."""
    if baseline not in placed:
        return {}
    found = {name: difference(own, placed[baseline], clusters) for name, own in placed.items() if name != baseline}
    corrected = holm([p for _, p in found.values()])
    return {
        name: Comparison(
            delta=delta,
            p=p,
            p_holm=p_holm,
            verdict=verdict(delta.value, delta.interval, margin),
            small_but_real=small_but_real(delta.interval, margin),
            # What tells no frame from another settles nothing with more of them.
            further_frames=None if placed[name].all_equal else further_frames(delta, margin, len(placed[name].is_fake)),
            all_equal=placed[name].all_equal,
        )
        for (name, (delta, p)), p_holm in zip(found.items(), corrected, strict=True)
    }
