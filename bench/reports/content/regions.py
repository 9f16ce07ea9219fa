"""Which parts of the face variants look at: a table and a chart for each outcome, and the frames that changed."""

from __future__ import annotations

from dataclasses import dataclass

from bench.errors import counted
from bench.records import OUTCOMES, Evaluation, Mean, Outcome, OutcomeRegions, Regions, RunRecord, VariantRegions
from bench.records.inspection import PARTS
from bench.reports.content.cells import EMPTY, Cell, Column, Table, cell, table, variant_cell, with_interval
from bench.reports.content.galleries import TITLES
from bench.reports.content.spans import Sentence, Span, docs, joined, sentence, strong
from bench.reports.content.text import number, plain, signed

AREA = "share of the area"
_FINDERS = {"manifest": "that the manifest tells", "manifest and yunet": "that the manifest tells, or else YuNet finds"}
WORTH_A_LOOK = 0.01
"""A smaller change of a share is not marked, be it as sure as it may."""
_MOST_FRAMES = 5
"""Frames whose leading part changed that are named, of each variant."""


@dataclass(frozen=True)
class RegionsOfOutcome:
    """One outcome: its title, the table, and the bars of its chart, `shares` by variant and part."""

    title: str
    table: Table
    bars: list[tuple[str, int, list[tuple[str, float]]]]


def regions(run: RunRecord, evaluation: Evaluation) -> list[RegionsOfOutcome]:
    """Of each outcome that some variant has with a face and evidence; empty where nobody asked."""
    of_all = evaluation.regions
    if of_all is None:
        return []
    return [
        RegionsOfOutcome(TITLES[outcome], _table(run, of_all, by_variant), _bars(of_all, by_variant))
        for outcome in OUTCOMES
        if (by_variant := _by_variant(of_all, outcome))
    ]


def of_outcome(run: RunRecord, evaluation: Evaluation, outcome: Outcome) -> Table | None:
    """The table of one outcome; None where nobody asked, or no variant has it with a face and evidence."""
    of_all = evaluation.regions
    by_variant = _by_variant(of_all, outcome) if of_all else {}
    return _table(run, of_all, by_variant) if of_all and by_variant else None


def _by_variant(of_all: Regions, outcome: Outcome) -> dict[str, OutcomeRegions]:
    return {name: each.outcomes[outcome] for name, each in of_all.variants.items() if outcome in each.outcomes}


def _table(run: RunRecord, of_all: Regions, by_variant: dict[str, OutcomeRegions]) -> Table:
    """The baseline's shares, each other variant's and its difference, and the parts' shares of the area."""
    rows = []
    for name, of_variant in by_variant.items():
        cells = [
            _share(part.share) if name == run.baseline.name or part.delta is None else _changed(part.share, part.delta)
            for part in of_variant.parts.values()
        ]
        rows.append([variant_cell(name), cell(f"{of_variant.frames:,}", value=of_variant.frames), *cells])
    rows.append([cell(AREA), EMPTY, *(cell(number(100 * of_all.areas[part], 1)) for part in PARTS)])
    stacked = [Column(f"{part.capitalize()} (%)", stacked=True) for part in PARTS]
    return table([Column("Model", "left"), Column("Frames"), *stacked], rows)


def _share(mean: Mean) -> Cell:
    ends = f"{number(100 * mean.interval.low, 1)}–{number(100 * mean.interval.high, 1)}"
    return with_interval(number(100 * mean.value, 1), ends, mean.value)


def _changed(share: Mean, delta: Mean) -> Cell:
    """A share, and its difference to the baseline's; stressed where that is significant, and not tiny."""
    low, high = delta.interval.low, delta.interval.high
    ends = f"{signed(100 * delta.value, 1)}: {signed(100 * low, 1)} to {signed(100 * high, 1)}"
    stressed = not low <= 0 <= high and abs(delta.value) >= WORTH_A_LOOK
    return Cell(sentence(number(100 * share.value, 1)), ends, share.value, stressed=stressed)


def _bars(of_all: Regions, by_variant: dict[str, OutcomeRegions]) -> list[tuple[str, int, list[tuple[str, float]]]]:
    """A bar for each variant: its name, its frames, and the shares of the parts, which add up to 1; last the areas."""
    bars = [
        (name, of_variant.frames, [(part, each.share.value) for part, each in of_variant.parts.items()])
        for name, of_variant in by_variant.items()
    ]
    return [*bars, (AREA, 0, [(part, of_all.areas[part]) for part in PARTS])]


def changed(evaluation: Evaluation) -> list[Sentence]:
    """For each variant how many frames have another leading part than the baseline's, and those that changed most."""
    of_all = evaluation.regions
    compared = {name: each for name, each in of_all.variants.items() if each.compared} if of_all else {}
    return [_changes(evaluation, name, each) for name, each in compared.items()]


def _changes(evaluation: Evaluation, name: str, of_variant: VariantRegions) -> Sentence:
    if not of_variant.changed:
        return sentence(strong(name), f": the leading part is the same in all {of_variant.compared:,} frames.")
    first = [_named(evaluation, each.row, each.before, each.after) for each in of_variant.changed[:_MOST_FRAMES]]
    count = f"{len(of_variant.changed):,} of {counted(of_variant.compared, 'frame')}"
    return sentence(strong(name), f": another leading part in {count}; most in ", joined(first, ", "), ".")


def _named(evaluation: Evaluation, row: int, before: str, after: str) -> Sentence:
    frame = Span(plain(evaluation.test.frames.iloc[row]), "frame")
    return sentence(frame, f" ({before} → {after})")


def finding(run: RunRecord, evaluation: Evaluation) -> list[Sentence]:
    """The part that the baseline looks at most in fakes that it finds, and the variants that do otherwise.

    The part that holds most beyond its share of the area: by evidence alone, large parts would always lead.
    """
    of_all = evaluation.regions
    if of_all is None:
        return []
    resolved = {
        name: each.outcomes["true_positives"].parts
        for name, each in of_all.variants.items()
        if "true_positives" in each.outcomes
    }
    leads = {
        name: max(parts, key=lambda part: parts[part].share.value - of_all.areas[part])
        for name, parts in resolved.items()
    }
    name = run.baseline.name
    if name not in leads:
        return []
    part = leads[name]
    share, area = (f"{number(100 * each, 1)} %" for each in (resolved[name][part].share.value, of_all.areas[part]))
    facts = f" looks, beyond chance, most at {part} ({share} of the evidence, on {area} of the area)"
    start = sentence("In fakes that it finds, ", strong(name), facts)
    others = [other for other in leads if other != name]
    away = [sentence(strong(other), f" at {leads[other]}") for other in others if leads[other] != part]
    if not others:
        return [sentence(start, ".")]
    return [sentence(start, "; ", joined(away, ", "), "." if away else "so does every other variant.")]


def note(evaluation: Evaluation) -> Sentence:
    """How parts of the face are told, and on how many frames."""
    of_all = evaluation.regions
    if of_all is None:
        return sentence("")
    without = ""
    if of_all.reasons:
        without = f"; {', '.join(of_all.reasons)}: {next(iter(of_all.reasons.values()))}"
    test_frames = counted(of_all.counts.frames, "test frame")
    faces = f"the {of_all.counts.faces:,} of {test_frames} that have a face"
    if of_all.frames < of_all.counts.faces:
        faces = f"{of_all.frames:,} of {faces}"
    by = _FINDERS.get(of_all.counts.finder, "that YuNet finds")
    return sentence(
        f"Which parts of the face heatmaps lie on, over {faces}: polygons laid on the five "
        f"points {by}. Given is the mean share of what speaks for the called class in percent, with its 95 % interval; "
        "of other variants than the baseline, in parentheses the paired difference to the baseline's "
        "map of the same frames for the same class, bold where it is significant by its own interval and at least "
        f"{100 * WORTH_A_LOOK:g} point",
        without,
        ". More: ",
        docs("verdicts.md#parts-of-the-face"),
        ".",
    )
