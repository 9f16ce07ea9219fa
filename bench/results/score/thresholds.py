"""Thresholds on P(fake), and whether a variant lost accuracy or only moved its scores."""

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

    from bench.results.score.clusters import Clusters

BROUGHT_BACK = 0.5
"""The share of a loss that a new threshold must bring back significantly for the verdict "shifted, not lost"."""


def points(
    fixed: float,
    test: LabelledFrames,
    validation: LabelledFrames | None,
    variant: Predictions,
    baseline: Predictions | None,
) -> dict[ThresholdKind, OperatingPoint | None]:
    """A variant's decisions on the test frames at three thresholds. Validation frames set the latter two.

    "fixed" is the experiment's threshold `fixed`. "carried" keeps the baseline's false-positive rate (see
    `same_fpr`); None where no threshold does. "own" is the variant's best threshold (see `youden`). Without
    validation frames of both classes, "carried" and "own" are None. For the baseline itself, "carried" is `fixed`.
    `baseline` is None where it failed; "carried" then is None too.
    """
    by_kind: dict[ThresholdKind, float | None] = {"fixed": fixed, "carried": None, "own": None}
    if validation is not None and variant.validation is not None and len(np.unique(validation.labels)) == 2:
        by_kind["own"] = youden(validation.labels, variant.validation, fixed)
        if baseline is variant:
            by_kind["carried"] = fixed
        elif baseline is not None and baseline.validation is not None:
            by_kind["carried"] = same_fpr(validation.labels, baseline.validation, variant.validation, fixed)
    return {
        kind: None if threshold is None else operating_point(test.labels, variant.test, threshold)
        for kind, threshold in by_kind.items()
    }


def same_fpr(
    labels: NDArray[np.integer], baseline: NDArray[np.floating], variant: NDArray[np.floating], fixed: float
) -> float | None:
    """Threshold at which the variant's false-positive rate equals the baseline's at `fixed`.

    `baseline` and `variant` are P(fake) [k] of the same frames with `labels` [k] of both classes. The threshold is
    `fixed` where that will do, else midway between adjacent real scores. Beyond the highest or the lowest real
    score, it is midway to the next fake score, or to 1 or 0 where there is none. Tied real scores stay below the
    threshold where all of them would be too many. None if no threshold ≤ 1 reaches the rate.
    """
    alarms = int((baseline[labels == 0] >= fixed).sum())
    scores, counts = np.unique(variant[labels == 0], return_counts=True)
    at_or_above = np.append(np.cumsum(counts[::-1])[::-1], 0)
    cut = int(np.argmax(at_or_above <= alarms))
    if cut == 0 and scores[0] == 0:
        cut = 1
    if cut == len(scores) and scores[-1] == 1:
        return None
    lowest, highest = (scores[cut - 1] if cut else 0.0), (scores[cut] if cut < len(scores) else 1.0)
    if lowest < fixed <= highest:
        return fixed
    if cut == len(scores):
        return _between(float(scores[-1]), float(variant[variant > scores[-1]].min(initial=1.0)))
    if cut == 0:
        return _between(float(variant[variant < scores[0]].max(initial=0.0)), float(scores[0]))
    return _between(float(scores[cut - 1]), float(scores[cut]))


def youden(labels: NDArray[np.integer], p_fake: NDArray[np.floating], fixed: float) -> float:
    """Threshold in (0, 1] with the highest sensitivity + specificity (Youden's index).

    `p_fake` [k] and `labels` [k] are of frames of both classes. The threshold is midway between two adjacent scores,
    0 and 1 included; of several that are equally good, the nearest to `fixed`. Youden (1950), "Index for rating
    diagnostic tests", Cancer 3: 32-35.
    """
    scores, inverse = np.unique(np.concatenate([p_fake, (0.0, 1.0)]), return_inverse=True)
    fake, real = (np.bincount(inverse[:-2][labels == label], minlength=len(scores)) for label in (1, 0))
    # Both rates times both class sizes: whole numbers, so that rounding cannot separate equally good thresholds.
    true_alarms = (fake.sum() - np.cumsum(fake)[:-1]) * real.sum()
    false_alarms = (real.sum() - np.cumsum(real)[:-1]) * fake.sum()
    youden_index = true_alarms - false_alarms
    best = np.flatnonzero(youden_index == youden_index.max())
    middles = (scores[best] + scores[best + 1]) / 2
    nearest = best[np.argmin(np.abs(middles - fixed))]
    return _between(float(scores[nearest]), float(scores[nearest + 1]))


def shift(
    labels: NDArray[np.integer],
    variant: Predictions,
    baseline: Predictions,
    variant_points: Mapping[ThresholdKind, OperatingPoint | None],
    baseline_points: Mapping[ThresholdKind, OperatingPoint | None],
    clusters: Clusters | None = None,
) -> Shift | None:
    """How much of a variant's loss of balanced accuracy on the test frames [n] its own threshold brings back.

    The points are those of `points`. Frames that share some of `clusters` depend on each other; None where no two do.
    None where either has no threshold of its own, or a class has fewer than two frames. What the baseline gains by its
    own threshold too is not brought back: a fixed one that keeps false alarms rare is nobody's best. The intervals take
    the thresholds as given: they do not cover the choice of a threshold on few validation frames.
    """
    fixed, best = variant_points["fixed"], variant_points["own"]
    baseline_fixed, baseline_best = baseline_points["fixed"], baseline_points["own"]
    if fixed is None or best is None or baseline_fixed is None or baseline_best is None:
        return None
    if min((labels == 0).sum(), (labels == 1).sum()) < 2:
        return None
    fake = labels == 1
    right_at_fixed = (variant.test >= fixed.threshold) == fake
    right_at_best = (variant.test >= best.threshold) == fake
    baseline_right_at_best = (baseline.test >= baseline_best.threshold) == fake
    gained, gained_ci = _accuracy_difference(fake, right_at_best, right_at_fixed, clusters)
    left, left_ci = _accuracy_difference(fake, baseline_right_at_best, right_at_best, clusters)
    baseline_right_at_fixed = (baseline.test >= baseline_fixed.threshold) == fake
    lost_at_fixed = baseline_right_at_fixed.astype(np.int8) - right_at_fixed
    lost_at_best = baseline_right_at_best.astype(np.int8) - right_at_best
    _, back_ci = _accuracy_difference(fake, lost_at_fixed, lost_at_best, clusters)
    loss = (baseline_fixed.balanced_accuracy or 0.0) - (fixed.balanced_accuracy or 0.0)
    verdict = _verdict(loss, left_ci) if min(loss, gained_ci.low, back_ci.low) > 0 else None
    return Shift(gained, gained_ci, left, left_ci, verdict)


def _verdict(loss: float, left: Interval) -> ShiftVerdict:
    """The verdict on a variant that loses `loss` of the baseline's balanced accuracy at the fixed threshold.

    Its own threshold is shown to bring some of that back. "shifted, not lost" needs significance of its own: with few
    frames, a loss that stays is not significant either.
    """
    if left.low > 0:
        return "shifted, and some lost"
    return "shifted, not lost" if left.high <= (1 - BROUGHT_BACK) * loss else "shifted"


def _accuracy_difference(
    fake: NDArray[np.bool_],
    right: NDArray[np.bool_] | NDArray[np.int8],
    other: NDArray[np.bool_] | NDArray[np.int8],
    clusters: Clusters | None,
) -> tuple[float, Interval]:
    """Balanced accuracy of the answers `right` [n] minus that of `other` [n], with its 95 % interval.

    The interval is the wider of those by frame and by source. A single frame's difference is -1, 0 or 1; or up to 2,
    where both are differences of answers themselves.
    """
    difference = right.astype(np.int8) - other.astype(np.int8)
    value = float(difference[fake].mean() + difference[~fake].mean()) / 2
    half = _half_by_frame(difference[fake], difference[~fake])
    if clusters is not None:
        half = max(half, _half_by_source(fake, difference, clusters))
    most = max(1.0, abs(value))
    return value, Interval(max(value - half, -most), min(value + half, most))


def _half_by_frame(*classes: NDArray[np.int8]) -> float:
    """Half the interval's width if all frames are independent; `classes` are the differences in each class.

    Each cell of the table of right and wrong answers gets half a frame more (Agresti & Min 2005, Statistics in
    Medicine 24: 729-740): the width is above 0 even where no frame differs.
    """
    variance = 0.0
    for differences in classes:
        count = len(differences) + 2
        variance += (
            (int(np.square(differences).sum(dtype=np.int64)) + 1) / count - (float(differences.sum()) / count) ** 2
        ) / count
    return normal_quantile(0.95) * math.sqrt(variance) / 2


def _half_by_source(fake: NDArray[np.bool_], difference: NDArray[np.int8], clusters: Clusters) -> float:
    """Half the interval's width if sources are independent: the differences of a source's frames are added up.

    Student's t has as many degrees of freedom as the class with fewer sources has sources, less one.
    """
    total = np.zeros(1)
    for rows in (fake, ~fake):
        shares = np.zeros(len(fake))
        shares[rows] = (difference[rows] - difference[rows].mean()) / rows.sum()
        total = total + clusters.sums(shares)
    fewest = min(clusters.count(fake), clusters.count(~fake))
    if fewest < 2:
        return math.inf
    variance = fewest / (fewest - 1) * max(clusters.product(total, total), 0.0)
    return student_quantile(0.95, fewest - 1) * math.sqrt(variance) / 2


def _between(low: float, high: float) -> float:
    """Midway between two scores; `high` where floating point has no number in between."""
    middle = (low + high) / 2
    return middle if middle > low else high
