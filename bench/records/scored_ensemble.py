"""What scores.json holds of an ensemble: how it was joined, and what its members are worth to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.records.ensembles import Combination, FittedWeights
from bench.records.scored_decisions import Ends
from bench.records.scores import Verdict
from bench.records.videos import Unit


@dataclass(frozen=True)
class ScoredMemberSet:
    """Some members in some variants beside the ensemble as it is, whose difference is None."""

    parts: Mapping[str, str]
    size_mib: float | None
    latency_ms: float | None
    auc: float
    auc_ci: Ends
    auc_delta: float | None
    auc_delta_ci: Ends | None
    auc_delta_p_holm: float | None
    verdict: Verdict | None


@dataclass(frozen=True)
class ScoredEnsemble:
    """How members were joined, and sets of them by title; `chosen` is the first of `tried` that keeps the limits.

    `parts` has the variant of each member in each variant of the ensemble, `unchanged` the members that do not allow
    its steps. `agreeing` is the share of test rows, of kind `unit`, that all members call alike. `fitted` is None where
    weights were given.
    """

    weights: Mapping[str, float]
    combine: Combination
    minimum: int
    parts: Mapping[str, Mapping[str, str]]
    unchanged: Mapping[str, tuple[str, ...]]
    fitted: FittedWeights | None
    agreeing: float | None
    unit: Unit | None
    sets: Mapping[str, ScoredMemberSet]
    chosen: ScoredMemberSet | None
    tried: int
