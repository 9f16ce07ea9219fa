"""The area under the ROC curve and the difference of two on the same frames, with 95 % intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.records import Auc, Interval
from bench.results.score.intervals import mover, newcombe, normal_quantile, student_p, student_quantile

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Placements:
    """Where every frame stands among those of the other class: the structural components of DeLong et al.

    `fake` [m] is the share of real frames that score lower than each fake one, `real` [n] the share of
    fake frames that score higher than each real one; ties count half. Both are in the order of the
    frames, `is_fake` [m + n] tells whose they are. `ranks` [m + n] counts the distinct scores below
    each frame's. The mean of either is `auc`, the chance that a fake outscores a real one.
    """

    fake: NDArray[np.float64]
    real: NDArray[np.float64]
    is_fake: NDArray[np.bool_]
    ranks: NDArray[np.int64]
    auc: float


@dataclass(frozen=True)
class _Spread:
    """What an interval is made of: a variance, and how many independent units of each class stand behind it.

    `freedom` are the degrees of freedom of Student's t, infinite for the normal distribution.
    `taking_part` is how many units would make up the variance if all that do had an equal share in it.
    """

    variance: float
    fake: int
    real: int
    freedom: float
    taking_part: float


def placements(labels: NDArray[np.integer], scores: NDArray[np.floating]) -> Placements:
    """Placements of `scores` [n] by `labels` [n], 1 = fake, 0 = real; O(n log n).

    ValueError where a class has no frame, or a score is NaN.
    """
    if np.isnan(scores).any():
        raise ValueError("scores must be numbers, found NaN")
    _, ranks = np.unique(scores, return_inverse=True)
    return _count(np.asarray(labels) == 1, ranks.reshape(-1))


def subset(placed: Placements, rows: NDArray[np.integer] | NDArray[np.bool_]) -> Placements:
    """`placements(labels[rows], scores[rows])` without sorting again; `rows` are indices or a mask [n]."""
    return _count(placed.is_fake[rows], placed.ranks[rows])


def _count(is_fake: NDArray[np.bool_], ranks: NDArray[np.int64]) -> Placements:
    """Placements by counting the frames of each class at and below each rank."""
    fakes, reals = ranks[is_fake], ranks[~is_fake]
    for name, frames in (("fake", fakes), ("real", reals)):
        if not len(frames):
            raise ValueError(f"the area under the ROC curve needs frames of both classes, found no {name} one")
    length = int(ranks.max()) + 1
    at_fake, at_real = np.bincount(fakes, minlength=length), np.bincount(reals, minlength=length)
    real_below = np.cumsum(at_real) - at_real / 2
    fake_above = len(fakes) - np.cumsum(at_fake) + at_fake / 2
    # Halves are exact in float64, so that the sum does not depend on the order of the frames.
    auc = float((at_fake * real_below).sum()) / len(fakes) / len(reals)
    return Placements(real_below[fakes] / len(reals), fake_above[reals] / len(fakes), is_fake, ranks, auc)


def clusters(sources: pd.Series[str]) -> NDArray[np.int64] | None:
    """A number for each source [n]; a frame whose source is missing is alone. None where no two share one."""
    codes, known = sources.factorize()
    alone = codes < 0
    numbers = codes.astype(np.int64)
    numbers[alone] = len(known) + np.arange(alone.sum())
    return numbers if len(known) + alone.sum() < len(numbers) else None


def estimate(own: Placements, clusters: NDArray[np.int64] | None) -> Auc:
    """The AUC with its 95 % interval by frame and, where some of `clusters` [n] are equal, by source.

    Symmetric on the logit scale, so within [0, 1]: DeLong et al. 1988, Biometrics 44: 837-845, by source
    Obuchowski 1997, Biometrics 53: 567-578, with Student's t. Newcombe's method 5 where the variance is 0.
    """
    by_frame = _by_frame(own.fake, own.real)
    by_source = _by_source(own, own.fake, own.real, clusters)
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
    Bulletin 2: 110-114): with many it is the normal distribution. `p` belongs to `Auc.interval`.
    Exactly 0 with p = 1 where both rank the frames alike. Where the variance is 0 although they do not
    (both are perfect, or no frame changed places with one of the other class), Zou & Donner 2008,
    Statistics in Medicine 27: 1693-1702, from the intervals of the two and how alike they rank.
    ValueError where the frames of the two differ in their labels.
    """
    if not np.array_equal(variant.is_fake, baseline.is_fake):
        raise ValueError("a difference of two areas under the ROC curve needs the same frames with the same labels")
    if np.array_equal(variant.ranks, baseline.ranks):
        nothing = Interval(0.0, 0.0)
        return Auc(0.0, nothing, None, 0.0), 1.0
    fake, real = variant.fake - baseline.fake, variant.real - baseline.real
    by_frame = _by_frame(fake, real)
    by_source = _by_source(variant, fake, real, clusters)
    frame_interval, frame_p = _paired(variant, baseline, by_frame, level)
    source_interval, source_p = _paired(variant, baseline, by_source, level) if by_source else (None, 1.0)
    found = Auc(variant.auc - baseline.auc, frame_interval, source_interval, math.sqrt(by_frame.variance))
    return found, source_p if found.clustered else frame_p


def _by_frame(fake: NDArray[np.float64], real: NDArray[np.float64]) -> _Spread:
    """DeLong's variance of the mean of `fake` [m] and `real` [n], frames being independent."""
    fakes, reals = ((part - part.mean()) / len(part) for part in (fake, real))
    variance = sum(_inflation(len(part)) * float(part @ part) for part in (fakes, reals))
    return _Spread(variance, len(fake), len(real), math.inf, _taking_part(fakes, reals))


def _by_source(
    placed: Placements, fake: NDArray[np.float64], real: NDArray[np.float64], clusters: NDArray[np.int64] | None
) -> _Spread | None:
    """Obuchowski's variance, sources being independent; None where no frames share one.

    The degrees of freedom are the number of sources of the class with fewer, less one.
    """
    if clusters is None:
        return None
    codes = _renumbered(clusters)
    length = int(codes.max()) + 1
    if len(codes) == length:
        return None
    fakes, fake_sources = _deviations(fake, codes[placed.is_fake], length)
    reals, real_sources = _deviations(real, codes[~placed.is_fake], length)
    variance = (
        _inflation(fake_sources) * float(fakes @ fakes)
        + _inflation(real_sources) * float(reals @ reals)
        + 2 * _inflation(length) * float(fakes @ reals)
    )
    if min(fake_sources, real_sources) < 2:
        variance = math.inf
    freedom = max(min(fake_sources, real_sources) - 1, 1)
    return _Spread(max(variance, 0.0), fake_sources, real_sources, freedom, _taking_part(fakes + reals))


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
    return Interval(_logistic(middle - half), _logistic(middle + half))


def _paired(variant: Placements, baseline: Placements, spread: _Spread, level: float) -> tuple[Interval, float]:
    if not math.isfinite(spread.variance):
        return Interval(-1.0, 1.0), 1.0
    delta = variant.auc - baseline.auc
    if not _tells(spread):
        units, alike = (spread.fake, spread.real), _likeness(variant, baseline)
        return mover((variant.auc, baseline.auc), units, alike, normal_quantile(level))
    # Two detectors differ by few of their frames. Where all hangs on a handful, the variance is as good
    # as one of a handful: Satterthwaite's degrees of freedom, each unit's variance being what it adds.
    freedom = max(min(spread.freedom, spread.taking_part - 1), 1.0)
    error = math.sqrt(spread.variance)
    half = student_quantile(level, freedom) * error
    interval = Interval(max(delta - half, -1.0), min(delta + half, 1.0))
    return interval, student_p(delta / error, freedom)


def _likeness(variant: Placements, baseline: Placements) -> float:
    """How alike two rank the frames of a class, averaged over the classes: Spearman's correlation, at least 0.

    What Hanley & McNeil 1983, Radiology 148: 839-843, estimate the correlation of two areas from; for
    two that are much alike it is nearly that.
    """
    found = []
    for rows in (variant.is_fake, ~variant.is_fake):
        own, other = (np.unique(one.ranks[rows], return_inverse=True)[1] for one in (variant, baseline))
        found.append(float(np.corrcoef(own, other)[0, 1]) if np.ptp(own) and np.ptp(other) else 0.0)
    return max(sum(found) / 2, 0.0)


def _tells(spread: _Spread) -> bool:
    """Whether the variance says anything; what rounding leaves of 0 does not."""
    return spread.variance > 1e-24 and min(spread.fake, spread.real) > 1


def _logistic(value: float) -> float:
    small = math.exp(-abs(value))
    return (1.0 if value >= 0 else small) / (1.0 + small)
