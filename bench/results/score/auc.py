"""The area under the ROC curve, with its 95 % interval."""

from __future__ import annotations

import math

from bench.records import Auc, Interval
from bench.results.score.clusters import Clusters
from bench.results.score.intervals import newcombe, student_quantile
from bench.results.score.placements import Placements
from bench.results.score.variances import Uncertainty, by_frame_of, by_source_of, is_usable


def estimate(placed: Placements, clusters: Clusters | None) -> Auc:
    """The AUC with its 95 % interval by frame and, where frames share some of `clusters`, by source.

    By frame: DeLong et al. 1988, Biometrics 44: 837-845; Newcombe's method 5 where the variance is 0. By source:
    Obuchowski 1997, Biometrics 53: 567-578, with Student's t, and at least as wide as Newcombe's method 5 with the
    effective number of independent frames. Both are symmetric on the logit scale, so they lie within [0, 1].
    """
    by_frame = by_frame_of(placed.fake, placed.real)
    by_source = by_source_of(placed.fake, placed.real, clusters, (placed,))
    return Auc(
        placed.auc,
        _single(placed.auc, by_frame, 0.95),
        _single(placed.auc, by_source, 0.95) if by_source else None,
        math.sqrt(by_frame.variance),
    )


def _single(auc: float, uncertainty: Uncertainty, level: float) -> Interval:
    """The interval of one AUC: symmetric on the logit scale, or Newcombe's where the variance says nothing."""
    quantile = student_quantile(level, uncertainty.freedom)
    if not math.isfinite(uncertainty.variance):
        return Interval(0.0, 1.0)
    if not is_usable(uncertainty) or not 0 < auc < 1:
        return newcombe(auc, uncertainty.fake, uncertainty.real, quantile)
    middle, half = math.log(auc / (1 - auc)), quantile * math.sqrt(uncertainty.variance) / (auc * (1 - auc))
    by_variance = Interval(_logistic(middle - half), _logistic(middle + half))
    if not math.isfinite(uncertainty.freedom):
        return by_variance
    # Few sources may all be alike by chance, and their variance is then too small.
    expected = newcombe(auc, uncertainty.fake, uncertainty.real, quantile)
    return Interval(min(by_variance.low, expected.low), max(by_variance.high, expected.high))


def _logistic(value: float) -> float:
    small = math.exp(-abs(value))
    return (1.0 if value >= 0 else small) / (1.0 + small)
