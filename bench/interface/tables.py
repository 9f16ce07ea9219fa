"""`Results` as a notebook and a terminal show them. Names come from strangers: they are escaped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from html import escape
from pathlib import Path

from bench.errors import shown
from bench.ink import harmless
from bench.interface.variant_scores import VariantScores

NUMBERS = tuple(field.name for field in fields(VariantScores) if field.type in ("float | None", "int | None"))
"""The columns of `Results.frame()` that hold numbers."""

_TITLES = ("variant", "verdict", "AUC (95 %)", "difference (95 %)", "MiB", "ms", "speed-up (95 %)")
_MOST_WARNINGS = 5


@dataclass(frozen=True)
class Summary:
    """What is shown of results."""

    experiment: str
    variants: Mapping[str, VariantScores]
    advice: str
    warnings: tuple[str, ...]
    folder: Path | None


def text(summary: Summary) -> str:
    """A table in text, and a line for what to ship, each failure and each warning."""
    rows = [_TITLES, *(_cells(name, scores) for name, scores in summary.variants.items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return harmless("\n".join([f"Results of {shown(summary.experiment)}", *lines, *_sentences(summary)]))


def page(summary: Summary) -> str:
    """The same in HTML."""
    head = "".join(f"<th>{escape(title)}</th>" for title in _TITLES)
    rows = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in _cells(name, scores))}</tr>"
        for name, scores in summary.variants.items()
    )
    sentences = "".join(f"<div>{escape(sentence)}</div>" for sentence in _sentences(summary))
    title = escape(f"Results of {shown(summary.experiment)}")
    return f"<div><b>{title}</b></div><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{sentences}"


def _cells(name: str, scores: VariantScores) -> tuple[str, ...]:
    """A variant's row of the table, a cell for each of `_TITLES`; "-" where a number is unavailable."""
    return (
        shown(name),
        scores.verdict or ("failed" if scores.status == "failed" else "-"),
        _number(scores.auc, scores.auc_low, scores.auc_high, ".4f"),
        "-"
        if scores.verdict == "baseline"
        else _number(scores.auc_delta, scores.auc_delta_low, scores.auc_delta_high, "+.4f"),
        _number(scores.size_mib, None, None, ".2f"),
        _number(scores.latency_ms, None, None, ".2f"),
        "-"
        if scores.verdict == "baseline"
        else _number(scores.speedup, scores.speedup_low, scores.speedup_high, ".2f"),
    )


def _number(value: float | None, low: float | None, high: float | None, form: str) -> str:
    if value is None:
        return "-"
    interval = "" if low is None or high is None else f" ({low:{form}} to {high:{form}})"
    return f"{value:{form}}{interval}"


def _sentences(summary: Summary) -> list[str]:
    """What to ship, each failure, the first warnings, and where the report is."""
    failed = [
        f"{shown(name)} failed: {shown(scores.reason or 'no reason was recorded')}"
        for name, scores in summary.variants.items()
        if scores.status == "failed"
    ]
    more = len(summary.warnings) - _MOST_WARNINGS
    return [
        shown(summary.advice, 500),
        *failed,
        *(f"Warning: {shown(warning, 500)}" for warning in summary.warnings[:_MOST_WARNINGS]),
        *([f"{more} more in .warnings"] if more > 0 else []),
        *([f"Report: {shown(str(summary.folder / 'report.html'))}"] if summary.folder else []),
    ]
