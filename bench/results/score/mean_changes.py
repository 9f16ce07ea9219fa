"""The mean change of placement values: its variance, its degrees of freedom and its skewness.

From changes that a kernel smoothed, and from those that were counted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.results.score.clusters import Clusters
from bench.results.score.intervals import student_quantile
from bench.results.score.swaps import Swaps
from bench.results.score.variances import clustered, effective_units_of, inflation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLURRED = 0.1
"""Where pairs' changes are this far from being small beside the kernel: the ratio of mean square and mean size."""
WHOLLY_BLURRED = 1 / 3
"""From that ratio on, the variance is that of counted changes where it is larger; below, it lies between both."""
SKEWED = 0.75 * (2 * 1.96**2 + 1) / 6
"""By how many standard errors an interval of 95 % moves where the skewness of the mean is 1 (Cornish & Fisher).

Three quarters of it: the skewness of few frames is estimated from the same outliers that the mean is wrong by.
"""
RESOLVED = 0.01
"""What rounding hides is of no account below this share of the variance."""
FRAMES_OF_A_DEGREE = 50
"""Where a frame makes up the variance alone, it leaves one degree of freedom among so many, two among twice as many.

What others would add shows in a class of 100, and with one degree Student's t is 12.7 standard errors wide.
"""


@dataclass(frozen=True)
class MeanChange:
    """The variance of a mean change of placement, its degrees of freedom, and its third central moment.

    The latter is 0 by source: few sources tell nothing of it.
    """

    variance: float
    freedom: float
    third: float = 0.0


def mean_by_frame(fake: NDArray[np.float64], real: NDArray[np.float64], of_a_pair: float) -> MeanChange:
    """Where frames are independent; `of_a_pair` is the mean square of a pair's change.

    What a pair has for itself is in the variances of both of its frames, once too often.
    """
    parts = [(part - part.mean()) / len(part) for part in (fake, real)]
    if min(len(part) for part in parts) < 2:
        return MeanChange(math.inf, 1.0)
    variances = [inflation(len(part)) * float(part @ part) for part in parts]
    total = sum(variances)
    freedoms = [_freedom(part) for part in parts]
    spread = sum(variance**2 / freedom for variance, freedom in zip(variances, freedoms, strict=True))
    pairs = len(fake) * len(real)
    return MeanChange(
        max(total - of_a_pair / pairs, total / 2),
        total**2 / spread if spread else math.inf,
        sum(_third_moment(part) for part in parts),
    )


def _freedom(deviations: NDArray[np.float64]) -> float:
    """Satterthwaite's degrees of freedom: at least one, and at least two of 100 frames and more."""
    return max(effective_units_of(deviations) - 1, min(len(deviations) / FRAMES_OF_A_DEGREE, 2.0), 1.0)


def _third_moment(deviations: NDArray[np.float64]) -> float:
    """That of the mean of n values, unbiased; `deviations` [n] are theirs from the mean, divided by n."""
    n = len(deviations)
    return n**2 / ((n - 1) * (n - 2)) * float((deviations**3).sum()) if n > 2 else 0.0


def mean_by_source(
    fake: NDArray[np.float64], real: NDArray[np.float64], is_fake: NDArray[np.bool_], clusters: Clusters
) -> MeanChange:
    """Where sources are; the degrees of freedom are limited by the class with fewer.

    Sources of unequal size, or that overlap, count as fewer equal ones: see `Clusters.effective`.
    """
    if min(clusters.count(rows) for rows in (is_fake, ~is_fake)) < 2:
        return MeanChange(math.inf, 1.0)
    variance, deviations = clustered(fake, real, is_fake, clusters)
    fewest = min(clusters.effective(rows) for rows in (is_fake, ~is_fake))
    return MeanChange(variance, max(min(effective_units_of(deviations), fewest) - 1, 1.0))


def _blur(changes: Swaps) -> float:
    """How far changes of score are from being small beside the kernel, which blurs those that are not; 0 to 1."""
    seen = changes.share - changes.hidden
    return changes.squared / seen if seen > 0 else 0.0


def is_blurred(changes: Swaps) -> bool:
    """Whether changes of score are so wide that the kernel's neighbourhoods are not the same at both of their ends."""
    return _blur(changes) > BLURRED


def skew_shift(mean: MeanChange) -> float:
    """By how much the interval of a skewed mean moves.

    At every level as at 95 %, so that wider ones hold narrower ones, and by half of its half width at most.
    """
    if mean.variance <= 0:
        return 0.0
    most = student_quantile(0.95, mean.freedom) * math.sqrt(mean.variance) / 2
    return min(max(SKEWED * mean.third / mean.variance, -most), most)


def combined(smooth: MeanChange, counted: MeanChange, changes: Swaps, step: float) -> MeanChange:
    """What smoothed and counted changes say together.

    Changes that are not small beside the kernel are blurred by it, and those counted have a variance of their own then:
    where that is larger, it counts as far as they are blurred. The more of rounded scores have changed, the better they
    tell what the others hide. Where these hide as much as matters, they may have hidden the few frames too that make
    the difference uncertain: then the fewer degrees of freedom of both.
    """
    shown, blur = (changes.share - changes.hidden) / step, _blur(changes)
    part = min(blur / WHOLLY_BLURRED, 1.0)
    unseen = changes.unseen * (1 - part + part * 4 / (4 + shown**2))
    variance, freedom = smooth.variance + unseen, smooth.freedom
    if counted.variance > variance and part > 0:
        weights = (1 - part) * variance, part * counted.variance
        variance = sum(weights)
        spread = weights[0] ** 2 / freedom + weights[1] ** 2 / counted.freedom
        freedom = variance**2 / spread if spread else math.inf
    if is_blurred(changes) and unseen > RESOLVED * variance:
        freedom = min(smooth.freedom, counted.freedom)
    return MeanChange(variance, freedom, (1 - part) * smooth.third + part * counted.third)
