"""What a report says, made once for all writers; pictures aside."""

from __future__ import annotations

from dataclasses import dataclass

from bench.records import Evaluation, RunRecord, ScoresFile
from bench.reports.content import changes, measured, notes, recommendation, tables, variants, videos
from bench.reports.content.cells import Table
from bench.reports.content.insights import insights
from bench.reports.content.spans import Sentence, sentence, strong
from bench.reports.content.text import counted, test_frames
from bench.reports.content.warnings import warnings


@dataclass(frozen=True)
class Report:
    """Sentences and tables of a report, in its order; a table is None where it would say nothing.

    `ledger` is whether the ledger of flips was written beside the report.
    """

    run: RunRecord
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
    faithful: Table | None
    slices: list[tuple[str, Table]]
    worst: list[Sentence]
    not_sliced: tuple[str, ...]
    ablation: Table | None
    videos: Table | None
    execution: Table | None
    evaluations: list[str]
    timings: Table | None
    conditions: Table | None
    provenance: Table
    notes: dict[str, Sentence]
    judged: bool
    ledger: bool


def gather(run: RunRecord, evaluation: Evaluation, numbers: ScoresFile, *, ledger: bool) -> Report:
    """Everything that a report of this run says. `numbers` is what scores.json holds."""
    return Report(
        run=run,
        opening=_opening(run),
        warnings=[*warnings(run, numbers), *map(sentence, run.warnings)],
        answer=recommendation.sentences(run, evaluation),
        overview=variants.overview(run, evaluation),
        compared=variants.compared(run, evaluation),
        method=notes.method(run, evaluation),
        noted=measured.noted(run),
        insights=insights(run, evaluation),
        performance=variants.performance(run, evaluation),
        classification=tables.classification(evaluation),
        thresholds=tables.thresholds(evaluation),
        at_thresholds=tables.at_thresholds(evaluation),
        ranking=tables.ranking(evaluation),
        flips=changes.flips(evaluation),
        drift=changes.drift(evaluation),
        faithful=changes.faithful(evaluation),
        slices=changes.slices(run, evaluation),
        worst=changes.worst(evaluation),
        not_sliced=evaluation.not_sliced,
        ablation=changes.ablation(evaluation),
        videos=videos.of_variants(run, evaluation),
        execution=measured.execution(run),
        evaluations=measured.evaluations(run),
        timings=measured.timings(run, evaluation),
        conditions=measured.conditions(run),
        provenance=measured.provenance(run),
        notes=_notes(run, evaluation),
        judged=bool(evaluation.variants),
        ledger=ledger,
    )


def _notes(run: RunRecord, evaluation: Evaluation) -> dict[str, Sentence]:
    """The small print, by the table that it belongs to."""
    return {
        "performance": notes.performance(run),
        "execution": notes.execution(),
        "classification": notes.classification(run),
        "classification_with_intervals": notes.classification(run, intervals=True),
        "thresholds": notes.thresholds(run, evaluation),
        "at_thresholds": notes.at_thresholds(run, evaluation),
        "only_fixed": notes.only_fixed(),
        "ranking": notes.ranking(),
        "flips": notes.flips(run),
        "drift": notes.drift(run),
        "faithful": notes.faithful(),
        "slices": notes.slices(),
        "ablation": notes.ablation(),
        "galleries": notes.galleries(run, evaluation),
        "no_maps": notes.no_maps(),
        "blurred": notes.blurred(),
        "timings": notes.timings(),
        "videos": videos.note(run, evaluation),
        "coverage": videos.coverage(run),
        "flipped_videos": videos.flipped_note(run),
    }


def _opening(run: RunRecord) -> Sentence:
    """Which detector was compressed, on which frames it was evaluated, and where."""
    test, frames = run.test, test_frames(run)
    if run.preprocessing is None:
        return sentence(
            f"Scores from elsewhere of {counted(len(run.variants), 'variant')}, evaluated on {frames}. Nothing was "
            "built, executed or timed for this report; which files were read stands under Provenance."
        )
    devices = dict.fromkeys(
        f"{variant.executed.device} ({variant.executed.device_name})" for variant in run.variants if variant.executed
    )
    where = f" It ran on {' and '.join(devices)}." if devices else ""
    return sentence(
        "Detector ",
        strong(run.detector),
        f" ({run.architecture}, {input_of(run)}) in {counted(len(run.variants), 'variant')}, evaluated on "
        f"{frames} in {test.root}.{where}",
    )


def input_of(run: RunRecord) -> str:
    """Size, channels and blend of what its networks see."""
    preprocessing = run.preprocessing
    assert preprocessing is not None
    blend = f", {preprocessing.wavelet} wavelet blend" if preprocessing.wavelet != "none" else ""
    return f"{preprocessing.size} × {preprocessing.size} px {preprocessing.channels.upper()}{blend}"
