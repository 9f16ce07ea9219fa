"""The area under the ROC curve and the difference of two on the same frames, with 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bench.records import Auc, Interval
from bench.results.score.intervals import mover, newcombe, student_p, student_quantile
from bench.results.score.placements import Placements

if TYPE_CHECKING:
    from numpy.typing import NDArray


ROUNDING = 1e-24
FEW = 50
"""Where fewer frames or sources than this make a difference, its variance is not trusted alone."""


@dataclass(frozen=True)
class _Spread:
    """What an interval is made of: a variance, and how many independent units of each class stand behind it.

    By source, `fake` and `real` are as many independent frames as would leave the AUC as uncertain.
    `freedom` are the degrees of freedom of Student's t, infinite for the normal distribution.
    `taking_part` is how many units would make up the variance if all that do had an equal share in it.
    """

    variance: float
    fake: float
    real: float
    freedom: float
    taking_part: float


def estimate(own: Placements, clusters: NDArray[np.int64] | None) -> Auc:
    """The AUC with its 95 % interval by frame and, where some of `clusters` [n] are equal, by source.

    Symmetric on the logit scale, so within [0, 1]: DeLong et al. 1988, Biometrics 44: 837-845, by source
    Obuchowski 1997, Biometrics 53: 567-578, with Student's t, and at least as wide as Newcombe's method 5
    from as many independent frames as the sources are worth. By frame that where the variance is 0.
    """
    by_frame = _by_frame(own.fake, own.real)
    by_source = _by_source(own.fake, own.real, clusters, (own,))
    return Auc(
        own.auc,
        _single(own.auc, by_frame, 0.95),
        _single(own.auc, by_source, 0.95) if by_source else None,
        math.sqrt(by_frame.variance),
    )


def difference(
    variant: Placements, baseline: Placements, clusters: NDArray[np.int64] | None, level: float = 0.95
) -> tuple[Auc, float]:
    """`variant` minus `baseline` on the same frames, with paired intervals at `level`, and the two-sided p.

    DeLong et al. 1988, by source Obuchowski 1997, both with Student's t, whose degrees of freedom are as
    many as frames or sources really take part in the difference, less one (Satterthwaite 1946, Biometrics
    Bulletin 2: 110-114): with many it is the normal distribution. Where few take part, the variance
    may miss what is rare, and the interval is at least that of Zou & Donner 2008, Statistics in Medicine
    27: 1693-1702, from the intervals of the two and how alike they rank. Where it holds 0, it reaches
    at least as far as one frame of the smaller class could move it; `p` belongs to the interval before that.
    Exactly 0 with p = 1 where both rank the frames alike. ValueError where the frames of the two
    differ in their labels.
    """
    if not np.array_equal(variant.is_fake, baseline.is_fake):
        raise ValueError("a difference of two areas under the ROC curve needs the same frames with the same labels")
    if np.array_equal(variant.ranks, baseline.ranks):
        nothing = Interval(0.0, 0.0)
        return Auc(0.0, nothing, None, 0.0), 1.0
    fake, real = variant.fake - baseline.fake, variant.real - baseline.real
    by_frame = _by_frame(fake, real)
    by_source = _by_source(fake, real, clusters, (variant, baseline))
    frames = _paired(variant, baseline, by_frame, level)
    sources = _paired(variant, baseline, by_source, level) if by_source else None
    delta, error = variant.auc - baseline.auc, math.sqrt(by_frame.variance)
    found = Auc(delta, frames.interval, sources.interval if sources else None, error)
    leads = sources if sources and found.clustered else frames
    return replace(found, freedom=leads.freedom, narrow=leads.narrow), leads.p


def _by_frame(fake: NDArray[np.float64], real: NDArray[np.float64]) -> _Spread:
    """DeLong's variance of the mean of `fake` [m] and `real` [n], frames being independent."""
    fakes, reals = ((part - part.mean()) / len(part) for part in (fake, real))
    variance = sum(_inflation(len(part)) * float(part @ part) for part in (fakes, reals))
    return _Spread(variance, len(fake), len(real), math.inf, _taking_part(fakes, reals))


def _by_source(
    fake: NDArray[np.float64], real: NDArray[np.float64], clusters: NDArray[np.int64] | None, of: Sequence[Placements]
) -> _Spread | None:
    """Obuchowski's variance of the mean of `fake` [m] and `real` [n], sources being independent; `of` whom they are.

    The degrees of freedom are the number of sources of the class with fewer, less one; sources of
    unequal size count as so many equal ones (Kish 1965, Survey Sampling). None where no frames share a source.
    """
    if clusters is None:
        return None
    is_fake, codes = of[0].is_fake, _renumbered(clusters)
    sizes = [np.bincount(codes[rows], minlength=int(codes.max()) + 1) for rows in (is_fake, ~is_fake)]
    if len(codes) == len(sizes[0]):
        return None
    variance, deviations = _clustered(fake, real, is_fake, codes)
    if min(int((size > 0).sum()) for size in sizes) < 2:
        variance = math.inf
    alike = max(_variance_shared(one, codes) for one in of)
    sources = [float(size.sum()) ** 2 / float((size * size).sum()) for size in sizes]
    units = [max(count, float(size.sum()) / alike) for count, size in zip(sources, sizes, strict=True)]
    return _Spread(variance, units[0], units[1], max(min(sources) - 1, 1.0), _taking_part(deviations))


def _variance_shared(one: Placements, codes: NDArray[np.int64]) -> float:
    """How many times the variance of the AUC is what it would be if frames were independent; at least 1."""
    alone = _by_frame(one.fake, one.real).variance
    return max(_clustered(one.fake, one.real, one.is_fake, codes)[0] / alone, 1.0) if alone > ROUNDING else math.inf


def _clustered(
    fake: NDArray[np.float64], real: NDArray[np.float64], is_fake: NDArray[np.bool_], codes: NDArray[np.int64]
) -> tuple[float, NDArray[np.float64]]:
    """Obuchowski's variance, and what each source adds to the deviation from the truth."""
    length = int(codes.max()) + 1
    fakes, fake_sources = _deviations(fake, codes[is_fake], length)
    reals, real_sources = _deviations(real, codes[~is_fake], length)
    variance = (
        _inflation(fake_sources) * float(fakes @ fakes)
        + _inflation(real_sources) * float(reals @ reals)
        + 2 * _inflation(length) * float(fakes @ reals)
    )
    return max(variance, 0.0), fakes + reals


def _taking_part(*parts: NDArray[np.float64]) -> float:
    """How many of the deviations make the sum of their squares: their number if all are equal, 1 if one is all."""
    squares = [part * part for part in parts]
    fourth = sum(float(part @ part) for part in squares)
    return sum(float(part.sum()) for part in squares) ** 2 / fourth if fourth else 0.0


def _renumbered(clusters: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same clusters counted from 0 without gaps."""
    present = np.bincount(clusters) > 0
    return (np.cumsum(present) - 1)[clusters]


def _deviations(
    components: NDArray[np.float64], codes: NDArray[np.int64], length: int
) -> tuple[NDArray[np.float64], int]:
    """What each of `length` sources adds to the mean's deviation from the truth, and how many have any frame."""
    frames = np.bincount(codes, minlength=length)
    sums = np.bincount(codes, weights=components - components.mean(), minlength=length)
    return sums / len(components), int((frames > 0).sum())


def _inflation(count: int) -> float:
    """What makes a variance unbiased; of a single unit there is none."""
    return count / (count - 1) if count > 1 else 1.0


def _single(auc: float, spread: _Spread, level: float) -> Interval:
    quantile = student_quantile(level, spread.freedom)
    if not math.isfinite(spread.variance):
        return Interval(0.0, 1.0)
    if not _tells(spread) or not 0 < auc < 1:
        return newcombe(auc, spread.fake, spread.real, quantile)
    middle, half = math.log(auc / (1 - auc)), quantile * math.sqrt(spread.variance) / (auc * (1 - auc))
    found = Interval(_logistic(middle - half), _logistic(middle + half))
    if not math.isfinite(spread.freedom):
        return found
    # Few sources show too little of what sources may be like: their variance is not trusted alone.
    expected = newcombe(auc, spread.fake, spread.real, quantile)
    return Interval(min(found.low, expected.low), max(found.high, expected.high))


@dataclass(frozen=True)
class _Paired:
    """An interval of a difference, its p, and what `Auc` says of how it came about."""

    interval: Interval
    p: float
    freedom: float = math.inf
    narrow: Interval | None = None


def _paired(variant: Placements, baseline: Placements, spread: _Spread, level: float) -> _Paired:
    if not math.isfinite(spread.variance):
        return _Paired(Interval(-1.0, 1.0), 1.0)
    found = _by_variance(variant.auc - baseline.auc, spread, level) if _tells(spread) else None
    if found is None or spread.taking_part < FEW:
        found = _widened(found, variant, baseline, spread, level)
    return _resolved(found, variant.auc - baseline.auc, min(int(variant.is_fake.sum()), int((~variant.is_fake).sum())))


def _resolved(found: _Paired, delta: float, frames: int) -> _Paired:
    """Where the interval holds 0, no difference is excluded that one of so many frames could make alone."""
    low, high = found.interval.low, found.interval.high
    within = Interval(delta - 1 / frames if low <= 0 else low, delta + 1 / frames if high >= 0 else high)
    if within.low < low or within.high > high:
        found, low, high = replace(found, narrow=found.interval), min(low, within.low), max(high, within.high)
    return replace(found, interval=Interval(max(low, -1.0), min(high, 1.0)))


def _by_variance(delta: float, spread: _Spread, level: float) -> _Paired:
    # Two detectors differ by few of their frames. Where all hangs on a handful, the variance is as good
    # as one of a handful: Satterthwaite's degrees of freedom, each unit's variance being what it adds.
    freedom = max(min(spread.freedom, spread.taking_part - 1), 1.0)
    error = math.sqrt(spread.variance)
    half = student_quantile(level, freedom) * error
    return _Paired(Interval(delta - half, delta + half), student_p(delta / error, freedom), freedom)


def _widened(
    found: _Paired | None, variant: Placements, baseline: Placements, spread: _Spread, level: float
) -> _Paired:
    """With what the two areas and how alike they rank let expect, where that reaches further."""
    areas, units = (variant.auc, baseline.auc), (spread.fake, spread.real)
    # A difference that no frame tells apart from another is one of everything: they are not alike.
    alike = _likeness(variant, baseline) if found or variant.auc == baseline.auc else 0.0
    expected, p = mover(areas, units, alike, student_quantile(level, spread.freedom))
    if found is None:
        return _Paired(expected, p)
    low, high = min(found.interval.low, expected.low), max(found.interval.high, expected.high)
    if (low, high) == (found.interval.low, found.interval.high):
        return found
    return _Paired(Interval(low, high), max(found.p, p))


def _likeness(variant: Placements, baseline: Placements) -> float:
    """How alike two rank the frames of a class, averaged over the classes: Spearman's correlation, at least 0.

    What Hanley & McNeil 1983, Radiology 148: 839-843, estimate the correlation of two areas from; for
    two that are much alike it is nearly that.
    """
    found = []
    for rows in (variant.is_fake, ~variant.is_fake):
        own, other = (_middle_ranks(one.ranks[rows]) for one in (variant, baseline))
        spread = bool(np.ptp(own)), bool(np.ptp(other))
        # Where both call all frames of a class the same, they agree on them.
        found.append(float(np.corrcoef(own, other)[0, 1]) if all(spread) else float(not any(spread)))
    return max(sum(found) / 2, 0.0)


def _middle_ranks(values: NDArray[np.int64]) -> NDArray[np.float64]:
    """Ranks from 1, equals sharing the middle of theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    middles: NDArray[np.float64] = np.cumsum(counts) - (counts - 1) / 2
    return middles[places]


def _tells(spread: _Spread) -> bool:
    """Whether the variance says anything; what rounding leaves of 0 does not."""
    return spread.variance > ROUNDING and min(spread.fake, spread.real) > 1


def _logistic(value: float) -> float:
    small = math.exp(-abs(value))
    return (1.0 if value >= 0 else small) / (1.0 + small)
