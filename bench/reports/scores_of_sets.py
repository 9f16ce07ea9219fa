"""scores.json of several frame sets: the first set's numbers, those of each set below `sets`, a verdict over all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from bench.records import (
    Comparison,
    OnSets,
    OverallVerdict,
    ScoredDetector,
    ScoredDetectorOnSets,
    ScoredOverall,
    ScoredPooled,
    ScoredSet,
    ScoresFile,
    ScoresOnSets,
    SideBySideOnSets,
    SideBySideScores,
    SideBySideScoresOnSets,
)
from bench.reports.scores_json import scored_choice, scores, scores_side_by_side


def scores_on_sets(across: OnSets) -> ScoresOnSets:
    """All numbers of a detector on several frame sets."""
    by_set = {name: scores(alone.run, alone.evaluation) for name, alone in across.sets.items()}
    first, choice = next(iter(by_set.values())), across.evaluation.choice
    of_first = {field.name: getattr(first, field.name) for field in fields(ScoresFile)}
    return ScoresOnSets(
        **of_first | {"choice": scored_choice(choice) if choice else None},
        home=across.home,
        pool=across.is_pooled,
        **_below(across, by_set),
    )


def scores_side_by_side_on_sets(together: SideBySideOnSets) -> SideBySideScoresOnSets:
    """All numbers of several detectors on several frame sets."""
    first, choice = scores_side_by_side(together.first), together.evaluation.choice
    by_detector = {name: scores_on_sets(across) for name, across in together.detectors.items()}
    of_first = {field.name: getattr(first, field.name) for field in fields(SideBySideScores)}
    across = next(iter(together.detectors.values()))
    numbers = by_detector[first.detector]
    return SideBySideScoresOnSets(
        **of_first
        | {
            "choice": scored_choice(choice) if choice else None,
            "detectors": {name: _on_sets(detector, by_detector[name]) for name, detector in first.detectors.items()},
        },
        home=across.home,
        pool=across.is_pooled,
        sets=numbers.sets,
        overall=numbers.overall,
        overall_compared={title: _overall(verdict) for title, verdict in together.verdicts.items()},
    )


def _on_sets(detector: ScoredDetector, numbers: ScoresOnSets) -> ScoredDetectorOnSets:
    of_first = {field.name: getattr(detector, field.name) for field in fields(ScoredDetector)}
    return ScoredDetectorOnSets(**of_first | {"choice": numbers.choice}, sets=numbers.sets, overall=numbers.overall)


def _below(across: OnSets, by_set: Mapping[str, ScoresFile]) -> dict[str, Any]:
    names = [field.name for field in fields(ScoredSet)]
    return {
        "sets": {name: ScoredSet(**{key: getattr(numbers, key) for key in names}) for name, numbers in by_set.items()},
        "overall": {name: _overall(verdict) for name, verdict in across.verdicts.items()},
    }


def _overall(verdict: OverallVerdict) -> ScoredOverall:
    return ScoredOverall(
        verdict=verdict.verdict,
        worst_first=tuple(verdict.comparisons),
        p_sets=dict(verdict.p_sets),
        lost=verdict.lost,
        unknown=verdict.unknown,
        keeps_at_home_only=verdict.keeps_at_home_only,
        pooled=_pooled(verdict.pooled) if verdict.pooled else None,
    )


def _pooled(comparison: Comparison) -> ScoredPooled:
    delta = comparison.delta
    ends = delta.interval.low, delta.interval.high
    return ScoredPooled(delta.value, ends, comparison.p, comparison.verdict, delta.unresolved)
