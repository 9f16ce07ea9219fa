"""The mean of a number that each frame has, and a share of frames, with intervals by frame and by source."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.records import Interval, Mean
from bench.results.score.clusters import Clusters
from bench.results.score.intervals import student_quantile
from bench.results.score.variances import effective_units_of, inflation

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVEL = 0.95


@dataclass(frozen=True)
class _Error:
    """The variance of a mean, infinite where nothing is known of it, and the degrees of freedom of Student's t."""

    variance: float
    freedom: float

    @property
    def half(self) -> float:
        """Half of the width of the interval."""
        return student_quantile(LEVEL, self.freedom) * math.sqrt(self.variance)


def mean(values: NDArray[np.float64], clusters: Clusters | None, *, low: float = 0.0) -> Mean:
    """The mean of `values` [n] between `low` and 1, with 95 % intervals by Student's t.

    By source, the sums of each source's deviations make up the variance (the sandwich estimator: Liang & Zeger 1986,
    Biometrika 73: 13-22); sources of unequal size count as fewer equal ones. Of one frame, or one source, nothing is
    known but the limits.
    """
    value = float(values.mean())

    def interval(error: _Error) -> Interval:
        return Interval(max(value - error.half, low), min(value + error.half, 1.0))

    by_source = _by_source(values, clusters) if clusters else None
    return Mean(value, interval(_by_frame(values)), interval(by_source) if by_source else None)


def share(hits: NDArray[np.float64], clusters: Clusters | None) -> Mean:
    """The share of frames with a hit, by `hits` [n] of 0 and 1, with 95 % intervals.

    By Wilson's method with as many independent frames as leave the share as uncertain: Korn & Graubard 1998, Survey
    Methodology 24: 193-201.
    """
    value, count = float(hits.mean()), len(hits)
    by_frame = _wilson(value, count, student_quantile(LEVEL, math.inf))
    if clusters is None:
        return Mean(value, by_frame)
    effective, freedom = _worth(hits, clusters)
    return Mean(value, by_frame, _wilson(value, effective, student_quantile(LEVEL, freedom)))


def share_difference(hits: NDArray[np.float64], before: NDArray[np.float64], clusters: Clusters | None) -> Mean:
    """By how much the share of frames with a hit has changed, from `before` [n] to `hits` [n], with 95 % intervals.

    Agresti & Min 2005, Statistics in Medicine 24: 729-740: half a frame more of each of the four outcomes, so that no
    change in few frames is not taken for none. By source with as many independent frames as leave it as uncertain.
    """
    changes = hits - before
    value, count = float(changes.mean()), len(changes)

    def interval(independent: float, quantile: float) -> Interval:
        lost, won = (float((changes == sign).mean()) * independent for sign in (-1, 1))
        total = independent + 2
        middle = (won - lost) / total
        half = quantile * math.sqrt(max(lost + won + 1 - (won - lost) ** 2 / total, 0.0)) / total
        return Interval(max(min(middle - half, value), -1.0), min(max(middle + half, value), 1.0))

    by_frame = interval(count, student_quantile(LEVEL, math.inf))
    if clusters is None:
        return Mean(value, by_frame)
    effective, freedom = _worth(changes, clusters)
    return Mean(value, by_frame, interval(effective, student_quantile(LEVEL, freedom)))


def _by_frame(values: NDArray[np.float64]) -> _Error:
    count = len(values)
    if count < 2:
        return _Error(math.inf, 1.0)
    return _Error(float(values.var(ddof=1)) / count, count - 1)


def _by_source(values: NDArray[np.float64], clusters: Clusters) -> _Error:
    everything = np.ones(len(values), bool)
    count = clusters.count(everything)
    if count < 2:
        return _Error(math.inf, 1.0)
    sums = clusters.sums(values - values.mean()) / len(values)
    variance = inflation(count) * max(clusters.product(sums, sums), 0.0)
    units = min(clusters.effective(everything), effective_units_of(sums[: clusters.singles]) or math.inf)
    return _Error(variance, max(units - 1, 1.0))


def _worth(values: NDArray[np.float64], clusters: Clusters) -> tuple[float, float]:
    """How many independent frames leave the mean as uncertain, and the degrees of freedom of Student's t.

    They are as many as there are sources at least, and as there are frames at most; where all values are equal, the
    former.
    """
    count, sources = len(values), clusters.effective(np.ones(len(values), bool))
    by_source = _by_source(values, clusters)
    spread = float(values.var())
    independent = spread / by_source.variance if by_source.variance > 0 else math.inf
    worth = sources if spread == 0 else min(max(independent, sources), count)
    return worth, max(sources - 1, 1.0)


def _wilson(value: float, count: float, quantile: float) -> Interval:
    """Wilson's interval of a share of as many independent frames, which need be no whole number."""
    square = quantile**2
    middle = (value * count + square / 2) / (count + square)
    half = quantile * math.sqrt(count * value * (1 - value) + square / 4) / (count + square)
    return Interval(middle - half if value > 0 else 0.0, middle + half if value < 1 else 1.0)
