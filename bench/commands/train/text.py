"""What `bench train` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.errors import counted
from bench.reports.content.text import number
from bench.reports.terminal.plain import wrapped

if TYPE_CHECKING:
    from bench.commands.train import Trained


def describe(trained: Trained) -> str:
    """The best epoch and what it says of validation frames, warnings, and what to write into the experiment file."""
    report = trained.report
    row = report.best_row
    metrics = ", ".join(f"{name.replace('_', ' ')} {number(value, 3)}" for name, value in row.metrics.items())
    lines = [
        f"best: epoch {report.best} of {counted(len(report.rows), 'epoch')}, score {number(row.score, 3)} ({metrics})",
        f"ended: {report.ended}",
        *wrapped(f"note: {warning}" for warning in report.warnings),
        "",
        "To measure and compress it, write into the experiment file:",
        report.entry,
        "",
        "It is judged by frames that it was not trained on: `bench run` refuses those that it saw.",
    ]
    return "\n".join(lines)
