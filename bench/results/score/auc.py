"""The area under the ROC curve and the difference of two on the same frames, with 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from bench.records import Auc, Interval
from bench.results.score.clusters import Clusters
from bench.results.score.intervals import mover, newcombe, student_p, student_quantile
from bench.results.score.placements import Placements

if TYPE_CHECKING:
    from numpy.typing import NDArray


PartT = TypeVar("PartT")

ROUNDING = 1e-24
SIGNS = (1, -1, -1, 1)
"""Of the AUCs in a difference, and of those in a difference of differences."""
FEW = 50
"""Where fewer frames or sources than this make up a difference, its interval does not rest on the variance alone."""


@dataclass(frozen=True)
class _Uncertainty:
    """The variance of an AUC or of a difference of two, and how many independent units of each class stand behind it.

    By source, `fake` and `real` are the numbers of independent frames that would leave the AUC as uncertain.
    `freedom` are the degrees of freedom of Student's t, infinite for the normal distribution. `effective_units` is the
    number of units with equal shares that would make up the variance.
    """

    variance: float
    fake: float
    real: float
    freedom: float
    effective_units: float


def estimate(placed: Placements, clusters: Clusters | None) -> Auc:
    """The AUC with its 95 % interval by frame and, where frames share some of `clusters`, by source.

    By frame: DeLong et al. 1988, Biometrics 44: 837-845; Newcombe's method 5 where the variance is 0. By source:
    Obuchowski 1997, Biometrics 53: 567-578, with Student's t, and at least as wide as Newcombe's method 5 with the
    effective number of independent frames. Both are symmetric on the logit scale, so they lie within [0, 1].
    """
    by_frame = _by_frame(placed.fake, placed.real)
    by_source = _by_source(placed.fake, placed.real, clusters, (placed,))
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

    By frame DeLong et al. 1988, by source Obuchowski 1997, both with Student's t. The degrees of freedom are the
    effective number of frames or sources that make up the difference, less one (Satterthwaite 1946, Biometrics
    Bulletin 2: 110-114); with many, t is the normal distribution. With few, the variance may miss rare cases: the
    interval is at least that of Zou & Donner 2008, Statistics in Medicine 27: 1693-1702, from the intervals of both
    AUCs and the correlation of their ranks. An interval that holds 0 reaches at least as far as one frame of the
    smaller class could move the AUC; `p` belongs to the interval before that. Where both rank all frames alike, the
    difference is exactly 0 with p = 1. ValueError where the labels of the two differ.
    """
    return _contrast((variant, baseline), clusters, level)


def extra_difference(
    changed: tuple[Placements, Placements],
    before: tuple[Placements, Placements],
    clusters: Clusters | None,
    level: float = 0.95,
) -> tuple[Auc, float]:
    """The difference of two `changed` AUCs minus that of the same two variants `before`, all on the same frames.

    Interval and p are those of `difference`, from the difference of the differences of placement values. With few
    frames or sources that make it up, the interval is at least that of Zou & Donner for a sum of four AUCs. ValueError
    where the labels differ.
    """
    return _contrast((*changed, *before), clusters, level)


def _contrast(of: tuple[Placements, ...], clusters: Clusters | None, level: float) -> tuple[Auc, float]:
    """The sum of two or four AUCs, each times its sign in `SIGNS`, with its interval and the two-sided p."""
    if not all(np.array_equal(placed.is_fake, of[0].is_fake) for placed in of[1:]):
        raise ValueError("a difference of areas under the ROC curve needs the same frames with the same labels")
    if all(np.array_equal(first.ranks, second.ranks) for first, second in _pairs(of)):
        nothing = Interval(0.0, 0.0)
        return Auc(0.0, nothing, None, 0.0), 1.0
    fake, real = _signed([placed.fake for placed in of]), _signed([placed.real for placed in of])
    by_frame = _by_frame(fake, real)
    by_source = _by_source(fake, real, clusters, of)
    frames = _paired(of, by_frame, level)
    sources = _paired(of, by_source, level) if by_source else None
    auc = Auc(_value(of), frames.interval, sources.interval if sources else None, math.sqrt(by_frame.variance))
    wider = sources if sources and auc.clustered else frames
    return replace(auc, freedom=wider.freedom, narrow=wider.narrow), wider.p


def _pairs(parts: Sequence[PartT]) -> list[tuple[PartT, PartT]]:
    return list(zip(parts[::2], parts[1::2], strict=True))


def _signed(parts: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The sum of two or four vectors [n], each times its sign: the difference of each pair first."""
    differences = [first - second for first, second in _pairs(parts)]
    return differences[0] if len(differences) == 1 else differences[0] - differences[1]


def _value(of: Sequence[Placements]) -> float:
    """The sum of two or four AUCs, each times its sign; what rounding leaves of nothing is 0."""
    value = math.fsum(sign * placed.auc for sign, placed in zip(SIGNS, of, strict=False))
    return value if abs(value) > ROUNDING**0.5 else 0.0


def _by_frame(fake: NDArray[np.float64], real: NDArray[np.float64]) -> _Uncertainty:
    """DeLong's variance of the mean of `fake` [m] and `real` [n], frames being independent."""
    fakes, reals = ((part - part.mean()) / len(part) for part in (fake, real))
    variance = sum(_inflation(len(part)) * float(part @ part) for part in (fakes, reals))
    return _Uncertainty(variance, len(fake), len(real), math.inf, _effective_units(fakes, reals))


def _by_source(
    fake: NDArray[np.float64], real: NDArray[np.float64], clusters: Clusters | None, of: Sequence[Placements]
) -> _Uncertainty | None:
    """Obuchowski's variance of the mean of `fake` [m] and `real` [n], sources being independent.

    `of` are the variants whose placements `fake` and `real` were made of. The degrees of freedom are the number of
    sources of the class with fewer, less one; sources of unequal size, or that overlap, count as fewer equal ones
    (see `Clusters.effective`). None where no frames share a source.
    """
    if clusters is None or clusters.independent:
        return None
    is_fake = of[0].is_fake
    variance, deviations = _clustered(fake, real, is_fake, clusters)
    classes = (is_fake, ~is_fake)
    if min(clusters.count(rows) for rows in classes) < 2:
        variance = math.inf
    design_effect = max(_design_effect(placed, clusters) for placed in of)
    sources = [clusters.effective(rows) for rows in classes]
    units = [max(count, float(rows.sum()) / design_effect) for count, rows in zip(sources, classes, strict=True)]
    return _Uncertainty(variance, units[0], units[1], max(min(sources) - 1, 1.0), _effective_units(deviations))


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
    """An interval of a difference, its two-sided p, and `freedom` and `narrow` as in `Auc`."""

    interval: Interval
    p: float
    freedom: float = math.inf
    narrow: Interval | None = None


def _paired(of: tuple[Placements, ...], uncertainty: _Uncertainty, level: float) -> _Paired:
    """The paired interval of a difference: by its variance, widened where few frames or sources make it up."""
    if not math.isfinite(uncertainty.variance):
        return _Paired(Interval(-1.0, 1.0), 1.0)
    delta, fewest = _value(of), min(int(of[0].is_fake.sum()), int((~of[0].is_fake).sum()))
    paired = _by_variance(delta, uncertainty, level) if _is_usable(uncertainty) else None
    if paired is None or uncertainty.effective_units < FEW:
        paired = _widened(paired, of, uncertainty, level)
    return _with_resolution(paired, delta, fewest)


def _with_resolution(paired: _Paired, delta: float, frames: int) -> _Paired:
    """Widen an interval that holds 0 to every difference that one of `frames` frames could make alone."""
    low, high = paired.interval.low, paired.interval.high
    lowest, highest = delta - 1 / frames if low <= 0 else low, delta + 1 / frames if high >= 0 else high
    if lowest < low or highest > high:
        paired, low, high = replace(paired, narrow=paired.interval), min(low, lowest), max(high, highest)
    return replace(paired, interval=Interval(max(low, -1.0), min(high, 1.0)))


def _by_variance(delta: float, uncertainty: _Uncertainty, level: float) -> _Paired:
    # Two detectors often differ on a handful of frames only. The variance then is as uncertain as that of a handful:
    # Satterthwaite's degrees of freedom, each unit contributing its share of the variance.
    freedom = max(min(uncertainty.freedom, uncertainty.effective_units - 1), 1.0)
    error = math.sqrt(uncertainty.variance)
    half = student_quantile(level, freedom) * error
    return _Paired(Interval(delta - half, delta + half), student_p(delta / error, freedom), freedom)


def _widened(paired: _Paired | None, of: tuple[Placements, ...], uncertainty: _Uncertainty, level: float) -> _Paired:
    """The interval, extended by the one that follows from all AUCs and the correlation of their ranks.

    `paired` is None where the variance says nothing.
    """
    areas, units = [placed.auc for placed in of], (uncertainty.fake, uncertainty.real)
    # Without a variance, unequal areas may differ on every frame: no correlation is assumed.
    alone = _share_alone(of) if paired or _value(of) == 0 else 1.0
    expected, p = mover(areas, SIGNS[: len(of)], units, alone, student_quantile(level, uncertainty.freedom))
    if paired is None:
        return _Paired(expected, p)
    low, high = min(paired.interval.low, expected.low), max(paired.interval.high, expected.high)
    if (low, high) == (paired.interval.low, paired.interval.high):
        return paired
    return _Paired(Interval(low, high), max(paired.p, p))


def _share_alone(of: tuple[Placements, ...]) -> float:
    """The variance of the signed sum of AUCs with the correlations of their ranks, by that of as many independent ones.

    Of two, it is one minus their correlation.
    """
    pairs = combinations(range(len(of)), 2)
    shared = sum(SIGNS[i] * SIGNS[j] * _rank_correlation(of[i], of[j]) for i, j in pairs)
    return max(1 + 2 * shared / len(of), 0.0)


def _rank_correlation(variant: Placements, baseline: Placements) -> float:
    """Spearman's correlation of two variants' ranks within a class, averaged over both classes; at least 0.

    Hanley & McNeil 1983, Radiology 148: 839-843, estimate the correlation of two AUCs from it. Where two variants
    rank much alike, both correlations are nearly equal.
    """
    correlations = []
    for rows in (variant.is_fake, ~variant.is_fake):
        ranks, baseline_ranks = (_middle_ranks(placed.ranks[rows]) for placed in (variant, baseline))
        varies = bool(np.ptp(ranks)), bool(np.ptp(baseline_ranks))
        # Two variants that both score all frames of a class alike agree on them.
        correlations.append(float(np.corrcoef(ranks, baseline_ranks)[0, 1]) if all(varies) else float(not any(varies)))
    return max(sum(correlations) / 2, 0.0)


def _middle_ranks(values: NDArray[np.int64]) -> NDArray[np.float64]:
    """Ranks from 1; tied values share the mean of their ranks."""
    _, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    middles: NDArray[np.float64] = np.cumsum(counts) - (counts - 1) / 2
    return middles[codes]


def _is_usable(uncertainty: _Uncertainty) -> bool:
    """Whether the variance says anything: it is above what rounding leaves of 0, and has two units of each class."""
    return uncertainty.variance > ROUNDING and min(uncertainty.fake, uncertainty.real) > 1


def _logistic(value: float) -> float:
    small = math.exp(-abs(value))
    return (1.0 if value >= 0 else small) / (1.0 + small)
