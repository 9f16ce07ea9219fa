"""Tables as LaTeX, in ASCII alone: any LaTeX compiles them with the packages booktabs and graphicx.

A table that is wider than the text shrinks to its width, and one that is longer than a page becomes several.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.reports.content.cells import Cell
from bench.reports.content.main_tables import MainTable
from bench.reports.latex.write import SIDES, cell, escape, title

_PREAMBLE = r"% \usepackage{booktabs,graphicx} in the preamble; then \input this file."
_MOST_ROWS = 20
"""A row of two lines takes about 24 points, and a page of LaTeX's own class `article` has 550."""

# The length that LaTeX compares is that of the table.
_AT_MOST_AS_WIDE_AS_THE_TEXT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"


def document(table: MainTable) -> str:
    """Floating tables with captions and labels; the rows of a variant stay together. With a final newline."""
    parts = _parts(table.shown.rows)
    floats = [_float(table, part, number, len(parts)) for number, part in enumerate(parts, start=1)]
    return "\n".join([_PREAMBLE, *floats]) + "\n"


def _parts(rows: Sequence[tuple[Cell, ...]]) -> list[list[tuple[Cell, ...]]]:
    """The rows of each page. Those without anything in their first cell go with the one above."""
    parts: list[list[tuple[Cell, ...]]] = [[]]
    for group in _groups(rows):
        if parts[-1] and len(parts[-1]) + len(group) > _MOST_ROWS:
            parts.append([])
        parts[-1] += group
    return parts


def _groups(rows: Sequence[tuple[Cell, ...]]) -> list[list[tuple[Cell, ...]]]:
    """Rows that belong together, no more than a page holds."""
    groups: list[list[tuple[Cell, ...]]] = []
    for row in rows:
        if not groups or str(row[0]) or len(groups[-1]) == _MOST_ROWS:
            groups.append([])
        groups[-1].append(row)
    return groups


def _float(table: MainTable, rows: Sequence[tuple[Cell, ...]], number: int, count: int) -> str:
    """The `number`th of so many tables that hold all rows."""
    columns = "".join(SIDES[column.align] for column in table.shown.columns)
    of_all, label = (f" ({number} of {count})", f"-{number}" if number > 1 else "") if count > 1 else ("", "")
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{escape(table.caption + of_all)}}}",
        rf"  \label{{tab:bench-{table.name}{label}}}",
        r"  \footnotesize",
        r"  \setlength{\tabcolsep}{3pt}",
        f"  {_AT_MOST_AS_WIDE_AS_THE_TEXT}",
        rf"  \begin{{tabular}}{{{columns}}}",
        r"    \toprule",
        _row([title(column.title, column.align) for column in table.shown.columns]),
        r"    \midrule",
        "\n    \\addlinespace\n".join(_row([cell(inside) for inside in cells]) for cells in rows),
        r"    \bottomrule",
        r"  \end{tabular}}",
        r"\end{table}",
    ]
    return "\n".join(lines)


def _row(cells: list[str]) -> str:
    return f"    {' & '.join(cells)} \\\\"
