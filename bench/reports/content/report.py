"""What a report says, made once for all writers; pictures aside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.records import Judgement, Preprocessing, Run
from bench.reports.content import changes, measured, notes, recommendation, tables, variants
from bench.reports.content.cells import Table
from bench.reports.content.insights import insights
from bench.reports.content.spans import Sentence, sentence, strong
from bench.reports.content.text import counted
from bench.reports.content.warnings import warnings


@dataclass(frozen=True)
class Report:
    """Sentences and tables of a report, in its order; a table is None where it would say nothing.

    `ledger` is whether the ledger of flips was written beside the report.
    """

    run: Run
    opening: Sentence
    warnings: list[Sentence]
    answer: list[Sentence]
    overview: Table
    compared: Table
    method: Sentence
    noted: list[tuple[str, tuple[str, ...]]]
    insights: list[Sentence]
    performance: Table
    classification: Table
    thresholds: Table | None
    at_thresholds: Table
    ranking: Table
    flips: Table | None
    drift: Table | None
    slices: list[tuple[str, Table]]
    worst: list[Sentence]
    not_sliced: tuple[str, ...]
    ablation: Table | None
    execution: Table | None
    evaluations: list[str]
    timings: Table | None
    conditions: Table | None
    provenance: Table
    notes: dict[str, Sentence]
    judged: bool
    ledger: bool


def gather(run: Run, judgement: Judgement, scores: dict[str, Any], *, ledger: bool) -> Report:
    """Everything that a report of this run says. `scores` is what scores.json holds."""
    return Report(
        run=run,
        opening=_opening(run),
        warnings=[*warnings(run, scores), *map(sentence, run.warnings)],
        answer=recommendation.sentences(run, judgement),
        overview=variants.overview(run, judgement),
        compared=variants.compared(run, judgement),
        method=notes.method(run, judgement),
        noted=measured.noted(run),
        insights=insights(run, judgement),
        performance=variants.performance(run, judgement),
        classification=tables.classification(judgement),
        thresholds=tables.thresholds(judgement),
        at_thresholds=tables.at_thresholds(judgement),
        ranking=tables.ranking(judgement),
        flips=changes.flips(judgement),
        drift=changes.drift(judgement),
        slices=changes.slices(run, judgement),
        worst=changes.worst(judgement),
        not_sliced=judgement.not_sliced,
        ablation=changes.ablation(judgement),
        execution=measured.execution(run),
        evaluations=measured.evaluations(run),
        timings=measured.timings(run, judgement),
        conditions=measured.conditions(run),
        provenance=measured.provenance(run),
        notes=_notes(run, judgement),
        judged=bool(judgement.variants),
        ledger=ledger,
    )


def _notes(run: Run, judgement: Judgement) -> dict[str, Sentence]:
    """The small print, by the table that it belongs to."""
    return {
        "performance": notes.performance(run),
        "execution": notes.execution(),
        "classification": notes.classification(run),
        "classification_with_intervals": notes.classification(run, intervals=True),
        "thresholds": notes.thresholds(run, judgement),
        "at_thresholds": notes.at_thresholds(run, judgement),
        "only_fixed": notes.only_fixed(),
        "ranking": notes.ranking(),
        "flips": notes.flips(run),
        "drift": notes.drift(),
        "slices": notes.slices(),
        "ablation": notes.ablation(),
        "galleries": notes.galleries(),
        "timings": notes.timings(),
    }


def _opening(run: Run) -> Sentence:
    """Which detector was compressed, on which frames it was evaluated, and where."""
    test = run.frames["test"]
    sources = f" from {counted(test.sources, 'source')}" if test.sources else ""
    frames = f"{counted(test.count, 'test frame')} ({test.fake:,} fake, {test.real:,} real){sources}"
    if run.preprocessing is None:
        return sentence(
            f"Scores from elsewhere of {counted(len(run.variants), 'variant')}, judged on {frames}. Nothing was built, "
            "executed or timed for this report; which files were read stands under Provenance."
        )
    devices = dict.fromkeys(
        f"{variant.executed.device} ({variant.executed.device_name})" for variant in run.variants if variant.executed
    )
    where = f" It ran on {' and '.join(devices)}." if devices else ""
    return sentence(
        "Detector ",
        strong(run.detector),
        f" ({run.architecture}, {_input(run.preprocessing)}) in {counted(len(run.variants), 'variant')}, judged on "
        f"{frames} in {test.root}.{where}",
    )


def _input(preprocessing: Preprocessing) -> str:
    blend = f", {preprocessing.wavelet} wavelet blend" if preprocessing.wavelet != "none" else ""
    return f"{preprocessing.size} × {preprocessing.size} px {preprocessing.channels.upper()}{blend}"
