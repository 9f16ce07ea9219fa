"""One table of all variants, to be sorted by every column: the report's overview and its performance table in one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.records import Choice, RunRecord, ScoredVariant, ScoresFile
from bench.reports.content.text import NONE, Table
from bench.reports.html.inline import inline, text_of

if TYPE_CHECKING:
    from markupsafe import Markup

SortKey = Callable[[ScoredVariant], float | None]


@dataclass(frozen=True)
class Cell:
    """`value` is what the cell sorts by; None comes last."""

    shown: Markup
    value: float | str | None


@dataclass(frozen=True)
class Row:
    """`front` names the measures in which no other variant is better in AUC too."""

    name: str
    chosen: bool
    runner_up: bool
    front: tuple[str, ...]
    cells: tuple[Cell, ...]


# The first table holds what a window shows whole, the second the rest.
_LAST_OF_FIRST = "What to know"


@dataclass(frozen=True)
class Comparison:
    """`titles` with whether the column is of numbers; the variants' names stand before."""

    titles: tuple[tuple[str, bool], ...]
    rows: tuple[Row, ...]

    @property
    def main(self) -> int:
        """How many columns stand in the first table: up to what to know of each variant."""
        names = [title for title, _ in self.titles]
        return names.index(_LAST_OF_FIRST) + 1 if _LAST_OF_FIRST in names else len(names)

    def facts(self, name: str) -> dict[str, Markup]:
        """What is known of a variant, by title; what is not is left out."""
        row = next(one for one in self.rows if one.name == name)
        told = {title: cell.shown for (title, _), cell in zip(self.titles, row.cells, strict=True)}
        return {title: shown for title, shown in told.items() if shown != NONE}


# Title in the report's tables, which table, and what scores.json holds of it.
_COLUMNS: tuple[tuple[str, str, SortKey | None], ...] = (
    ("Verdict", "verdicts", None),
    ("ΔAUC (95 %)", "verdicts", lambda variant: variant.auc_delta),
    ("Size (MiB)", "performance", lambda variant: variant.size_mib),
    ("Speed-up", "performance", lambda variant: variant.speedup),
    ("What to know", "verdicts", None),
    ("AUC", "performance", lambda variant: variant.auc),
    ("Latency (ms)", "performance", lambda variant: variant.latency_ms.p50),
    ("Reduction", "performance", lambda variant: variant.size_mib and -variant.size_mib),
    ("p (Holm)", "verdicts", lambda variant: variant.auc_delta_p_holm),
    ("Frames/s", "performance", lambda variant: variant.throughput_fps),
    ("Gain", "performance", lambda variant: variant.throughput_gain),
    ("Params (M)", "performance", lambda variant: variant.parameters),
    ("MACs (G)", "performance", lambda variant: variant.macs),
    ("Ran as", "performance", None),
)


def comparison(run: RunRecord, choice: Choice | None, numbers: ScoresFile, parts: dict[str, Any]) -> Comparison:
    """`numbers` is what scores.json holds, `parts` the tables of report.md."""
    columns = [(title, found, key) for title, table, key in _COLUMNS if (found := _column(parts[table], title))]
    rows = []
    for place, variant in enumerate(run.variants):
        cells = [
            Cell(inline(texts[place]), key(numbers.variants[variant.name]) if key else text_of(texts[place]))
            for _, (_, texts), key in columns
        ]
        fronts = {"size": choice.front_by_size, "latency": choice.front_by_latency} if choice else {}
        front = tuple(measure for measure, names in fronts.items() if variant.name in names)
        chosen, second = (choice.chosen, choice.runner_up) if choice else (None, None)
        rows.append(Row(variant.name, variant.name == chosen, variant.name == second, front, tuple(cells)))
    return Comparison(tuple((shown, key is not None) for _, (shown, _), key in columns), tuple(rows))


def _column(table: Table, title: str) -> tuple[str, list[str]] | None:
    """Full title and cells of the column whose title begins so, row by row; None where it holds nothing."""
    for place, (full, _) in enumerate(table.columns):
        if full == title or full.startswith(f"{title} (n"):
            return text_of(full), [row[place] for row in table.rows]
    return None
