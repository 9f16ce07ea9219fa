"""How the answers of an ensemble's members are joined into one P(fake)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from bench.records.scores import Auc, Comparison
from bench.records.thresholds import DEFAULT_THRESHOLD
from bench.records.videos import Unit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

Number = TypeVar("Number", int, float)

Combination: TypeAlias = Literal["mean", "logits", "vote", "max"]
"""How members are joined: see `Ensemble`."""

_FURTHEST = 36.0
"""The log-odds of a P(fake) of 0 or 1: float64 tells none further from 0 apart from 1."""

_MOST = 745.0
"""The log-odds of the smallest number above 0 that float64 has."""


@dataclass(frozen=True)
class Ensemble:
    """Several detectors that answer as one.

    `weights` has the weight of each member, above 0, in the order in which answers are given; they need not sum to 1.
    `combine` is "mean" for the weighted mean of P(fake), "logits" for the sigmoid of the weighted mean of log-odds,
    "vote" for the weighted share of the members that call a frame fake (P(fake) of .5 or more), "max" for the highest
    P(fake). At least `minimum` members must answer, or the ensemble has no answer. Of answers, NaN is one that is
    missing; the weights of the others then count as if there were no more.
    """

    weights: Mapping[str, float]
    combine: Combination = "mean"
    minimum: int = 1

    def __post_init__(self) -> None:
        """Raise `ValueError` for what joins nothing."""
        if not self.weights:
            raise ValueError("an ensemble needs at least one member")
        if not all(0 < weight < math.inf for weight in self.weights.values()):
            raise ValueError(f"weights must be above 0 and finite, found {dict(self.weights)}")
        if not 1 <= self.minimum <= len(self.weights):
            raise ValueError(f"minimum must lie between 1 and {len(self.weights)}, found {self.minimum}")

    @property
    def members(self) -> tuple[str, ...]:
        """The names of the members, in the order of `weights`."""
        return tuple(self.weights)

    def without(self, member: str) -> Ensemble:
        """The ensemble of all other members, which needs no more answers than there are members."""
        weights = {name: weight for name, weight in self.weights.items() if name != member}
        return Ensemble(weights, self.combine, min(self.minimum, len(weights)))

    def join(self, answers: ArrayLike) -> NDArray[np.float64]:
        """P(fake) of the ensemble [n], of the members' [members, n]; NaN where too few answered."""
        import numpy as np

        scores = self._checked(answers)
        if self.combine == "logits":
            return sigmoid(self.join_log_odds(log_odds(scores)))
        if self.combine == "vote":
            scores = np.where(np.isnan(scores), np.nan, scores >= DEFAULT_THRESHOLD)
        return self._highest(scores) if self.combine == "max" else self._mean(scores)

    def join_differences(self, differences: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """P(fake) and `logit_fake - logit_real` of the ensemble [n], of the members' differences [members, n].

        The difference ranks frames as P(fake) does, and also where P(fake) has come so near to 0 or 1 that it ties,
        as far as the members' tell.
        """
        given = self._checked(differences)
        if self.combine == "logits":
            joined = self._mean(given)
            return sigmoid(joined), joined
        if self.combine == "max":
            joined = self._highest(given)
            return sigmoid(joined), joined
        p_fake = self.join(sigmoid(given))
        return p_fake, _unbounded(p_fake)

    def join_log_odds(self, log_odds: ArrayLike) -> NDArray[np.float64]:
        """The weighted mean [n] of the members' `logit_fake - logit_real` [members, n]; NaN where too few answered."""
        return self._mean(self._checked(log_odds))

    def join_maps(self, maps: Sequence[NDArray[np.floating] | None], answers: ArrayLike) -> NDArray[np.float64] | None:
        """The members' maps of one frame, each [h, w] in logits or None, weighted as their answers are; None of none.

        `answers` [members] are their P(fake). By the highest answer, the map is that of the member that gave it. All
        maps must have the same size.
        """
        import numpy as np

        scores = self._checked(np.asarray(answers, float)[:, None])[:, 0]
        if self.combine == "max":
            map_of_highest = None if np.isnan(scores).all() else maps[int(np.nanargmax(scores))]
            return None if map_of_highest is None else np.asarray(map_of_highest, np.float64)
        pairs = zip(self.weights.values(), maps, scores, strict=True)
        weighted = [(weight, drawn) for weight, drawn, score in pairs if drawn is not None and not np.isnan(score)]
        if not weighted:
            return None
        total = sum(weight for weight, _ in weighted)
        joined = np.zeros(weighted[0][1].shape)
        for weight, drawn in weighted:
            joined += weight / total * drawn.astype(np.float64)
        return joined

    def consensus(self, answers: ArrayLike, threshold: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """How many members call each frame as the ensemble does [n], and how many answered [n].

        A call is whether P(fake) reaches `threshold`, of a member `votes_at`. Where the ensemble has no answer, no
        member agrees with it.
        """
        import numpy as np

        scores, joined = self._checked(answers), self.join(answers)
        answered = ~np.isnan(scores)
        agrees = ((scores >= self.votes_at(threshold)) == (joined >= threshold)) & answered & ~np.isnan(joined)
        return agrees.sum(axis=0, dtype=np.int64), answered.sum(axis=0, dtype=np.int64)

    def votes_at(self, threshold: float) -> float:
        """The P(fake) from which on a member calls a frame fake, in an ensemble that does so from `threshold` on."""
        return DEFAULT_THRESHOLD if self.combine == "vote" else threshold

    def _checked(self, answers: ArrayLike) -> NDArray[np.float64]:
        """The answers [members, n]; `ValueError` for another shape."""
        import numpy as np

        scores = np.asarray(answers, np.float64)
        if scores.ndim != 2 or len(scores) != len(self.weights):
            raise ValueError(f"expected answers [{len(self.weights)}, n], found the shape {list(scores.shape)}")
        return scores

    def _mean(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """The weighted mean [n] of the scores that are there."""
        import numpy as np

        answered = ~np.isnan(scores)
        weights = np.array(list(self.weights.values()))[:, None] * answered
        total = weights.sum(axis=0)
        sums = (weights * np.where(answered, scores, 0)).sum(axis=0)
        return self._where_enough(np.divide(sums, total, out=np.full(len(sums), np.nan), where=total > 0), answered)

    def _highest(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        import numpy as np

        answered = ~np.isnan(scores)
        highest = np.where(answered, scores, -np.inf).max(axis=0)
        return self._where_enough(highest, answered)

    def _where_enough(self, joined: NDArray[np.float64], answered: NDArray[np.bool_]) -> NDArray[np.float64]:
        import numpy as np

        return np.where(answered.sum(axis=0) >= self.minimum, joined, np.nan)


@dataclass(frozen=True)
class FittedWeights:
    """How the weights of an ensemble were found, and what they are worth.

    They have the least log loss on `frames` validation frames. `auc` is the AUC there of weights that were fitted
    without the frames that each part of `folds` holds back, frames of a source together; `equal_auc` that of equal
    weights. None where a class is missing.
    """

    weights: Mapping[str, float]
    frames: int
    sources: int
    folds: int
    auc: float | None
    equal_auc: float | None


@dataclass(frozen=True)
class EnsembleRun:
    """How a run joined an ensemble.

    `folders` leads to the results of each member on the same frames, seen from the ensemble's. `parts` has, of each
    variant, the variant of each member that takes part; `unchanged` the members that do not allow its steps.
    """

    rule: Ensemble
    folders: Mapping[str, str]
    parts: Mapping[str, Mapping[str, str]]
    unchanged: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fitted: FittedWeights | None = None


@dataclass(frozen=True)
class MemberSet:
    """An ensemble of some members in some variants: `parts` by member.

    `size_mib` and `latency_ms` are the sums of the members', None where that of any is not known. `comparison` is with
    the whole ensemble as it is, None for that itself.
    """

    title: str
    parts: Mapping[str, str]
    size_mib: float | None
    latency_ms: float | None
    auc: Auc
    comparison: Comparison | None = None


MOST_SETS = 4096
"""More sets of members and variants are not tried."""


@dataclass(frozen=True)
class EnsembleScores:
    """What members are worth to an ensemble.

    `sets` has the ensemble as it is, then without each member, then each member alone, then with each compressed alone.
    `chosen` is the first of `tried` sets of members and variants, in the order of what is preferred, that keeps the
    limits; None where none does, or nothing was tried. Where there are more than `MOST_SETS`, the cheapest are tried.
    `agreeing` is the share of test rows that all members call alike, as they are. `unit` is what rows are.
    """

    sets: tuple[MemberSet, ...]
    chosen: MemberSet | None
    tried: int
    agreeing: float
    unit: Unit


def _unbounded(p_fake: NDArray[np.float64]) -> NDArray[np.float64]:
    """The log-odds of P(fake) as far as float64 goes, so that P(fake) near 0 do not tie."""
    import numpy as np

    with np.errstate(divide="ignore"):
        odds = np.log(p_fake) - np.log1p(-p_fake)
    return np.asarray(np.clip(odds, -_MOST, _MOST), np.float64)


def log_odds(p_fake: ArrayLike) -> NDArray[np.float64]:
    """`log(p / (1 - p))` of P(fake), no further from 0 than float64 tells P(fake) apart; NaN stays NaN."""
    import numpy as np

    p = np.asarray(p_fake, np.float64)
    with np.errstate(divide="ignore"):
        odds = np.log(p) - np.log1p(-p)
    return np.asarray(np.clip(odds, -_FURTHEST, _FURTHEST), np.float64)


def sigmoid(log_odds: ArrayLike) -> NDArray[np.float64]:
    """P(fake) of log-odds, without overflow."""
    import numpy as np

    x = np.asarray(log_odds, np.float64)
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


def total(of_members: Sequence[Number | None]) -> Number | None:
    """The sum of what members cost; None where that of one is unknown."""
    costs = [cost for cost in of_members if cost is not None]
    return sum(costs) if len(costs) == len(of_members) else None
