"""Tables as LaTeX with the package booktabs, in ASCII alone: any LaTeX compiles them, whatever names hold."""

from __future__ import annotations

from bench.reports.content.main_tables import MainTable
from bench.reports.latex.write import SIDES, cell, escape, title

_PREAMBLE = r"% \usepackage{booktabs} in the preamble; then \input this file."


def document(table: MainTable) -> str:
    """A floating table with caption and label. With a final newline."""
    columns = "".join(SIDES[column.align] for column in table.shown.columns)
    lines = [
        _PREAMBLE,
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{escape(table.caption)}}}",
        rf"  \label{{tab:bench-{table.name}}}",
        r"  \footnotesize",
        r"  \setlength{\tabcolsep}{3pt}",
        rf"  \begin{{tabular}}{{{columns}}}",
        r"    \toprule",
        _row([title(column.title, column.align) for column in table.shown.columns]),
        r"    \midrule",
        "\n    \\addlinespace\n".join(_row([cell(inside) for inside in cells]) for cells in table.shown.rows),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _row(cells: list[str]) -> str:
    return f"    {' & '.join(cells)} \\\\"
