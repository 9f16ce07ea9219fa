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


def further_frames(delta: Auc, margin: float, count: int, fewest: int) -> int | None:
    """How many more frames than `count` would settle an inconclusive verdict; None where it is settled, or none would.

    If the difference stays what it is, and its interval narrows with the square root of the number of
    frames, with which the degrees of freedom of Student's t grow. Where it holds 0, it reaches as far as one
    frame of the smaller class makes, however narrow it becomes: `fewest` are the frames of that class, whose
    share stays what it is.
    """
    whole = delta.interval
    # An interval that ends where differences do may reach any way beyond.
    if verdict(delta.value, whole, margin) != "inconclusive" or whole.low <= -1 or whole.high >= 1:
        return None
    room = -delta.value if delta.value < -margin else delta.value + margin
    if room <= 0:
        return None
    narrow = delta.narrow or whole
    reach = max(narrow.width, 1 / fewest)
    few, many = 1.0, 2 * max((reach / room) ** 2, 1 / (fewest * room), 1.0)
    quantile = student_quantile(0.95, delta.freedom)
    for _ in range(60):
        middle = math.sqrt(few * many)
        narrower = student_quantile(0.95, delta.freedom * middle) / quantile / math.sqrt(middle)
        if verdict(delta.value, _with_more(delta.value, narrow, narrower, fewest * middle), margin) == "inconclusive":
            few = middle
        else:
            many = middle
    return max(math.floor(count * many) + 1 - count, 1)


def _with_more(value: float, interval: Interval, narrower: float, fewest: float) -> Interval:
    """`interval` around `value`, `narrower` times as wide, by the rule of `auc.difference` for so small a class."""
    low, high = value - (value - interval.low) * narrower, value + (interval.high - value) * narrower
    return Interval(
        min(low, value - 1 / fewest) if low <= 0 else low, max(high, value + 1 / fewest) if high >= 0 else high
    )


def _sizes(placed: Placements) -> tuple[int, int]:
    """How many frames there are, and how many of the smaller class."""
    fake = int(placed.is_fake.sum())
    return len(placed.is_fake), min(fake, len(placed.is_fake) - fake)


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
            further_frames=None if placed[name].all_equal else further_frames(delta, margin, *_sizes(placed[name])),
            all_equal=placed[name].all_equal,
        )
        for (name, (delta, p)), p_holm in zip(found.items(), corrected, strict=True)
    }
