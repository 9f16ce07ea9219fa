"""What several frame sets say of the variant that is handed over: the first one, the worst one, and all together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.experiment import ExperimentSettings
from bench.pipeline.rendered import evaluate_run
from bench.records import Alone, Comparison, OverallVerdict
from bench.reports.content.text import difference
from bench.results import score, store


@dataclass(frozen=True)
class SetsOf:
    """Where the results of a detector lie on each of several frame sets, the first one's first; see `score.on_sets`."""

    folders: Mapping[str, Path]
    built_with: str
    pool: bool


def sets_of(results: Path, settings: ExperimentSettings, detector: str) -> SetsOf | None:
    """The frame sets of a detector in an experiment's folder of results; None where there is one alone."""
    if not settings.has_several_sets:
        return None
    folders = {name: results / settings.folder(detector, name) for name in settings.frame_sets}
    return SetsOf(folders, settings.build_set, settings.pool)


def read(sets: SetsOf) -> dict[str, Alone]:
    """The results on each set. `UserError` where they are missing."""
    runs = {name: store.read_run(folder) for name, folder in sets.folders.items()}
    return {name: Alone(run, evaluate_run(run, sets.folders[name])) for name, run in runs.items()}


def verdict_over(sets: SetsOf, alone: Mapping[str, Alone], variant: str) -> OverallVerdict | None:
    """The verdict on a variant over all sets; None for the baseline."""
    return score.on_sets(alone, sets.built_with, pool=sets.pool).verdicts.get(variant)


def sentences(sets: SetsOf, overall: OverallVerdict) -> list[str]:
    """What all sets say together, then the first, then the worst where that is another."""
    first, pooled = next(iter(sets.folders)), ", by pooled scores" if sets.pool else ""
    verdict, names_of_all = overall.verdict or "unknown", ", ".join(sets.folders)
    texts = [f"On all {len(sets.folders)} frame sets ({names_of_all}): {verdict}{pooled}."]
    names = dict.fromkeys(name for name in (first, overall.worst) if name in overall.comparisons)
    for name in names:
        which = "the first" if name == first else "the worst"
        worst = " and the worst" if name == first == overall.worst else ""
        texts.append(f"On {name}, {which}{worst}: {_spelled(overall.comparisons[str(name)])}.")
    if overall.keeps_at_home_only:
        texts.append(f"It keeps its AUC on {overall.home} and loses it on {', '.join(overall.lost)}.")
    if overall.unknown:
        texts.append(f"Nothing to compare on {', '.join(overall.unknown)}.")
    return texts


def _spelled(comparison: Comparison) -> str:
    return f"{comparison.verdict}, difference of AUC {difference(comparison.delta)}"
