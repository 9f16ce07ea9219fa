"""Variances of AUCs and of their differences: by frame, and by source."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.results.score.clusters import Clusters
from bench.results.score.placements import Placements

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROUNDING = 1e-24
"""What rounding leaves of a variance of 0, at most."""


@dataclass(frozen=True)
class Uncertainty:
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


def by_frame_of(fake: NDArray[np.float64], real: NDArray[np.float64]) -> Uncertainty:
    """DeLong's variance of the mean of `fake` [m] and `real` [n], frames being independent."""
    fakes, reals = ((part - part.mean()) / len(part) for part in (fake, real))
    variance = sum(inflation(len(part)) * float(part @ part) for part in (fakes, reals))
    return Uncertainty(variance, len(fake), len(real), math.inf, effective_units_of(fakes, reals))


def by_source_of(
    fake: NDArray[np.float64], real: NDArray[np.float64], clusters: Clusters | None, of: Sequence[Placements]
) -> Uncertainty | None:
    """Obuchowski's variance of the mean of `fake` [m] and `real` [n], sources being independent.

    `of` are the variants whose placements `fake` and `real` were made of. The degrees of freedom are the number of
    sources of the class with fewer, less one; sources of unequal size, or that overlap, count as fewer equal ones
    (see `Clusters.effective`). None where no frames share a source.
    """
    if clusters is None or clusters.independent:
        return None
    is_fake = of[0].is_fake
    variance, deviations = clustered(fake, real, is_fake, clusters)
    classes = (is_fake, ~is_fake)
    if min(clusters.count(rows) for rows in classes) < 2:
        variance = math.inf
    design_effect = max(_design_effect(placed, clusters) for placed in of)
    sources = [clusters.effective(rows) for rows in classes]
    units = [max(count, float(rows.sum()) / design_effect) for count, rows in zip(sources, classes, strict=True)]
    return Uncertainty(variance, units[0], units[1], max(min(sources) - 1, 1.0), effective_units_of(deviations))


def _design_effect(placed: Placements, clusters: Clusters) -> float:
    """Variance of the AUC by source over that by frame (Kish's design effect); at least 1."""
    by_frame = by_frame_of(placed.fake, placed.real).variance
    if by_frame <= ROUNDING:
        return math.inf
    return max(clustered(placed.fake, placed.real, placed.is_fake, clusters)[0] / by_frame, 1.0)


def clustered(
    fake: NDArray[np.float64], real: NDArray[np.float64], is_fake: NDArray[np.bool_], clusters: Clusters
) -> tuple[float, NDArray[np.float64]]:
    """Obuchowski's variance, and the deviation from the truth that each source contributes [sources].

    Where sources overlap, it is the sum over all pairs of frames that share one.
    """
    fakes, reals = _deviations(fake, is_fake, clusters), _deviations(real, ~is_fake, clusters)
    variance = (
        inflation(clusters.count(is_fake)) * clusters.product(fakes, fakes)
        + inflation(clusters.count(~is_fake)) * clusters.product(reals, reals)
        + 2 * inflation(clusters.count(np.ones_like(is_fake))) * clusters.product(fakes, reals)
    )
    return max(variance, 0.0), (fakes + reals)[: clusters.singles]


def effective_units_of(*parts: NDArray[np.float64]) -> float:
    """Effective number of deviations in the sum of their squares: all if they are equal, 1 if one makes up the sum."""
    squares = [part * part for part in parts]
    fourth = sum(float(part @ part) for part in squares)
    return sum(float(part.sum()) for part in squares) ** 2 / fourth if fourth else 0.0


def _deviations(components: NDArray[np.float64], rows: NDArray[np.bool_], clusters: Clusters) -> NDArray[np.float64]:
    """The deviation of the mean of `components` [k] of the frames `rows` [n] that each group of these adds [groups]."""
    of_frames = np.zeros(len(rows))
    of_frames[rows] = components - components.mean()
    return clusters.sums(of_frames) / len(components)


def inflation(count: float) -> float:
    """The factor n / (n - 1) that makes a variance of n units unbiased; 1 for a single unit."""
    return count / (count - 1) if count > 1 else 1.0


def is_usable(uncertainty: Uncertainty) -> bool:
    """Whether the variance says anything: it is above what rounding leaves of 0, and has two units of each class."""
    return uncertainty.variance > ROUNDING and min(uncertainty.fake, uncertainty.real) > 1
