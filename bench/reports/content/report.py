"""What a report says, made once for all writers; pictures aside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.errors import counted
from bench.records import Evaluation, RunRecord, ScoresFile, SplitSummary, Unit
from bench.reports.content import (
    calibrated,
    changes,
    confirmed,
    depth,
    exemplars,
    forecasts,
    groups,
    localisation,
    measured,
    members,
    notes,
    recommendation,
    regions,
    robustness,
    searches,
    variants,
    videos,
)
from bench.reports.content import tables as of_quality
from bench.reports.content.cells import Table
from bench.reports.content.exemplars import Lost
from bench.reports.content.found_threshold import how_found
from bench.reports.content.inputs import input_of
from bench.reports.content.insights import insights, other_reason
from bench.reports.content.judged import Judged, how, judged
from bench.reports.content.spans import Sentence, paragraph, sentence, strong, with_code
from bench.reports.content.text import test_frames
from bench.reports.content.warnings import warnings


@dataclass(frozen=True)
class Report:
    """Sentences and tables of a report, in its order; a table is None where it would say nothing.

    `unit` is what is judged, frames or videos, and `judged_test` are those: verdicts, the answer, curves and all
    numbers of quality are of these. Pictures, maps and what stands below a slider are of frames. `ledger` is whether
    the ledger of flips was written beside the report, `tables` are names and paths of the files with the main tables.
    """

    run: RunRecord
    opening: Sentence
    warnings: list[Sentence]
    answer: list[Sentence]
    overview: Table
    compared: Table
    method: Sentence
    noted: list[Sentence]
    searches: list[searches.FoundChain]
    insights: list[Sentence]
    performance: Table
    found_threshold: Sentence
    classification: Table
    thresholds: Table | None
    at_thresholds: Table
    ranking: Table
    calibrated: Table | None
    flips: Table | None
    lost: Lost | None
    drift: Table | None
    faithful: Table | None
    localised: Table | None
    regions: list[regions.RegionsOfOutcome]
    changed_parts: list[Sentence]
    robustness: Table | None
    members: Table | None
    joined: list[Sentence]
    confirmed: Table | None
    searched: Sentence
    slices: list[tuple[str, Table]]
    worst: list[Sentence]
    not_sliced: tuple[Sentence, ...]
    groups: list[groups.GroupTables]
    ablation: Table | None
    forecasts: Table | None
    forecast_misses: list[Sentence]
    depths: list[depth.Depth]
    videos: Table | None
    execution: Table | None
    evaluations: list[str]
    timings: Table | None
    conditions: Table | None
    provenance: Table
    notes: dict[str, Sentence]
    unit: Unit
    judged_test: SplitSummary
    judged: bool
    ledger: bool
    tables: Sequence[tuple[str, str]]


def gather(
    run: RunRecord,
    evaluation: Evaluation,
    numbers: ScoresFile,
    *,
    ledger: bool,
    tables: Sequence[tuple[str, str]] = (),
) -> Report:
    """Everything that a report of this run says. `numbers` is what scores.json holds."""
    of = judged(run, evaluation)
    opening = of.sentence(_opening(of.run))
    return Report(
        run=run,
        opening=opening if of.unit == "frame" else paragraph((opening, how(run))),
        warnings=[*warnings(run, numbers), *map(with_code, run.warnings)],
        answer=of.sentences(recommendation.sentences(of.run, of.evaluation)),
        overview=of.table(variants.overview(of.run, of.evaluation)),
        compared=of.table(variants.compared(of.run, of.evaluation)),
        method=of.sentence(notes.method(of.run, of.evaluation)),
        noted=measured.noted(run),
        searches=searches.searches(of.run, of.evaluation),
        insights=[
            *of.sentences(insights(of.run, of.evaluation)),
            *other_reason(evaluation),
            *localisation.finding(run, evaluation),
            *regions.finding(run, evaluation),
        ],
        performance=of.table(variants.performance(of.run, of.evaluation)),
        found_threshold=how_found(run, numbers),
        classification=of_quality.classification(of.evaluation),
        thresholds=of_quality.thresholds(of.evaluation),
        at_thresholds=of_quality.at_thresholds(of.evaluation),
        ranking=of_quality.ranking(of.evaluation),
        calibrated=calibrated.calibrated(run, evaluation),
        flips=changes.flips(of.evaluation),
        lost=exemplars.lost(run, evaluation),
        drift=changes.drift(evaluation),
        faithful=changes.faithful(evaluation),
        localised=localisation.localised(evaluation),
        regions=regions.regions(run, evaluation),
        changed_parts=regions.changed(evaluation),
        robustness=robustness.robustness(of.run, of.evaluation),
        members=members.members(evaluation),
        joined=members.joined(run, evaluation),
        confirmed=confirmed.confirmed(of.evaluation),
        searched=of.sentence(confirmed.searched(of.evaluation)),
        slices=changes.slices(of.run, of.evaluation),
        worst=of.sentences(changes.worst(of.evaluation)),
        not_sliced=tuple(with_code(of.words(reason)) for reason in of.evaluation.not_sliced),
        groups=groups.groups(of.run, of.evaluation),
        ablation=changes.ablation(of.evaluation),
        forecasts=forecasts.forecasts(evaluation),
        forecast_misses=forecasts.misses(run, evaluation),
        depths=depth.depths(run, evaluation),
        videos=videos.of_variants(run, evaluation),
        execution=measured.execution(run),
        evaluations=measured.evaluations(run),
        timings=measured.timings(run, evaluation),
        conditions=measured.conditions(run),
        provenance=measured.provenance(run),
        notes=_notes(run, evaluation) | {key: of.sentence(note) for key, note in _of_judged(of).items()},
        unit=of.unit,
        judged_test=of.run.test,
        judged=bool(evaluation.variants),
        ledger=ledger,
        tables=tables,
    )


def _notes(run: RunRecord, evaluation: Evaluation) -> dict[str, Sentence]:
    """The small print of what is of frames whatever is judged, by the table that it belongs to."""
    return {
        "calibrated": calibrated.note(run, evaluation),
        "execution": notes.execution(),
        "drift": notes.drift(run),
        "faithful": notes.faithful(),
        "galleries": notes.galleries(run, evaluation),
        "no_maps": notes.no_maps(),
        "blurred": notes.blurred(),
        "timings": notes.timings(evaluation),
        "forecasts": forecasts.note(evaluation),
        "robustness": notes.robustness(run),
        "members": members.note(),
        **({"localised": localisation.note(evaluation)} if evaluation.localisation else {}),
        **({"regions": regions.note(evaluation)} if evaluation.regions else {}),
        **videos.notes(run, evaluation),
    }


def _of_judged(of: Judged) -> dict[str, Sentence]:
    """The small print of what goes by what is judged."""
    run, evaluation = of.run, of.evaluation
    return {
        "performance": notes.performance(run),
        "classification": notes.classification(run),
        "classification_with_intervals": notes.classification(run, intervals=True),
        "thresholds": notes.thresholds(run, evaluation),
        "at_thresholds": notes.at_thresholds(run, evaluation),
        "only_fixed": notes.only_fixed(),
        "ranking": notes.ranking(),
        "flips": notes.flips(run),
        "confirmed": notes.confirmed(),
        "groups": notes.groups(run),
        "slices": notes.slices(),
        "ablation": notes.ablation(),
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
