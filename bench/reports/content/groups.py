"""The gap between groups of frames, before and after: a table for each column, and the rates of the groups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench.errors import counted
from bench.records import RATES, Evaluation, GroupGap, Rate, RunRecord
from bench.reports.content.cells import (
    EMPTY,
    Cell,
    Column,
    Table,
    cell,
    columns,
    table,
    variant_cell,
    with_interval,
)
from bench.reports.content.judged import in_words
from bench.reports.content.spans import Sentence, code, sentence
from bench.reports.content.text import number, signed, span

CALLED: dict[Rate, str] = {"fpr": "FPR", "fnr": "FNR"}
CLASSES: dict[Rate, str] = {"fpr": "real frame", "fnr": "fake"}


@dataclass(frozen=True)
class GroupTables:
    """What is said of the groups of a column: gaps and rates, None where there are none, and remarks below the gaps."""

    column: str
    gaps: Table | None
    rates: Table | None
    remarks: list[Sentence]


def groups(run: RunRecord, evaluation: Evaluation) -> list[GroupTables]:
    """The tables of each column of `groups:`; empty without any, or where no variant was scored."""
    if not evaluation.variants:
        return []
    return [
        GroupTables(
            column,
            _gaps(column, evaluation),
            _rates(column, evaluation),
            [*_few_sources(column, evaluation), *_left_out(column, evaluation)],
        )
        for column in run.groups
    ]


def _of(column: str, evaluation: Evaluation, name: str) -> dict[Rate, GroupGap]:
    return {part.rate: part for part in evaluation.variants[name].gaps if part.column == column}


def _gaps(column: str, evaluation: Evaluation) -> Table | None:
    rows = []
    for name in evaluation.variants:
        of_variant = _of(column, evaluation, name)
        cells = [each for rate in RATES for each in _gap_cells(of_variant[rate])]
        rows.append([variant_cell(name), *cells])
    if all(each.is_empty for row in rows for each in row[1:]):
        return None
    titles = [title for rate in RATES for title in (f"{CALLED[rate]} gap", f"{CALLED[rate]} gap − baseline's")]
    return table([Column("Model", "left"), *(Column(title, stacked=True) for title in titles)], rows)


def _gap_cells(part: GroupGap) -> list[Cell]:
    """The gap with the groups that it lies between, and its change; a change proven to widen the gap is stressed."""
    if part.gap is None:
        return [EMPTY, EMPTY]
    gap = with_interval(number(part.gap, 3), f"{part.highest} over {part.lowest}" if part.gap else "", part.gap)
    if part.change is None or part.change_ci is None:
        return [gap, EMPTY]
    change, ends = signed(part.change, 3), span(part.change_ci, 3)
    return [gap, Cell(sentence(change), ends, part.change, stressed=part.change_ci.low > 0)]


def _rates(column: str, evaluation: Evaluation) -> Table | None:
    """A row for each group: how many frames it has, and of each variant FPR and FNR; None without groups."""
    by_variant = {name: _of(column, evaluation, name) for name in evaluation.variants}
    first = next(iter(by_variant.values()))
    values = dict.fromkeys(group.value for rate in RATES for group in first[rate].groups)
    if not values:
        return None
    rows = []
    for value in values:
        counts = [cell(f"{_group_count(first[rate], value):,}") for rate in RATES]
        rates = [
            cell(", ".join(_rate(of_variant[rate], value) for rate in RATES)) for of_variant in by_variant.values()
        ]
        rows.append([cell(value), *counts, *rates])
    titles = [f"{name}: FPR, FNR" for name in by_variant]
    return table([Column(column, "left"), *columns(("Real", "Fake")), *columns(titles)], rows)


def _group_count(part: GroupGap, value: str) -> int:
    return next((group.count for group in part.groups if group.value == value), 0)


def _rate(part: GroupGap, value: str) -> str:
    rate = next((group.rate for group in part.groups if group.value == value), None)
    return number(rate, 3)


def _few_sources(column: str, evaluation: Evaluation) -> Iterator[Sentence]:
    """That sources make the intervals wide, those of which group, and what would narrow them."""
    parts = [part for name in evaluation.variants for part in _of(column, evaluation, name).values()]
    widened = [part for part in parts if part.by_source]
    counts = {f"{group.value} ({CLASSES[part.rate]}s)": group.sources for part in widened for group in part.groups
              if group.counts and group.sources is not None}  # fmt: skip
    undecided = any(part.change_ci.low <= 0 <= part.change_ci.high for part in widened if part.change_ci)
    if not counts or not undecided:
        return
    fewest = min(counts, key=lambda name: counts[name])
    unit = evaluation.unit
    yield sentence(
        f"These intervals are wide because {unit}s of a source change together: the fewest are the "
        f"{counted(round(counts[fewest]), 'source')} of {in_words(unit, fewest)}. Further sources of the groups would "
        f"narrow them, further {unit}s of the same ones hardly."
    )


def _left_out(column: str, evaluation: Evaluation) -> Iterator[Sentence]:
    """Groups that have too few frames of a class; frames without a value are named where columns are not sliced."""
    first, unit = _of(column, evaluation, next(iter(evaluation.variants))), evaluation.unit
    if not any(part.groups for part in first.values()):
        why = "the same one on all its frames" if unit == "video" else "one"
        yield sentence("There are no groups of ", code(column), f": no test {unit} has {why}.")
        return
    for rate, part in first.items():
        what = in_words(unit, CLASSES[rate])
        few = [f"{group.value} ({counted(group.count, what)})" for group in part.groups if not group.counts]
        if part.gap is None:
            yield sentence(f"There is no {CALLED[rate]} gap: fewer than two groups have enough {unit}s.")
        if few:
            yield sentence(f"Left out of the {CALLED[rate]} gap, with too few {unit}s or sources: {', '.join(few)}.")
