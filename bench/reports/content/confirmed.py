"""Slices that a search of the test frames confirmed: a table, or that there is none."""

from __future__ import annotations

from bench.errors import counted
from bench.records import ConfirmedSlice, Evaluation, Interval
from bench.reports.content.cells import Cell, Column, Table, cell, columns, table, variant_cell, with_interval
from bench.reports.content.spans import Sentence, sentence, strong
from bench.reports.content.text import moved, number, span, within


def confirmed(evaluation: Evaluation) -> Table | None:
    """A row for each confirmed slice of each variant; None where there is none."""
    rows = [
        [variant_cell(name), *_cells(part)] for name, judged in evaluation.variants.items() for part in judged.confirmed
    ]
    titles = ("Baseline's AUC", "ΔAUC there", "ΔAUC elsewhere", "More lost there")
    head = [Column("Model", "left"), Column("Slice", "left"), Column("Fake, real")]
    return table([*head, *columns(titles)], rows) if rows else None


def _cells(part: ConfirmedSlice) -> list[Cell]:
    fake = f"{part.fake:,}" if part.against != "fake" else "(all)"
    real = f"{part.real:,}" if part.against != "real" else "(all)"
    return [
        cell(f"{part.column} = {part.value}"),
        cell(f"{fake}, {real}" + (" of one half" if part.basis == "half" else "")),
        cell(number(part.baseline_auc, 3)),
        with_interval(moved(part.delta), span(part.delta_ci), part.delta),
        cell(moved(part.elsewhere), value=part.elsewhere),
        with_interval(number(-part.excess, 4), within(_mirrored(part.excess_ci), 4), -part.excess),
    ]


def _mirrored(interval: Interval) -> Interval:
    return Interval(-interval.high, -interval.low)


def searched(evaluation: Evaluation) -> Sentence:
    """What was searched, and that nothing was confirmed where that is so; empty where nothing is to be said."""
    search = evaluation.slice_search
    if search is None or (search.reason and not search.columns and evaluation.test.attributes.empty):
        return Sentence()
    if search.reason:
        return sentence(f"No further slices were searched for: {search.reason}.")
    left_out = ""
    if search.left_out:
        left_out = f" ({counted(search.left_out, 'frame')} that share sources with both took no part)"
    what = f"{counted(search.candidates, 'slice')} by {', '.join(search.columns)}"
    pictures = evaluation.test.measured
    if measured := [name for name in search.columns if pictures is not None and name in pictures.columns]:
        what += f" (of these {' and '.join(measured)} as measured on each frame, which no table shows)"
    halves = f"on all frames and on either half, {search.halves[0]:,} and {search.halves[1]:,}{left_out}"
    if any(judged.confirmed for judged in evaluation.variants.values()):
        return sentence(f"The search tried {what}, {halves}.")
    return sentence(
        f"The search tried {what}, {halves}: ", strong("no slice is confirmed to lose more than elsewhere"), "."
    )
