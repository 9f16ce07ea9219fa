"""The difference of two AUCs on the same frames, with its interval, and the difference of two such differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from bench.records import Auc, Interval
from bench.results.score.clusters import Clusters
from bench.results.score.intervals import mover, student_p, student_quantile
from bench.results.score.mean_changes import (
    MeanChange,
    combined,
    is_blurred,
    mean_by_frame,
    mean_by_source,
    skew_shift,
)
from bench.results.score.placements import Placements
from bench.results.score.swaps import Swaps, swaps
from bench.results.score.variances import (
    ROUNDING,
    Uncertainty,
    by_frame_of,
    by_source_of,
    is_usable,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

PartT = TypeVar("PartT")

SIGNS = (1, -1, -1, 1)
"""Of the AUCs in a difference, and of those in a difference of differences."""
FEW = 50
"""Where fewer sources than this make up a difference, its interval does not rest on the variance alone."""


def difference(
    variant: Placements, baseline: Placements, clusters: Clusters | None, level: float = 0.95
) -> tuple[Auc, float]:
    """`variant` minus `baseline` on the same frames, with paired intervals at `level`, and the two-sided p.

    By frame DeLong et al. 1988, by source Obuchowski 1997, of the changes of placement that `swaps` smooths, with
    Student's t. The degrees of freedom are the effective number of frames or sources that make up the difference,
    less one (Satterthwaite 1946, Biometrics Bulletin 2: 110-114). The order of single pairs adds its variance, as far
    as the estimate rests on it: where hardly a pair swaps, the smoothed difference is the better one. By frame, the
    interval lies the farther to one side the more skewed the changes are (Johnson 1978, Journal of the American
    Statistical Association 73: 536-544): where few frames lose much, few test frames are likely to lack them. It
    holds the estimate and half a step of the AUC's grid around it, which is 1 / (fakes · reals). With few sources, it
    is at least that of Zou & Donner 2008, Statistics in Medicine 27: 1693-1702, from the intervals of both AUCs and
    the correlation of their ranks. Of rounded scores it holds what those before rounding may have given, with the
    intervals of these. Nothing is known of a class with one frame or one source. ValueError where the labels of the two
    differ.
    """
    return contrast(variant, baseline, clusters).at(level)


def extra_difference(
    changed: tuple[Placements, Placements],
    before: tuple[Placements, Placements],
    clusters: Clusters | None,
    level: float = 0.95,
) -> tuple[Auc, float]:
    """The difference of two `changed` AUCs minus that of the same two variants `before`, all on the same frames.

    Interval and p are those of `difference`, from the difference of both changes of placement values. ValueError where
    the labels differ.
    """
    return extra_contrast(changed, before, clusters).at(level)


def contrast(variant: Placements, baseline: Placements, clusters: Clusters | None) -> Contrast:
    """What `difference` is made of, for intervals at several levels."""
    return _contrast((variant, baseline), clusters)


def extra_contrast(
    changed: tuple[Placements, Placements], before: tuple[Placements, Placements], clusters: Clusters | None
) -> Contrast:
    """What `extra_difference` is made of, for intervals at several levels."""
    return _contrast((*changed, *before), clusters)


@dataclass(frozen=True, eq=False)
class Contrast:
    """The sum of two or four AUCs, each times its sign in `SIGNS`, and what its intervals are made of.

    `change` are the smoothed changes of placement. `by_frame` and `by_source` are the variances of its mean and of the
    mean of the changes that were counted; the latter is None where no frames share a source. `few` is the uncertainty
    by source where so few sources make up the difference that its interval does not rest on these alone.
    """

    of: tuple[Placements, ...]
    change: Swaps
    standard_error: float
    by_frame: tuple[MeanChange, MeanChange]
    by_source: tuple[MeanChange, MeanChange] | None
    few: Uncertainty | None

    def at(self, level: float = 0.95) -> tuple[Auc, float]:
        """The value with its intervals at `level`, and the two-sided p."""
        frames, sources = _paired(self.of, self.change, *self.by_frame, level), None
        if self.by_source:
            sources = _paired(self.of, self.change, *self.by_source, level)
            sources = _widened(sources, self.of, self.few, level, self.change.unresolved) if self.few else sources
        auc = Auc(_value(self.of), frames.interval, sources.interval if sources else None, self.standard_error)
        wider = sources if sources and auc.clustered else frames
        return replace(auc, freedom=wider.freedom, unresolved=self.change.unresolved), wider.p


def _contrast(of: tuple[Placements, ...], clusters: Clusters | None) -> Contrast:
    """Of two variants, or of four: the difference of the first two comes first."""
    if not all(np.array_equal(placed.is_fake, of[0].is_fake) for placed in of[1:]):
        raise ValueError("a difference of areas under the ROC curve needs the same frames with the same labels")
    changes = [swaps(variant, baseline) for variant, baseline in _pairs(of)]
    change = changes[0] if len(changes) == 1 else changes[0].minus(changes[1])
    fake, real = _signed([placed.fake for placed in of]), _signed([placed.real for placed in of])
    by_source = None
    if clusters is not None and not clusters.independent:
        is_fake = of[0].is_fake
        by_source = (
            mean_by_source(change.fake, change.real, is_fake, clusters),
            mean_by_source(fake, real, is_fake, clusters),
        )
    return Contrast(
        of=of,
        change=change,
        standard_error=math.sqrt(by_frame_of(fake, real).variance),
        by_frame=(
            mean_by_frame(change.fake, change.real, change.squared),
            mean_by_frame(fake, real, change.counted),
        ),
        by_source=by_source,
        few=_by_few_sources(of, fake, real, clusters) if is_blurred(change) else None,
    )


def _by_few_sources(
    of: tuple[Placements, ...], fake: NDArray[np.float64], real: NDArray[np.float64], clusters: Clusters | None
) -> Uncertainty | None:
    """The uncertainty by source of counted changes; None where many sources make them up, or nothing is known."""
    uncertainty = by_source_of(fake, real, clusters, of)
    if uncertainty is None or not is_usable(uncertainty) or not math.isfinite(uncertainty.variance):
        return None
    return uncertainty if uncertainty.effective_units < FEW else None


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


@dataclass(frozen=True)
class _Paired:
    """An interval of a difference, its two-sided p, and the degrees of freedom of Student's t behind it."""

    interval: Interval
    p: float
    freedom: float


def _paired(
    of: tuple[Placements, ...], changes: Swaps, smooth: MeanChange, counted: MeanChange, level: float
) -> _Paired:
    """The interval of a difference: see `difference`."""
    delta = _value(of)
    if not math.isfinite(smooth.variance):
        return _Paired(Interval(-1.0, 1.0), 1.0, smooth.freedom)
    step = 1 / (len(changes.fake) * len(changes.real))
    swapped = changes.share / step
    # With many swaps their number says more than the smoothed scores, which the kernel has blurred a little.
    weight = swapped**2 / (4 + swapped**2)
    variance = smooth.variance + weight**2 * max(changes.share - changes.squared, 0.0) * step
    # What many pairs add is as good as known; what rounding hides is not.
    freedom = smooth.freedom * (variance / smooth.variance) ** 2 if smooth.variance > 0 else math.inf
    mean = combined(MeanChange(variance, freedom, smooth.third), counted, changes, step)
    error = math.sqrt(mean.variance)
    middle = changes.value + weight * (delta - changes.value) + skew_shift(mean)
    # A count of few swaps moves by whole ones, so that a normal interval ends half a step too early.
    grid = step / 2 / (1 + swapped / 2)
    # Scores before rounding might have given any value so near, with an interval of its own.
    rounding = grid * min(swapped, 1.0) + changes.unresolved
    half = student_quantile(level, mean.freedom) * error + rounding
    low, high = min(middle - half, delta - grid), max(middle + half, delta + grid)
    statistic = max(abs(middle) - rounding, 0.0) / error if error > 0 else 0.0
    p = student_p(statistic, mean.freedom) if abs(delta) > grid else 1.0
    return _Paired(Interval(max(low, -1.0), min(high, 1.0)), p, mean.freedom)


def _widened(
    paired: _Paired, of: tuple[Placements, ...], uncertainty: Uncertainty, level: float, unresolved: float
) -> _Paired:
    """The interval, extended by the one that follows from all AUCs and the correlation of their ranks."""
    areas, units = [placed.auc for placed in of], (uncertainty.fake, uncertainty.real)
    quantile = student_quantile(level, uncertainty.freedom)
    expected, p = mover(areas, SIGNS[: len(of)], units, _share_alone(of), quantile)
    low = min(paired.interval.low, expected.low - unresolved)
    high = max(paired.interval.high, expected.high + unresolved)
    if (low, high) == (paired.interval.low, paired.interval.high):
        return paired
    return _Paired(Interval(max(low, -1.0), min(high, 1.0)), max(paired.p, p), paired.freedom)


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
