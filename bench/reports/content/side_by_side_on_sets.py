"""What the report of several detectors on several frame sets says: which to ship where it must hold on each set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.errors import counted
from bench.records import SideBySideOnSets
from bench.reports.content import frame_sets, recommendation, robustness
from bench.reports.content import side_by_side_on_sets_tables as tables
from bench.reports.content.cells import Table
from bench.reports.content.side_by_side import Section, section_on, sessions_of, warnings_of
from bench.reports.content.spans import Sentence, listed, sentence, strong


@dataclass(frozen=True)
class OverallOnSets:
    """The whole report: what all frame sets say together, then a section for each of them alone."""

    experiment: str
    opening: Sentence
    answer: list[Sentence]
    warnings: list[Sentence]
    detectors: Table
    variants: Table
    verdicts: list[Sentence]
    note: Sentence
    looks: Mapping[str, int]
    sections: list[Section]


def overall_on_sets(
    together: SideBySideOnSets,
    warnings: Mapping[str, Sequence[str]],
    page: str,
    below: Mapping[str, Mapping[str, str]],
) -> OverallOnSets:
    """What is said of several detectors on several frame sets.

    `warnings` are those of each detector on each set. `page` is the file name of their reports, in the folders `below`
    by frame set and detector.
    """
    sections = [section_on(each, name, page, below[name]) for name, each in together.compared.items()]
    across = next(iter(together.detectors.values()))
    return OverallOnSets(
        experiment=across.run.experiment,
        opening=_opening(together),
        answer=_answer(together),
        warnings=[*warnings_of(warnings), *sessions_of(together.first)],
        detectors=tables.detectors(together, page, below),
        variants=tables.variants(together),
        verdicts=_verdicts(together),
        note=frame_sets.note(across),
        looks=sections[0].looks,
        sections=sections,
    )


def _opening(together: SideBySideOnSets) -> Sentence:
    """Which detectors, on which frame sets."""
    across = next(iter(together.detectors.values()))
    return sentence(
        f"{len(together.detectors)} detectors side by side: ",
        listed(list(together.detectors)),
        f", {counted(len(together.first.titles), 'variant')} in all, judged on "
        f"{counted(len(across.sets), 'frame set')}: ",
        listed(list(across.sets)),
        ". ",
        frame_sets.at_home(across),
    )


def _answer(together: SideBySideOnSets) -> list[Sentence]:
    """Which variant of all to ship, and what its AUC is compared with."""
    reference = together.first.reference
    at_chance = _at_chance(together, reference)
    texts = frame_sets.answer(
        together.first.run, together.evaluation, at_chance, together.verdicts, len(together.compared), of_several=True
    )
    detector, chosen = _chosen(together)
    if detector:
        across = together.detectors[detector]
        texts += frame_sets.against(across, chosen, f"{detector}/{across.run.baseline.name}")
    against = sentence("ΔAUC is the difference to ", strong(reference), ", on each set.")
    return [*texts, against]


def _at_chance(together: SideBySideOnSets, reference: str) -> list[str]:
    """The sets on which the reference is not significantly better than chance."""
    names = []
    for name, compared in together.compared.items():
        judged = compared.evaluation.variants.get(reference)
        if judged and judged.auc and judged.auc.interval.low <= 0.5:
            names.append(name)
    return names


def _chosen(together: SideBySideOnSets) -> tuple[str, str]:
    """Detector and variant that are recommended; empty where none is."""
    chosen = recommendation.recommend(together.evaluation.choice, "").chosen
    return together.first.titles[chosen] if chosen else ("", "")


def _verdicts(together: SideBySideOnSets) -> list[Sentence]:
    """What the sets say of each variant against its own detector's baseline."""
    verdicts = {
        f"{name}/{variant}": verdict
        for name, detector in together.detectors.items()
        for variant, verdict in detector.verdicts.items()
    }
    across = next(iter(together.detectors.values()))
    degraded = {
        name: {
            f"{detector}/{variant}": scores
            for detector, alone in compared.detectors.items()
            for variant, scores in alone.judged.degraded.items()
        }
        for name, compared in together.compared.items()
    }
    texts = frame_sets.verdicts(verdicts, frame_sets.units(across), is_pooled=across.is_pooled)
    return [*texts, *robustness.on_sets(degraded)]
