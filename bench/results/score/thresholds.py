"""Where to draw the line between real and fake, and whether a variant lost knowledge or only moved its scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from bench.records import Interval, LabelledFrames, OperatingPoint, Predictions, Shift, ShiftVerdict, ThresholdKind
from bench.results.score.intervals import normal_quantile, student_quantile
from bench.results.score.points import operating_point

if TYPE_CHECKING:
    from numpy.typing import NDArray

BROUGHT_BACK = 0.5
"""What share of a loss a new threshold must be proven to bring back before a variant is said not to have lost."""


def points(
    fixed: float,
    test: LabelledFrames,
    validation: LabelledFrames | None,
    own: Predictions,
    baseline: Predictions | None,
) -> dict[ThresholdKind, OperatingPoint | None]:
    """A variant's decisions on the test frames at three thresholds, of which the validation frames set two.

    "fixed" is `fixed`; "carried" has the false-positive rate that the baseline has at the fixed one
    (see `carried`), None where no threshold has; "own" is the variant's best (see `youden`). The latter two
    are None without validation frames of both classes. `baseline` may be `own` itself, whose "carried" is
    the fixed one; None where the baseline failed, so that there is none to carry over.
    """
    at: dict[ThresholdKind, float | None] = {"fixed": fixed, "carried": None, "own": None}
    if validation is not None and own.validation is not None and len(np.unique(validation.labels)) == 2:
        at["own"] = youden(validation.labels, own.validation, fixed)
        if baseline is own:
            at["carried"] = fixed
        elif baseline is not None and baseline.validation is not None:
            at["carried"] = carried(validation.labels, baseline.validation, own.validation, fixed)
    return {
        kind: None if threshold is None else operating_point(test.labels, own.test, threshold)
        for kind, threshold in at.items()
    }


def carried(
    labels: NDArray[np.integer], baseline: NDArray[np.floating], own: NDArray[np.floating], fixed: float
) -> float | None:
    """The threshold in (0, 1] at which `own` calls as many real frames fake as `baseline` does at `fixed`.

    All are [k], of the same frames, with both classes. Of equal scores that would exceed that number
    none is called fake. Where `fixed` is such a threshold, it is that; else it lies half way between two neighbouring
    real scores; above the highest of them
    half way to the next score of any class, or to 1, and below the lowest likewise, or to 0. None where more
    real frames than that have P(fake) = 1, so that even a threshold of 1 calls too many fake.
    """
    wanted = int((baseline[labels == 0] >= fixed).sum())
    scores, counts = np.unique(own[labels == 0], return_counts=True)
    at_or_above = np.append(np.cumsum(counts[::-1])[::-1], 0)
    cut = int(np.argmax(at_or_above <= wanted))
    if cut == 0 and scores[0] == 0:
        cut = 1
    if cut == len(scores) and scores[-1] == 1:
        return None
    lowest, highest = (scores[cut - 1] if cut else 0.0), (scores[cut] if cut < len(scores) else 1.0)
    if lowest < fixed <= highest:
        return fixed
    if cut == len(scores):
        return _between(float(scores[-1]), float(own[own > scores[-1]].min(initial=1.0)))
    if cut == 0:
        return _between(float(own[own < scores[0]].max(initial=0.0)), float(scores[0]))
    return _between(float(scores[cut - 1]), float(scores[cut]))


def youden(labels: NDArray[np.integer], p_fake: NDArray[np.floating], fixed: float) -> float:
    """The threshold in (0, 1] with the highest sensitivity + specificity on these frames [k] of both classes.

    Half way between two neighbouring scores (0 and 1 count as such); of equally good ones the nearest
    to `fixed`. Youden (1950), "Index for rating diagnostic tests", Cancer 3: 32-35.
    """
    scores, inverse = np.unique(np.concatenate([p_fake, (0.0, 1.0)]), return_inverse=True)
    fake, real = (np.bincount(inverse[:-2][labels == one], minlength=len(scores)) for one in (1, 0))
    # Whole numbers, lest equally good thresholds differ by rounding.
    found = (fake.sum() - np.cumsum(fake)[:-1]) * real.sum()
    alarms = (real.sum() - np.cumsum(real)[:-1]) * fake.sum()
    index = found - alarms
    best = np.flatnonzero(index == index.max())
    middles = (scores[best] + scores[best + 1]) / 2
    nearest = best[np.argmin(np.abs(middles - fixed))]
    return _between(float(scores[nearest]), float(scores[nearest + 1]))


def shift(
    labels: NDArray[np.integer],
    own: Predictions,
    baseline: Predictions,
    at: Mapping[ThresholdKind, OperatingPoint | None],
    baseline_at: Mapping[ThresholdKind, OperatingPoint | None],
    clusters: NDArray[np.int64] | None = None,
) -> Shift | None:
    """What of a variant's loss on the test frames [n] its own threshold brings back.

    None without own thresholds, or with fewer than two frames of either class. Frames of equal `clusters` [n]
    share a source; None where no two do. The thresholds are taken as given: how far validation frames
    may mislead them is not in the intervals.
    """
    fixed, mine, theirs, theirs_fixed = at["fixed"], at["own"], baseline_at["own"], baseline_at["fixed"]
    if fixed is None or mine is None or theirs is None or theirs_fixed is None:
        return None
    if min((labels == 0).sum(), (labels == 1).sum()) < 2:
        return None
    fake = labels == 1
    right = (own.test >= mine.threshold) == fake
    gained, gained_ci = _gap(fake, right, (own.test >= fixed.threshold) == fake, clusters)
    left, left_ci = _gap(fake, (baseline.test >= theirs.threshold) == fake, right, clusters)
    loss = (theirs_fixed.balanced_accuracy or 0.0) - (fixed.balanced_accuracy or 0.0)
    return Shift(gained, gained_ci, left, left_ci, _verdict(loss, gained_ci, left_ci))


def _verdict(loss: float, gained: Interval, left: Interval) -> ShiftVerdict | None:
    """Of a variant that loses `loss` of the baseline's balanced accuracy at the fixed threshold.

    That nothing proves lost does not prove that nothing is: few frames prove nothing.
    """
    if loss <= 0 or gained.low <= 0:
        return None
    if left.low > 0:
        return "shifted, and some lost"
    return "shifted, not lost" if left.high <= (1 - BROUGHT_BACK) * loss else "shifted"


def _gap(
    fake: NDArray[np.bool_],
    right: NDArray[np.bool_],
    other: NDArray[np.bool_],
    clusters: NDArray[np.int64] | None,
) -> tuple[float, Interval]:
    """By how much the balanced accuracy of `right` exceeds that of `other`, with its 95 % interval.

    Frame by frame [n] the difference is -1, 0 or 1. Of the intervals by frame and by source, the wider.
    """
    difference = right.astype(np.int8) - other.astype(np.int8)
    value = float(difference[fake].mean() + difference[~fake].mean()) / 2
    half = _half_by_frame(difference[fake], difference[~fake])
    if clusters is not None:
        half = max(half, _half_by_source(fake, difference, clusters))
    return value, Interval(max(value - half, -1.0), min(value + half, 1.0))


def _half_by_frame(*classes: NDArray[np.int8]) -> float:
    """Half the width where all frames are independent, from their differences in each class.

    With half a frame more in each cell of the table of right and wrong answers (Agresti & Min 2005,
    Statistics in Medicine 24: 729-740): that no frame differs does not prove that none would.
    """
    variance = 0.0
    for one in classes:
        count = len(one) + 2
        variance += ((np.count_nonzero(one) + 1) / count - (float(one.sum()) / count) ** 2) / count
    return normal_quantile(0.95) * math.sqrt(variance) / 2


def _half_by_source(fake: NDArray[np.bool_], difference: NDArray[np.int8], clusters: NDArray[np.int64]) -> float:
    """Half the width where sources are independent, from what the frames of each add up to.

    Student's t, with one degree of freedom fewer than the class with fewer sources has.
    """
    shares, counts = [], []
    for rows in (fake, ~fake):
        deviations = (difference[rows] - difference[rows].mean()) / rows.sum()
        shares.append(np.bincount(clusters[rows], deviations, int(clusters.max()) + 1))
        counts.append(len(np.unique(clusters[rows])))
    fewest = min(counts)
    if fewest < 2:
        return math.inf
    total = shares[0] + shares[1]
    variance = fewest / (fewest - 1) * float(total @ total)
    return student_quantile(0.95, fewest - 1) * math.sqrt(variance) / 2


def _between(low: float, high: float) -> float:
    """Half way, but above `low` even where no number lies between."""
    middle = (low + high) / 2
    return middle if middle > low else high
