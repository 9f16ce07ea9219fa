"""The verdict over all frame sets for the terminal, from what scores.json holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bench.records import ScoredOverall, ScoredSet, ScoresOnSets, SideBySideScoresOnSets
from bench.reports.content.recommendation import in_one_line, recommend
from bench.reports.content.text import enough, signed
from bench.reports.terminal.plain import wrapped


def summary_on_sets(numbers: ScoresOnSets | SideBySideScoresOnSets) -> str:
    """The verdict on each variant over all frame sets, the worst set first, and which to ship. No final newline."""
    texts: list[str] = []
    if isinstance(numbers, SideBySideScoresOnSets):
        for name, detector in numbers.detectors.items():
            texts += _verdicts(detector.overall, detector.sets, numbers.home, f"{name}/")
        baseline, against = "", f" (AUC against {numbers.reference})"
    else:
        texts += _verdicts(numbers.overall, numbers.sets, numbers.home)
        baseline, against = numbers.baseline, ""
    recommendation = in_one_line(recommend(numbers.choice, baseline), baseline)
    texts += [f"{recommendation}{against}"] if recommendation else ["ship: none can be recommended on all sets"]
    head = f"on all {len(numbers.sets)} frame sets, each by its AUC there"
    return "\n".join([f"{head}{' (verdicts: pooled scores)' if numbers.pool else ''}", *wrapped(texts)])


def _verdicts(
    overall: Mapping[str, ScoredOverall], sets: Mapping[str, ScoredSet], home: str, before: str = ""
) -> Iterator[str]:
    """A line for each variant: the verdict over all, then what each set says, the worst first."""
    for name, judged in overall.items():
        if judged.verdict is None:
            yield f"{before}{name}: nothing to compare"
            continue
        keeps = f" (keeps its AUC on {home}, loses it elsewhere)" if judged.keeps_at_home_only else ""
        unknown = f"; nothing to compare on {', '.join(judged.unknown)}" if judged.unknown else ""
        by_set = "; ".join(_on(sets[each], name, each) for each in judged.worst_first)
        pooled = (
            f" (pooled {_difference(judged.pooled.auc_delta, judged.pooled.auc_delta_ci)})" if judged.pooled else ""
        )
        yield f"{before}{name}: {judged.verdict}{pooled}{keeps}: {by_set}{unknown}"


def _on(of_set: ScoredSet, variant: str, name: str) -> str:
    """What one set says of a variant: the verdict there, ΔAUC and its interval."""
    scored = of_set.judged[variant]
    return f"{name} {scored.verdict} {_difference(scored.auc_delta, scored.auc_delta_ci)}".rstrip()


def _difference(delta: float | None, ci: tuple[float, float] | None) -> str:
    """ΔAUC and its interval; empty where there is none."""
    if delta is None or ci is None:
        return ""
    low, high = ci
    digits = enough((low, delta, high), 4)
    value, low_end, high_end = (signed(number, digits) for number in (delta, low, high))
    return f"{value} ({low_end} to {high_end})"
