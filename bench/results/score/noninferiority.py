"""Non-inferiority: what the interval of a difference in AUC says about a variant."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bench.records import Auc, Comparison, Interval, Verdict
from bench.results.score.differences import difference
from bench.results.score.intervals import holm, student_quantile
from bench.results.score.placements import Placements

if TYPE_CHECKING:
    from bench.results.score.clusters import Clusters


def verdict(delta: float, interval: Interval, margin: float, hidden: float = 0.0) -> Verdict:
    """The verdict on a difference of AUC, variant minus baseline; `margin` is the loss that is still acceptable.

    A gain counts as a loss does: significant, and beyond the margin by its estimate. Half precision can be
    significantly better by .0001, which is of no use to anybody: the scores hardly moved, and the interval is narrow.
    Of scores that were rounded, the estimate is beyond the margin where it is so by more than is `hidden`.
    """
    if interval.low > 0 and delta - hidden > margin:
        return "improved"
    if interval.low > -margin:
        return "stable"
    if interval.high < 0 and delta + hidden < -margin:
        return "degraded"
    return "inconclusive"


def small_but_real(interval: Interval, margin: float) -> bool:
    """Whether a loss is significant, and significantly smaller than the margin."""
    return interval.low > -margin and interval.high < 0


def further_frames(delta: Auc, margin: float, count: int) -> int | None:
    """How many more frames than `count` would settle an inconclusive verdict: a rough guess.

    The guess assumes that the difference stays what it is, and so does what rounding hides; that the rest of the
    interval narrows with the square root of the number of frames, and that the degrees of freedom of Student's t grow
    with it. None where the verdict is settled, or no number of frames would settle it.
    """
    whole = delta.interval
    # An interval that ends where differences do may reach any way beyond.
    if verdict(delta.value, whole, margin, delta.unresolved) != "inconclusive" or whole.low <= -1 or whole.high >= 1:
        return None
    # How far the interval's end may lie from the estimate for the verdict to be settled, beside what rounding hides.
    distance = -delta.value if delta.value + delta.unresolved < -margin else delta.value + margin
    headroom = distance - delta.unresolved
    if headroom <= 0:
        return None
    few, many = 1.0, 2 * max((whole.width / headroom) ** 2, 1.0)
    quantile = student_quantile(0.95, delta.freedom)
    for _ in range(60):
        middle = math.sqrt(few * many)
        narrower = student_quantile(0.95, delta.freedom * middle) / quantile / math.sqrt(middle)
        if verdict(delta.value, _narrowed(delta, narrower), margin, delta.unresolved) == "inconclusive":
            few = middle
        else:
            many = middle
    return max(math.floor(count * many) + 1 - count, 1)


def _narrowed(delta: Auc, narrower: float) -> Interval:
    """The interval of a difference, `narrower` times as wide but for what rounding hides."""
    hidden = delta.unresolved
    below, above = delta.value - delta.interval.low - hidden, delta.interval.high - delta.value - hidden
    return Interval(delta.value - below * narrower - hidden, delta.value + above * narrower + hidden)


def compare(
    placed: Mapping[str, Placements], baseline: str, clusters: Clusters | None, margin: float
) -> dict[str, Comparison]:
    """Compare every other variant with the baseline; p is corrected for their number (Holm).

    `placed` has the placement values of each variant by name. Empty where it lacks the baseline.
    """
    if baseline not in placed:
        return {}
    others = {name: scores for name, scores in placed.items() if name != baseline}
    differences = {name: difference(scores, placed[baseline], clusters) for name, scores in others.items()}
    corrected = holm([p for _, p in differences.values()])
    return {
        name: Comparison(
            delta=delta,
            p=p,
            p_holm=p_holm,
            verdict=verdict(delta.value, delta.interval, margin, delta.unresolved),
            small_but_real=small_but_real(delta.interval, margin),
            # A variant that scores all frames alike does so with more frames too.
            further_frames=None if placed[name].all_equal else further_frames(delta, margin, len(placed[name].is_fake)),
            all_equal=placed[name].all_equal,
        )
        for (name, (delta, p)), p_holm in zip(differences.items(), corrected, strict=True)
    }
