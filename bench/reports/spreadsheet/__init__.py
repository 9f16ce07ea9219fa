"""Tables as CSV, for programs and spreadsheets: unrounded numbers, and text that is never a formula."""

from __future__ import annotations

from bench.csv_rows import as_csv
from bench.reports.content.main_tables import MainTable

# By OWASP's page on CSV injection, with the full-width forms that spreadsheets take for the same.
_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def no_formula(cell: object) -> object:
    """Text as a spreadsheet shows it: what it would take for a formula gets an apostrophe in front."""
    return f"'{cell}" if isinstance(cell, str) and cell.lstrip(" ").startswith(_FORMULAS) else cell


def document(table: MainTable) -> str:
    """A table as CSV; what is unavailable is an empty cell."""
    return as_csv([table.keys, *([no_formula(value) for value in row] for row in table.rows)])
