"""What the report of a training says: made once, written as Markdown and as a page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.errors import counted
from bench.records.trainings import EpochRow, TrainingReport
from bench.reports.content.axes import Axis, axis
from bench.reports.content.cells import Cell, Column, Table, cell, columns, table
from bench.reports.content.spans import Sentence, code, sentence, strong, with_code
from bench.reports.content.text import number, within

METRICS = {
    "auc": "ROC AUC", "accuracy": "accuracy", "precision": "precision", "recall": "recall of fakes", "f1": "F1",
    "specificity": "specificity", "average_precision": "average precision",
}  # fmt: skip
"""What metrics are called, in the order of tables and of lines."""
_DRAWN = ("auc", "recall", "specificity", "f1")
_MOST_ROWS = 40


@dataclass(frozen=True)
class Line:
    """A line of a chart in the looks of an index; None where it goes on behind a gap."""

    name: str
    index: int
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Chart:
    """Lines over an axis; `best` is where a dashed line stands, None for none; `file` is its picture's name."""

    title: str
    description: str
    file: str
    across: Axis
    up: Axis
    lines: tuple[Line, ...]
    best: float | None = None
    diagonal: bool = False
    square: bool = False


@dataclass(frozen=True)
class Content:
    """`looks` are the names of lines in the order of their colours."""

    title: str
    opening: Sentence
    warnings: tuple[Sentence, ...]
    remarks: tuple[Sentence, ...]
    facts: Table
    best: Table
    confusion: Table
    charts: tuple[Chart, ...]
    history: Table
    history_note: str
    settings: Table
    entry: str
    looks: tuple[str, ...]


def content(report: TrainingReport) -> Content:
    """All of it."""
    return Content(
        title=f"{report.name}, {report.run}",
        opening=_opening(report),
        warnings=tuple(map(with_code, report.warnings)),
        remarks=tuple(map(with_code, report.remarks)),
        facts=_pairs("fact", "value", report.facts),
        best=_best(report),
        confusion=_confusion(report),
        charts=tuple(_charts(report)),
        history=_history(report.rows, report.best),
        history_note=_history_note(report.rows),
        settings=_pairs("key", "value", report.settings),
        entry=report.entry,
        looks=("train", "validation", *(METRICS[name] for name in _DRAWN)),
    )


def _opening(report: TrainingReport) -> Sentence:
    """Which epoch is the result, by what, and what its number is worth."""
    row, auc = report.best_row, report.auc
    area = sentence()
    if auc is not None:
        interval = f" (95 % interval {within(auc.interval, 3)}) on validation frames"
        area = sentence(" with a ROC AUC of ", strong(number(auc.value, 3)), interval)
    by = " and ".join(f"{weight:.0%} {METRICS[name]}" for name, weight in report.selection.items() if weight)
    chosen = "" if set(report.selection) == {"auc"} else f", chosen by {by} (score {number(row.score, 3)})"
    return sentence(
        strong(f"Epoch {report.best}"), f" of {counted(len(report.rows), 'epoch')} is the result", area, chosen,
        f". Training ended: {report.ended}. These frames chose the epoch, so the number flatters it: ",
        code("bench run"), " on test frames says what it is.",
    )  # fmt: skip


def _pairs(first: str, second: str, pairs: Sequence[tuple[str, str]]) -> Table:
    titles = [Column(first, "left"), Column(second, "left")]
    return table(titles, [[cell(name), cell(value)] for name, value in pairs])


def _best(report: TrainingReport) -> Table:
    """Metrics of the best epoch beside those of the last, with the weight that each has in the choice."""
    titles = [
        Column("metric", "left"),
        *columns((f"epoch {report.best} (best)", "last epoch", "weight in `select`".replace("`", ""))),
    ]
    last, rows = report.rows[-1], []
    for name, title in METRICS.items():
        values = [_value(row.metrics.get(name)) for row in (report.best_row, last)]
        rows.append([cell(title), *values, cell(f"{report.selection.get(name, 0):.0%}")])
    rows.append([cell("score"), _value(report.best_row.score), _value(last.score), cell("")])
    losses = [_value(row.validation_loss) for row in (report.best_row, last)]
    return table(titles, [*rows, [cell("validation loss"), *losses, cell("")]])


def _value(value: float | None, digits: int = 3) -> Cell:
    return cell(number(value, digits), value=value)


def _confusion(report: TrainingReport) -> Table:
    tp, fn, fp, tn = report.confusion
    titles = [Column("", "left"), *columns(("called fake", "called real", "right"))]
    rows = [("fake", tp, fn, tp), ("real", fp, tn, tn)]
    return table(
        titles,
        [
            [cell(f"{name} frames"), cell(f"{fake:,}"), cell(f"{real:,}"), cell(_share(right, fake + real))]
            for name, fake, real, right in rows
        ],
    )


def _share(part: int, whole: int) -> str:
    return f"{number(100 * part / whole, 1)} %" if whole else number(None, 1)


# ------------------------------------------------------------------------------------------ charts
def _charts(report: TrainingReport) -> Iterator[Chart]:
    """Losses, metrics and the learning rate over epochs; ROC and precision-recall curve of the best."""
    rows, best = report.rows, float(report.best)
    across = _epochs(rows)
    losses = {"train": [row.train_loss for row in rows], "validation": [row.validation_loss for row in rows]}
    yield Chart(
        "Losses", "Mean loss of each epoch on train and validation frames.", "losses.png", across,
        _up("loss", [value for values in losses.values() for value in values], 0.0), _lines(rows, losses, 0), best,
    )  # fmt: skip
    metrics = {METRICS[name]: [row.metrics.get(name) for row in rows] for name in _DRAWN}
    yield Chart(
        "Metrics", "Metrics of validation frames after each epoch.", "metrics.png", across,
        axis("share", 0.0, 1.0), _lines(rows, metrics, 2), best,
    )  # fmt: skip
    rates = {"learning rate": [row.rate for row in rows]}
    yield Chart(
        "Learning rate", "The learning rate of the last step of each epoch.", "learning_rate.png", across,
        _in_short(_up("learning rate", [row.rate for row in rows], 0.0)), _lines(rows, rates, 0), best,
    )  # fmt: skip
    curves, unit = report.curves, axis("", 0.0, 1.0)
    if curves.fpr:
        points = tuple(zip(curves.fpr, curves.tpr, strict=True))
        yield Chart(
            "ROC curve", "True- over false-positive rate of the best epoch on validation frames.", "roc.png",
            _called(unit, "false-positive rate"), _called(unit, "true-positive rate"), (Line("", 1, points),),
            diagonal=True, square=True,
        )  # fmt: skip
        steps = tuple(zip(curves.recall, curves.precision, strict=True))
        yield Chart(
            "Precision and recall", "Precision over recall of the best epoch on validation frames.",
            "precision_recall.png", _called(unit, "recall"), _called(unit, "precision"), (Line("", 1, steps),),
            square=True,
        )  # fmt: skip


def _called(unit: Axis, label: str) -> Axis:
    return Axis(label, unit.low, unit.high, unit.ticks)


def _epochs(rows: Sequence[EpochRow]) -> Axis:
    """From the first to the last; ticks are whole."""
    last = max(2, rows[-1].epoch)
    whole = axis("epoch", 1.0, float(last))
    return Axis(whole.label, whole.low, whole.high, tuple((v, f"{v:.0f}") for v, _ in whole.ticks if v == int(v)))


def _up(label: str, values: Sequence[float], low: float) -> Axis:
    high = max([value for value in values if not math.isnan(value)] or [1.0])
    return axis(label, low, 1.05 * high if high > low else low + 1)


def _in_short(up: Axis) -> Axis:
    """The same with ticks such as 8e-05, for which there is room beside the label."""
    return Axis(up.label, up.low, up.high, tuple((value, f"{value:.2g}") for value, _ in up.ticks))


def _lines(rows: Sequence[EpochRow], values: Mapping[str, Sequence[float | None]], first: int) -> tuple[Line, ...]:
    lines = []
    for index, (name, of_rows) in enumerate(values.items(), start=first):
        points = tuple(
            (float(row.epoch), float(value)) for row, value in zip(rows, of_rows, strict=True) if value is not None
        )
        lines.append(Line(name, index, points))
    return tuple(lines)


# ------------------------------------------------------------------------------------------ epochs
def _history(rows: Sequence[EpochRow], best: int) -> Table:
    """A row for each epoch that is shown."""
    titles = ["epoch", "step", "learning rate", "train loss", "validation loss", "score", *METRICS.values(), "seconds"]
    shown = [row for row in rows if row.epoch in _shown(rows, best)]
    return table(
        columns(titles),
        [
            [
                cell(f"{row.epoch}{' ★' if row.epoch == best else ''}"), cell(f"{row.step:,}"), cell(f"{row.rate:.2g}"),
                _value(row.train_loss, 4), _value(row.validation_loss, 4), _value(row.score, 4),
                *(_value(row.metrics.get(name)) for name in METRICS), _value(row.seconds, 1),
            ]
            for row in shown
        ],
    )  # fmt: skip


def _shown(rows: Sequence[EpochRow], best: int) -> set[int]:
    """All epochs, or of many some at even distances, with the best and the last."""
    every = -(-len(rows) // _MOST_ROWS)
    return {row.epoch for row in rows[::every]} | {best, rows[-1].epoch}


def _history_note(rows: Sequence[EpochRow]) -> str:
    every = -(-len(rows) // _MOST_ROWS)
    which = "every epoch" if every == 1 else f"one epoch in {every}, the best and the last"
    return f"The table has {which}; ★ is the result. history.csv and history.json have all."
