"""The area under the ROC curve and the difference of two on the same frames, with 95 % intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bench.records import Auc, Interval
from bench.results.score.clusters import Clusters
from bench.results.score.intervals import mover, newcombe, student_p, student_quantile
from bench.results.score.placements import Placements
from bench.results.score.swaps import Swaps, swaps

if TYPE_CHECKING:
    from numpy.typing import NDArray


ROUNDING = 1e-24
BLURRED = 0.1
"""Where pairs' changes are this far from being small beside the kernel: the ratio of mean square and mean size."""


@dataclass(frozen=True)
class _Uncertainty:
    """The variance of an AUC or of a difference of two, and how many independent units of each class stand behind it.

    By source, `fake` and `real` are the numbers of independent frames that would leave the AUC as uncertain.
    `freedom` are the degrees of freedom of Student's t, infinite for the normal distribution.
    """

    variance: float
    fake: float
    real: float
    freedom: float


def estimate(placed: Placements, clusters: Clusters | None) -> Auc:
    """The AUC with its 95 % interval by frame and, where frames share some of `clusters`, by source.

    By frame: DeLong et al. 1988, Biometrics 44: 837-845; Newcombe's method 5 where the variance is 0. By source:
    Obuchowski 1997, Biometrics 53: 567-578, with Student's t, and at least as wide as Newcombe's method 5 with the
    effective number of independent frames. Both are symmetric on the logit scale, so they lie within [0, 1].
    """
    by_frame = _by_frame(placed.fake, placed.real)
    by_source = _by_source(placed, clusters)
    return Auc(
        placed.auc,
        _single(placed.auc, by_frame, 0.95),
        _single(placed.auc, by_source, 0.95) if by_source else None,
        math.sqrt(by_frame.variance),
    )


def difference(
    variant: Placements, baseline: Placements, clusters: Clusters | None, level: float = 0.95
) -> tuple[Auc, float]:
    """`variant` minus `baseline` on the same frames, with paired intervals at `level`, and the two-sided p.

    By frame DeLong et al. 1988, by source Obuchowski 1997, of the changes of placement that `swaps` smooths, with
    Student's t. The degrees of freedom are the effective number of frames or sources that make up the difference,
    less one (Satterthwaite 1946, Biometrics Bulletin 2: 110-114). The order of single pairs adds its variance, as far
    as the estimate rests on it: where hardly a pair swaps, the smoothed difference is the better one. The interval
    holds the estimate and half a step of the AUC's grid around it, which is 1 / (fakes · reals). Nothing is known of a
    class with one frame, or of the sources of one with one source. ValueError where the labels of the two differ.
    """
    if not np.array_equal(variant.is_fake, baseline.is_fake):
        raise ValueError("a difference of two areas under the ROC curve needs the same frames with the same labels")
    changes = swaps(variant, baseline)
    fake, real = variant.fake - baseline.fake, variant.real - baseline.real
    delta, error = variant.auc - baseline.auc, math.sqrt(_by_frame(fake, real).variance)
    of_frames = [
        _mean_by_frame(*parts)
        for parts in ((changes.fake, changes.real, changes.squared), (fake, real, changes.counted))
    ]
    frames = _paired((variant.auc, baseline.auc), changes, of_frames[0], of_frames[1], level)
    sources = None
    if clusters is not None and not clusters.independent:
        of_sources = [
            _mean_by_source(*parts, variant.is_fake, clusters) for parts in ((changes.fake, changes.real), (fake, real))
        ]
        sources = _paired((variant.auc, baseline.auc), changes, of_sources[0], of_sources[1], level)
    auc = Auc(delta, frames.interval, sources.interval if sources else None, error)
    wider = sources if sources and auc.clustered else frames
    return replace(auc, freedom=wider.freedom), wider.p


def _by_frame(fake: NDArray[np.float64], real: NDArray[np.float64]) -> _Uncertainty:
    """DeLong's variance of the mean of `fake` [m] and `real` [n], frames being independent."""
    fakes, reals = ((part - part.mean()) / len(part) for part in (fake, real))
    variance = sum(_inflation(len(part)) * float(part @ part) for part in (fakes, reals))
    return _Uncertainty(variance, len(fake), len(real), math.inf)


def _by_source(placed: Placements, clusters: Clusters | None) -> _Uncertainty | None:
    """Obuchowski's variance of an AUC, sources being independent.

    The degrees of freedom are the number of sources of the class with fewer, less one; sources of unequal size, or
    that overlap, count as fewer equal ones (see `Clusters.effective`). None where no frames share a source.
    """
    if clusters is None or clusters.independent:
        return None
    variance, _ = _clustered(placed.fake, placed.real, placed.is_fake, clusters)
    classes = (placed.is_fake, ~placed.is_fake)
    if min(clusters.count(rows) for rows in classes) < 2:
        variance = math.inf
    design_effect = _design_effect(placed, clusters)
    sources = [clusters.effective(rows) for rows in classes]
    units = [max(count, float(rows.sum()) / design_effect) for count, rows in zip(sources, classes, strict=True)]
    return _Uncertainty(variance, units[0], units[1], max(min(sources) - 1, 1.0))


def _design_effect(placed: Placements, clusters: Clusters) -> float:
    """Variance of the AUC by source over that by frame (Kish's design effect); at least 1."""
    by_frame = _by_frame(placed.fake, placed.real).variance
    if by_frame <= ROUNDING:
        return math.inf
    return max(_clustered(placed.fake, placed.real, placed.is_fake, clusters)[0] / by_frame, 1.0)


def _clustered(
    fake: NDArray[np.float64], real: NDArray[np.float64], is_fake: NDArray[np.bool_], clusters: Clusters
) -> tuple[float, NDArray[np.float64]]:
    """Obuchowski's variance, and the deviation from the truth that each source contributes [sources].

    Where sources overlap, it is the sum over all pairs of frames that share one.
    """
    fakes, reals = _deviations(fake, is_fake, clusters), _deviations(real, ~is_fake, clusters)
    variance = (
        _inflation(clusters.count(is_fake)) * clusters.product(fakes, fakes)
        + _inflation(clusters.count(~is_fake)) * clusters.product(reals, reals)
        + 2 * _inflation(clusters.count(np.ones_like(is_fake))) * clusters.product(fakes, reals)
    )
    return max(variance, 0.0), (fakes + reals)[: clusters.singles]


def _effective_units(*parts: NDArray[np.float64]) -> float:
    """Effective number of deviations in the sum of their squares: all if they are equal, 1 if one makes up the sum."""
    squares = [part * part for part in parts]
    fourth = sum(float(part @ part) for part in squares)
    return sum(float(part.sum()) for part in squares) ** 2 / fourth if fourth else 0.0


def _deviations(components: NDArray[np.float64], rows: NDArray[np.bool_], clusters: Clusters) -> NDArray[np.float64]:
    """The deviation of the mean of `components` [k] of the frames `rows` [n] that each group of these adds [groups]."""
    of_frames = np.zeros(len(rows))
    of_frames[rows] = components - components.mean()
    return clusters.sums(of_frames) / len(components)


def _inflation(count: float) -> float:
    """The factor n / (n - 1) that makes a variance of n units unbiased; 1 for a single unit."""
    return count / (count - 1) if count > 1 else 1.0


def _single(auc: float, uncertainty: _Uncertainty, level: float) -> Interval:
    """The interval of one AUC: symmetric on the logit scale, or Newcombe's where the variance says nothing."""
    quantile = student_quantile(level, uncertainty.freedom)
    if not math.isfinite(uncertainty.variance):
        return Interval(0.0, 1.0)
    if not _is_usable(uncertainty) or not 0 < auc < 1:
        return newcombe(auc, uncertainty.fake, uncertainty.real, quantile)
    middle, half = math.log(auc / (1 - auc)), quantile * math.sqrt(uncertainty.variance) / (auc * (1 - auc))
    by_variance = Interval(_logistic(middle - half), _logistic(middle + half))
    if not math.isfinite(uncertainty.freedom):
        return by_variance
    # Few sources may all be alike by chance, and their variance is then too small.
    expected = newcombe(auc, uncertainty.fake, uncertainty.real, quantile)
    return Interval(min(by_variance.low, expected.low), max(by_variance.high, expected.high))


@dataclass(frozen=True)
class _Paired:
    """An interval of a difference, its two-sided p, and the degrees of freedom of Student's t behind it."""

    interval: Interval
    p: float
    freedom: float


@dataclass(frozen=True)
class _Mean:
    """The variance of a mean change of placement, and its degrees of freedom."""

    variance: float
    freedom: float


def _mean_by_frame(fake: NDArray[np.float64], real: NDArray[np.float64], of_a_pair: float) -> _Mean:
    """Where frames are independent; `of_a_pair` is the mean square of a pair's change.

    What a pair has for itself is in the variances of both of its frames, once too often.
    """
    parts = [(part - part.mean()) / len(part) for part in (fake, real)]
    if min(len(part) for part in parts) < 2:
        return _Mean(math.inf, 1.0)
    variances = [_inflation(len(part)) * float(part @ part) for part in parts]
    total = sum(variances)
    freedoms = [max(_effective_units(part) - 1, 1.0) for part in parts]
    spread = sum(variance**2 / freedom for variance, freedom in zip(variances, freedoms, strict=True))
    pairs = len(fake) * len(real)
    return _Mean(max(total - of_a_pair / pairs, total / 2), total**2 / spread if spread else math.inf)


def _mean_by_source(
    fake: NDArray[np.float64], real: NDArray[np.float64], is_fake: NDArray[np.bool_], clusters: Clusters
) -> _Mean:
    """Where sources are; the degrees of freedom are limited by the class with fewer.

    Sources of unequal size, or that overlap, count as fewer equal ones: see `Clusters.effective`.
    """
    if min(clusters.count(rows) for rows in (is_fake, ~is_fake)) < 2:
        return _Mean(math.inf, 1.0)
    variance, deviations = _clustered(fake, real, is_fake, clusters)
    fewest = min(clusters.effective(rows) for rows in (is_fake, ~is_fake))
    return _Mean(variance, max(min(_effective_units(deviations), fewest) - 1, 1.0))


def _paired(aucs: tuple[float, float], changes: Swaps, smooth: _Mean, counted: _Mean, level: float) -> _Paired:
    """The interval of the difference of `aucs`, the first minus the second: see `difference`."""
    delta = aucs[0] - aucs[1]
    if not math.isfinite(smooth.variance):
        return _Paired(Interval(-1.0, 1.0), 1.0, smooth.freedom)
    step = 1 / (len(changes.fake) * len(changes.real))
    swapped = changes.share / step
    # With many swaps their number says more than the smoothed scores, which the kernel has blurred a little.
    weight = swapped**2 / (4 + swapped**2)
    middle = changes.value + weight * (delta - changes.value)
    of_pairs = weight**2 * max(changes.share - changes.squared, 0.0) * step + changes.unseen
    variance = smooth.variance + of_pairs
    # What many pairs add is as good as known.
    freedom = smooth.freedom * (variance / smooth.variance) ** 2 if smooth.variance > 0 else math.inf
    # Changes that are not small beside the kernel are blurred by it; those counted have a variance of their own then.
    if changes.squared > BLURRED * changes.share and counted.variance > variance:
        variance, freedom = counted.variance, counted.freedom
    # A count of few swaps moves by whole ones, so that a normal interval ends half a step too early.
    grid = step / 2 / (1 + swapped / 2)
    error, rounding = math.sqrt(variance), grid * min(swapped, 1.0)
    if variance <= ROUNDING and abs(delta) > grid:
        # Where all scores of a class are equal, nothing varies, and everything may have changed.
        units = len(changes.fake), len(changes.real)
        interval, p = mover(aucs, units, student_quantile(level, math.inf))
        return _Paired(interval, p, math.inf)
    half = student_quantile(level, freedom) * error + rounding
    low, high = min(middle - half, delta - grid), max(middle + half, delta + grid)
    statistic = max(abs(middle) - rounding, 0.0) / error if error > 0 else 0.0
    p = student_p(statistic, freedom) if abs(delta) > grid else 1.0
    return _Paired(Interval(max(low, -1.0), min(high, 1.0)), p, freedom)


def _is_usable(uncertainty: _Uncertainty) -> bool:
    """Whether the variance says anything: it is above what rounding leaves of 0, and has two units of each class."""
    return uncertainty.variance > ROUNDING and min(uncertainty.fake, uncertainty.real) > 1


def _logistic(value: float) -> float:
    small = math.exp(-abs(value))
    return (1.0 if value >= 0 else small) / (1.0 + small)
