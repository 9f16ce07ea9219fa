"""The part of scores.json that is about an ensemble's members."""

from __future__ import annotations

from bench.records import Evaluation, Interval, RunRecord
from bench.records.ensembles import MemberSet
from bench.records.scored_decisions import Ends
from bench.records.scored_ensemble import ScoredEnsemble, ScoredMemberSet


def scored_ensemble(run: RunRecord, evaluation: Evaluation) -> ScoredEnsemble | None:
    """How an ensemble was joined, and its sets of members; None of a detector that is one network."""
    if run.ensemble is None:
        return None
    rule, scored = run.ensemble.rule, evaluation.ensemble
    return ScoredEnsemble(
        weights=rule.weights,
        combine=rule.combine,
        minimum=rule.minimum,
        parts=run.ensemble.parts,
        unchanged=run.ensemble.unchanged,
        fitted=run.ensemble.fitted,
        agreeing=scored.agreeing if scored else None,
        unit=scored.unit if scored else None,
        sets={each.title: _set(each) for each in scored.sets} if scored else {},
        chosen=_set(scored.chosen) if scored and scored.chosen else None,
        tried=scored.tried if scored else 0,
    )


def _set(of: MemberSet) -> ScoredMemberSet:
    """Some members in some variants, with the difference to the ensemble where there is one."""
    delta = of.comparison.delta if of.comparison else None
    return ScoredMemberSet(
        parts=of.parts,
        size_mib=of.size_mib,
        latency_ms=of.latency_ms,
        auc=of.auc.value,
        auc_ci=_ends(of.auc.interval),
        auc_delta=delta.value if delta else None,
        auc_delta_ci=_ends(delta.interval) if delta else None,
        auc_delta_p_holm=of.comparison.p_holm if of.comparison else None,
        verdict=of.comparison.verdict if of.comparison else None,
    )


def _ends(interval: Interval) -> Ends:
    return (interval.low, interval.high)
