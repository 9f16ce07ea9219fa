"""Rows as CSV: RFC 4180, but for lines that end with a line feed."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import TextIO


class RowWriter:
    """Writes rows into a text file that is open with `newline=""`."""

    def __init__(self, file: TextIO) -> None:
        # Python quotes what its end of lines holds: a carriage return would stand bare, and begin a row for readers.
        self._plain = csv.writer(file, lineterminator="\n")
        self._quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)

    def write(self, row: Sequence[object]) -> None:
        has_return = any(isinstance(cell, str) and "\r" in cell for cell in row)
        (self._quoted if has_return else self._plain).writerow(row)


def as_csv(rows: Iterable[Sequence[object]]) -> str:
    """The text of a table."""
    text = io.StringIO(newline="")
    writer = RowWriter(text)
    for row in rows:
        writer.write(row)
    return text.getvalue()
