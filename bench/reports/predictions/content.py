"""What a summary of predictions says: sentences and tables, made once and written twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.errors import counted
from bench.records import Interval, OperatingPoint, VariantEvaluation
from bench.records.predicted import PredictedSummary
from bench.reports.content import plots
from bench.reports.content.cells import Cell, Column, Table, cell, columns, table
from bench.reports.content.decision_plots import confusion, precision
from bench.reports.content.plots import Plots
from bench.reports.content.spans import Sentence, code, sentence, strong
from bench.reports.content.text import number, within

_RATES = (
    ("recall of fakes", "recall", "{} fakes"),
    ("specificity", "specificity", "{} reals"),
    ("precision", "precision", "{} called fake"),
)


def opening(summary: PredictedSummary) -> tuple[Sentence, ...]:
    """What was judged by whom, and what came of it."""
    counts = summary.counts
    inputs = ", ".join(summary.inputs[:5]) + (f" and {len(summary.inputs) - 5} more" if summary.inputs[5:] else "")
    what = f"{counted(counts.files, 'file')} of {inputs}: {counted(counts.pictures, 'picture')} judged"
    if counts.videos:
        what += f", frames of {counted(counts.videos, 'video')} among them"
    failed = f" Of {counted(counts.rows, 'row')}, {counts.failed:,} with an error in place of a score."
    share = f" ({100 * counts.fake / counts.pictures:.1f} %)" if counts.pictures else ""
    return (
        sentence(what, ". ", strong(f"{counts.fake:,} are called fake{share}"), f", {counts.real:,} real.",
                 failed if counts.failed else ""),
        sentence(
            "Judged by ", strong(summary.variant), f" of {summary.experiment} (", code(summary.variant_id),
            f"; {summary.runtime}, {summary.device}), fake from P(fake) {summary.threshold:g} on.",
        ),
        *(sentence(note) for note in summary.notes),
    )  # fmt: skip


def labels_note(summary: PredictedSummary) -> str:
    """For how many pictures the true label is known."""
    labelled, count = summary.counts.labelled, summary.counts.pictures
    if not labelled:
        return (
            "No true label is known (by folders called real and fake, a manifest, or --label-pattern): there is "
            "nothing to judge the scores by."
        )
    rest = f" Of {count - labelled:,} others no label is known; they are in none of these numbers."
    return f"By the {counted(labelled, 'picture')} whose true label is known.{'' if labelled == count else rest}"


def metrics(judged: VariantEvaluation, accuracy_ci: Interval | None, noun: str) -> Table:
    """A row for each metric: its value, its 95 % interval, and what it is of."""
    point, score = judged.fixed, judged.score
    everything = f"{score.count:,} {noun}s"
    area = judged.auc
    rows = [
        _row("ROC AUC", area.value if area else None, area.interval if area else None, everything, 4),
        _row("average precision", score.average_precision, None, everything, 4),
        _row("equal error rate", score.eer, None, everything),
        _row("accuracy", point.accuracy, accuracy_ci, everything),
        _row("balanced accuracy", point.balanced_accuracy, None, everything),
        *_rates(point),
        _row("F1 of fakes", point.f1, None, everything),
        _row("Matthews correlation", point.mcc, None, everything),
        _row("Brier score", score.brier, None, everything),
        _row("calibration error (ECE)", judged.reliability.ece, None, everything),
    ]
    titles = [Column("Metric", "left"), *columns(("value", "95 % interval", "of"))]
    return table(titles, [row for row in rows if row is not None])


def _rates(point: OperatingPoint) -> Iterator[list[Cell] | None]:
    wholes = {"recall": point.tp + point.fn, "specificity": point.tn + point.fp, "precision": point.tp + point.fp}
    for title, name, of in _RATES:
        interval: Interval | None = getattr(point, f"{name}_ci")
        yield _row(title, getattr(point, name), interval, of.format(f"{wholes[name]:,}"))


def _row(title: str, value: float | None, interval: Interval | None, of: str, digits: int = 3) -> list[Cell] | None:
    if value is None:
        return None
    ends = within(interval, 3) if interval else ""
    return [cell(title), cell(number(value, digits), value=value), cell(ends), cell(of)]


def drawable(name: str, judged: VariantEvaluation) -> Plots:
    """What can be drawn of one variant's scores."""
    scored = [(0, name, judged)]
    if judged.auc is None:
        return Plots((), None, None, (), confusion=confusion(scored, judged.fixed.threshold))
    return Plots(
        (), plots.roc(scored), plots.calibration(scored), (), None, precision(scored),
        confusion(scored, judged.fixed.threshold),
    )  # fmt: skip


def interval_note(judged: VariantEvaluation) -> str:
    """What intervals take as independent."""
    by_source = judged.auc is not None and judged.auc.clustered
    of_auc = "videos or persons" if by_source else "pictures"
    return (
        f"The interval of the AUC takes {of_auc} as independent, those of rates (Wilson) pictures: where many pictures "
        "are of few videos, rates are less sure than they look."
    )


def errors_table(errors: Sequence[tuple[str, str]]) -> Table:
    """The first rows with an error."""
    return table([Column("File", "left"), Column("Error", "left")], [[cell(path), cell(why)] for path, why in errors])


def errors_caption(shown: int, failed: int) -> str:
    """How many of the rows with an error are listed."""
    first = f"The first {shown:,} of " if failed > shown else ""
    return f"{first}{counted(failed, 'row')} with an error in place of a score"
