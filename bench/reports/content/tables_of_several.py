"""The main tables of a report of several detectors or frame sets, for papers and for programs.

Papers get what the report shows. Programs get a row for each variant of each detector on each frame set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from bench.errors import counted
from bench.records import (
    ScoredDetector,
    ScoredOverall,
    ScoredSet,
    ScoredVariant,
    ScoresOnSets,
    SideBySideScores,
    SideBySideScoresOnSets,
    Unit,
)
from bench.reports.content.cells import NOT_PRINTED, ON_SET, Column, Table, cell
from bench.reports.content.frame_sets import AllSets
from bench.reports.content.main_tables import (
    CHANGES,
    CLASSIFICATION,
    PERFORMANCE,
    MainTable,
    Value,
    column_names,
    exact_values,
)
from bench.reports.content.side_by_side import Section
from bench.reports.content.side_by_side_on_sets import OverallOnSets

OF_VARIANT = tuple(dict.fromkeys((*PERFORMANCE, *CLASSIFICATION, *CHANGES)))
OF_DETECTOR = ("auc_delta", "auc_delta_ci", "auc_delta_p", "auc_delta_p_holm")
AGAINST = (*OF_DETECTOR, "speedup", "speedup_interval")
OF_BASELINE = ("auc", "auc_ci", "size_mib", "parameters", "macs", "latency_ms.p50")
"""Keys of scores.json, as in `main_tables`; those of `compared` begin with that in the table."""

_BLANK = cell("")
_OVERALL = ("overall_verdict", "overall_p", "overall_lost")


def of_detectors(numbers: SideBySideScores, section: Section) -> list[MainTable]:
    """Detectors as they are, and all variants of all detectors; differences `compared_…` are those to the reference."""
    on = f"{numbers.experiment}, {_test(numbers)}"
    keys, rows = _detectors(numbers)
    of_detector = MainTable("detectors", f"Detectors as they are: {on}", _for_papers(section.detectors), keys, rows)
    caption = f"Variants of all detectors, compared with {numbers.reference}: {on}"
    columns, variants = _compared(numbers)
    return [of_detector, MainTable("variants", caption, _for_papers(section.variants), columns, variants)]


def of_sets(numbers: ScoresOnSets, report: AllSets) -> list[MainTable]:
    """The frame sets, and all variants on each of them; what is `overall_…` holds for all sets."""
    on = f"{numbers.experiment}, {counted(len(numbers.sets), 'frame set')}"
    columns = ("frame_set", "count", "fake", "real", "judge", "videos", "baseline", *column_names(("auc", "auc_ci")))
    sets = [
        (name, *_frames(each), numbers.baseline, *exact_values(each.judged.get(numbers.baseline), ("auc", "auc_ci")))
        for name, each in numbers.sets.items()
    ]
    variants = [
        (name, variant, *_overall(numbers.overall.get(variant), name), *exact_values(scored, OF_VARIANT))
        for name, each in numbers.sets.items()
        for variant, scored in each.judged.items()
    ]
    keys = ("frame_set", "variant", *_OVERALL, *column_names(OF_VARIANT))
    return [
        MainTable("frame_sets", f"Frame sets: {numbers.experiment}", _for_papers(report.sets), columns, tuple(sets)),
        MainTable(
            "variants",
            f"Changes against {numbers.baseline}: {on}",
            _by_row(report.variants, "ΔAUC"),
            keys,
            tuple(variants),
        ),
    ]


def of_detectors_on_sets(
    numbers: SideBySideScoresOnSets, by_set: Mapping[str, SideBySideScores], report: OverallOnSets
) -> list[MainTable]:
    """Detectors as they are on each frame set, and all variants of all detectors there.

    `by_set` compares the detectors on each set.
    """
    on = f"{numbers.experiment}, {counted(len(by_set), 'frame set')}"
    detectors, variants = [], []
    for name, scores in by_set.items():
        of_detector, rows = _detectors(scores)
        detectors += [(name, *row) for row in rows]
        columns, compared = _compared(scores)
        for detector, variant, *values in compared:
            overall = numbers.detectors[str(detector)].overall.get(str(variant))
            against = numbers.overall_compared.get(f"{detector}/{variant}")
            verdicts = (*_overall(overall, name), against.verdict if against else None)
            variants.append((name, detector, variant, *verdicts, *values))
    caption = f"Variants of all detectors, compared with {numbers.reference}: {on}"
    keys = ("frame_set", *columns[:2], *_OVERALL, "overall_compared_verdict", *columns[2:])
    return [
        MainTable(
            "detectors",
            f"AUC of the detectors as they are: {on}",
            _by_row(report.detectors, "AUC"),
            ("frame_set", *of_detector),
            tuple(detectors),
        ),
        MainTable("variants", caption, _by_row(report.variants, "ΔAUC"), keys, tuple(variants)),
    ]


def _overall(overall: ScoredOverall | None, frame_set: str) -> tuple[Value, ...]:
    """The verdict on a variant over all sets; what is lost on this one, and its p, after the correction for all."""
    if overall is None:
        return (None, None, None)
    return overall.verdict, overall.p_sets.get(frame_set), frame_set in overall.lost


def _detectors(numbers: SideBySideScores) -> tuple[tuple[str, ...], tuple[tuple[Value, ...], ...]]:
    """Columns, and a row for each detector: its baseline, its difference to the best, what is chosen of its own."""
    columns = (
        "detector", "architecture", "threshold", "baseline", *column_names(OF_BASELINE), *column_names(OF_DETECTOR),
        "chosen",
    )  # fmt: skip
    rows = [
        (
            name,
            detector.architecture,
            detector.threshold,
            detector.baseline,
            *exact_values(_judged(detector, numbers.judge)[detector.baseline], OF_BASELINE),
            *exact_values(detector, OF_DETECTOR),
            detector.choice.chosen if detector.choice else None,
        )
        for name, detector in numbers.detectors.items()
    ]
    return columns, tuple(rows)


def _compared(numbers: SideBySideScores) -> tuple[tuple[str, ...], tuple[tuple[Value, ...], ...]]:
    """Columns, and a row for each variant of each detector: against its own baseline, and against the reference."""
    columns = ("detector", "variant", *column_names(OF_VARIANT), *column_names(AGAINST, "compared_"))
    rows = [
        (
            detector,
            variant,
            *exact_values(scored, OF_VARIANT),
            *exact_values(numbers.compared[f"{detector}/{variant}"], AGAINST),
        )
        for detector, each in numbers.detectors.items()
        for variant, scored in _judged(each, numbers.judge).items()
    ]
    return columns, tuple(rows)


def _judged(detector: ScoredDetector, unit: Unit) -> Mapping[str, ScoredVariant]:
    """The variants of a detector with the numbers of what is judged."""
    if unit == "frame":
        return detector.variants
    return {name: variant.by_video for name, variant in detector.variants.items()}


def _frames(of_set: ScoredSet) -> tuple[Value, ...]:
    """How many test frames a set has, by what it is judged, and how many videos that are."""
    test = of_set.frames["test"]
    videos = of_set.videos.splits.get("test") if of_set.videos and of_set.judge == "video" else None
    return test.count, test.fake, test.real, of_set.judge, videos.count if videos else None


def _test(numbers: SideBySideScores) -> str:
    videos = numbers.videos.splits.get("test") if numbers.videos else None
    if numbers.judge == "video" and videos:
        return counted(videos.count, "test video")
    return counted(numbers.frames["test"].count, "test frame")


def _for_papers(shown: Table) -> Table:
    """A table of the report without its columns of words."""
    columns = [index for index, column in enumerate(shown.columns) if column.key != NOT_PRINTED]
    return replace(
        shown,
        columns=tuple(shown.columns[index] for index in columns),
        rows=tuple(tuple(row[index] for index in columns) for row in shown.rows),
    )


def _by_row(shown: Table, title: str) -> Table:
    """The same with a row for each frame set in place of a column, since there may be many; `title` is of these."""
    printed = _for_papers(shown)
    names = [column.key.removeprefix(ON_SET) if column.key.startswith(ON_SET) else "" for column in printed.columns]
    first, *others = [index for index, name in enumerate(names) if not name]
    of_sets = [index for index, name in enumerate(names) if name]
    rows = []
    for row in printed.rows:
        for index in of_sets:
            is_first = index == of_sets[0]
            beside = [row[other] if is_first else _BLANK for other in others]
            rows.append((row[first] if is_first else _BLANK, cell(names[index]), row[index], *beside))
    columns = (
        printed.columns[first],
        Column("Frame set", "left"),
        Column(title, stacked=True),
        *(printed.columns[other] for other in others),
    )
    return Table(columns, tuple(rows))
