"""Intervals and tests in closed form, with quantiles from SciPy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from bench.records import Interval


def normal_quantile(level: float) -> float:
    """How many standard errors a two-sided interval reaches: 1.96 for a level of 0.95."""
    return student_quantile(level, math.inf)


def student_quantile(level: float, freedom: float) -> float:
    """The same under Student's t; infinitely many degrees of freedom are the normal distribution."""
    from scipy.special import ndtri, stdtrit

    above = (1 + level) / 2
    return float(stdtrit(freedom, above) if math.isfinite(freedom) else ndtri(above))


def student_p(statistic: float, freedom: float) -> float:
    """The two-sided p of a value in standard errors."""
    from scipy.special import ndtr, stdtr

    below = -abs(statistic)
    return float(2 * (stdtr(freedom, below) if math.isfinite(freedom) else ndtr(below)))


def wilson(successes: int, count: int) -> Interval | None:
    """The 95 % interval of a share, in [0, 1]; None where `count` is 0.

    Wilson 1927, Journal of the American Statistical Association 22: 209-212. Never of width 0, so
    that 20 of 20 are not claimed to be certain.
    """
    if not count:
        return None
    square = normal_quantile(0.95) ** 2
    middle = (successes + square / 2) / (count + square)
    half = math.sqrt(square * (successes * (count - successes) / count + square / 4)) / (count + square)
    return Interval(middle - half if successes else 0.0, middle + half if successes < count else 1.0)


def holm(p: Sequence[float]) -> list[float]:
    """Each p corrected for the number of tests, in the order given: Holm 1979, Scandinavian Journal of Statistics 6."""
    corrected, most = [0.0] * len(p), 0.0
    for smaller, index in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        most = max(most, min((len(p) - smaller) * p[index], 1.0))
        corrected[index] = most
    return corrected


def mcnemar(worse: int, better: int) -> float:
    """The exact two-sided p for as many changes in each direction; 1 where there are none.

    McNemar 1947, Psychometrika 12: 153-157: without a difference, a change goes either way like a coin.
    """
    from scipy.special import betainc

    fewer, more = sorted((worse, better))
    # The chance of at most `fewer` heads in as many tosses as there are changes.
    return min(1.0, 2 * float(betainc(more, fewer + 1, 0.5))) if more else 1.0


def newcombe(auc: float, fake: float, real: float, quantile: float) -> Interval:
    """The interval of an area under the ROC curve by `fake` and `real` independent frames, from the area alone.

    Newcombe 2006, Statistics in Medicine 25: 559-573, method 5: all areas from which the estimate lies
    within `quantile` standard errors, the error being that of Hanley & McNeil with both class sizes
    averaged. Wider than 0 at an area of 0 or 1, where the variance among the frames is 0.
    """
    others = (fake + real) / 2 - 1

    def beyond(truth: float) -> float:
        inflation = 1 + others * ((1 - truth) / (2 - truth) + truth / (1 + truth))
        return (auc - truth) ** 2 - quantile**2 * truth * (1 - truth) * inflation / (fake * real)

    low = _root(beyond, auc, 0.0) if auc > 0 else 0.0
    high = _root(beyond, auc, 1.0) if auc < 1 else 1.0
    return Interval(low, high)


def mover(
    aucs: Sequence[float], signs: Sequence[int], units: tuple[float, float], alone: float, quantile: float
) -> tuple[Interval, float]:
    """The interval of the sum of areas times their signs, and its two-sided p, from Newcombe's interval of each.

    Zou & Donner 2008, Statistics in Medicine 27: 1693-1702. `units` are the independent frames, fake and real.
    `alone` is the variance of the sum, by that of as many areas without correlation: of two with equal variances, it
    is one minus their correlation. It narrows both sides alike: an area of 1 has an interval on one side only.
    """
    terms = list(zip(signs, aucs, strict=True))
    delta, share = math.fsum(sign * auc for sign, auc in terms), math.sqrt(alone)

    def at(quantile: float) -> Interval:
        ends = [(sign, auc, newcombe(auc, *units, quantile)) for sign, auc in terms]
        below = share * math.hypot(*(auc - end.low if sign > 0 else end.high - auc for sign, auc, end in ends))
        above = share * math.hypot(*(end.high - auc if sign > 0 else auc - end.low for sign, auc, end in ends))
        return Interval(delta - below, delta + above)

    if delta == 0:
        return at(quantile), 1.0
    farthest = 40.0

    def gap(quantile: float) -> float:
        return at(quantile).low if delta > 0 else -at(quantile).high

    reached = _root(gap, 1e-9, farthest) if gap(farthest) < 0 else farthest
    return at(quantile), student_p(reached, math.inf)


def _root(function: Callable[[float], float], start: float, end: float) -> float:
    """Where `function` changes its sign between `start` and `end`, to the last digits, by bisection."""
    sign = function(end) > 0
    for _ in range(80):
        middle = (start + end) / 2
        if middle in (start, end):
            break
        if (function(middle) > 0) == sign:
            end = middle
        else:
            start = middle
    return (start + end) / 2
