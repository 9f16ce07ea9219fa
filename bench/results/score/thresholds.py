"""Where to draw the line between real and fake, and whether a variant lost knowledge or only moved its scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np

from bench.records import Evidence, Interval, Labelled, OperatingPoint, Shift, ThresholdKind
from bench.results.score.points import operating_point

if TYPE_CHECKING:
    from numpy.typing import NDArray

Z = 1.959963984540054
"""The normal distribution's 97.5th percentile."""


def points(
    fixed: float, test: Labelled, validation: Labelled | None, own: Evidence, baseline: Evidence | None
) -> dict[ThresholdKind, OperatingPoint | None]:
    """A variant's decisions on the test frames at three thresholds, of which the validation frames set two.

    "fixed" is `fixed`; "carried" has the false-positive rate that the baseline has at the fixed one
    (see `carried`); "own" is the variant's best (see `youden`). The latter two are None without validation
    frames of both classes. `baseline` may be `own` itself, whose "carried" is the fixed one; None where
    the baseline failed, so that there is none to carry over.
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
) -> float:
    """The threshold in (0, 1] at which `own` calls as many real frames fake as `baseline` does at `fixed`.

    All are [k], of the same frames, with both classes. Of equal scores that would exceed that number
    none is called fake. It lies half way between two neighbouring real scores; above the highest of them
    half way to the next score of any class, or to 1, and below the lowest likewise, or to 0. Where more
    real frames than that have P(fake) = 1, it is 1, which is as far as a threshold goes.
    """
    wanted = int((baseline[labels == 0] >= fixed).sum())
    scores, counts = np.unique(own[labels == 0], return_counts=True)
    at_or_above = np.append(np.cumsum(counts[::-1])[::-1], 0)
    cut = int(np.argmax(at_or_above <= wanted))
    if cut == 0 and scores[0] == 0:
        cut = 1
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
    own: Evidence,
    baseline: Evidence,
    at: Mapping[ThresholdKind, OperatingPoint | None],
    baseline_at: Mapping[ThresholdKind, OperatingPoint | None],
) -> Shift | None:
    """What of a variant's loss on the test frames [n] its own threshold brings back.

    None without own thresholds, or with fewer than two frames of either class. "shifted, not lost":
    at the fixed threshold it is below the baseline, its own proves better, and there nothing proves lost;
    "shifted, and some lost": its own proves better, and the baseline at its own proves better still.
    The thresholds are taken as given: how far validation frames may mislead them is not in the intervals.
    """
    fixed, mine, theirs, theirs_fixed = at["fixed"], at["own"], baseline_at["own"], baseline_at["fixed"]
    if fixed is None or mine is None or theirs is None or theirs_fixed is None:
        return None
    if min((labels == 0).sum(), (labels == 1).sum()) < 2:
        return None
    fake = labels == 1
    right = (own.test >= mine.threshold) == fake
    gained, gained_ci = _paired(fake, right, (own.test >= fixed.threshold) == fake)
    left, left_ci = _paired(fake, (baseline.test >= theirs.threshold) == fake, right)
    below = (fixed.balanced_accuracy or 0.0) < (theirs_fixed.balanced_accuracy or 0.0)
    verdict: Literal["shifted, not lost", "shifted, and some lost"] | None = None
    if gained_ci.low > 0 and left_ci.low > 0:
        verdict = "shifted, and some lost"
    elif gained_ci.low > 0 and below:
        verdict = "shifted, not lost"
    return Shift(gained, gained_ci, left, left_ci, verdict)


def _paired(fake: NDArray[np.bool_], right: NDArray[np.bool_], other: NDArray[np.bool_]) -> tuple[float, Interval]:
    """By how much the balanced accuracy of `right` exceeds that of `other`, with its normal 95 % interval.

    Frame by frame the difference is -1, 0 or 1; its variance is taken within each class.
    """
    difference = right.astype(np.int8) - other.astype(np.int8)
    classes = [difference[fake], difference[~fake]]
    value = float(np.mean([one.mean() for one in classes]))
    error = math.sqrt(sum(one.var(ddof=1) / len(one) for one in classes)) / 2
    return value, Interval(value - Z * error, value + Z * error)


def _between(low: float, high: float) -> float:
    """Half way, but above `low` even where no number lies between."""
    middle = (low + high) / 2
    return middle if middle > low else high
