"""All variants in one table, to be sorted by every column, and which of them is recommended or on a front."""

from __future__ import annotations

from dataclasses import dataclass

from bench.records import Evaluation
from bench.reports.content.cells import Cell, Column, Table
from bench.reports.content.recommendation import recommend, weighs
from bench.reports.content.report import Report

FACTS = ("verdict", "size", "reduction", "delta", "speedup", "latency")
"""What the page says of the chosen variant in large figures, by the keys of the columns."""


@dataclass(frozen=True)
class Row:
    """A variant. `front` names the measures in which no other variant is better in AUC too."""

    name: str
    chosen: bool
    runner_up: bool
    front: tuple[str, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Comparison:
    """The columns after that of the names. `main` of them stand in the first table, as many as fit a window."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    main: int

    def facts(self, name: str) -> list[tuple[str, Cell]]:
        """Title and cell of the most important facts on a variant; what is not known is left out."""
        row = next(row for row in self.rows if row.name == name)
        by_key = {column.key: (column.title, cell) for column, cell in zip(self.columns, row.cells, strict=True)}
        facts = [by_key[key] for key in FACTS if key in by_key]
        return [(title, cell) for title, cell in facts if not cell.is_empty]


def comparison(report: Report, evaluation: Evaluation) -> Comparison:
    """The table of all variants, failed ones included."""
    names = [variant.name for variant in report.run.variants]
    table: Table = report.compared
    recommended = recommend(evaluation.choice, names[0])
    # Where nothing speaks for a smaller AUC, no variant is recommended, and none is marked.
    choice = evaluation.choice if evaluation.choice and weighs(evaluation.choice) else None
    fronts = {"size": choice.front_by_size, "latency": choice.front_by_latency} if choice else {}
    rows = [
        Row(
            name=name,
            chosen=name == recommended.chosen,
            runner_up=name == recommended.runner_up,
            front=tuple(measure for measure, members in fronts.items() if name in members),
            cells=cells,
        )
        for name, cells in zip(names, table.rows, strict=True)
    ]
    keys = [column.key for column in table.columns]
    main = keys.index("remarks") + 1 if "remarks" in keys else len(keys)
    return Comparison(table.columns, tuple(rows), main)
