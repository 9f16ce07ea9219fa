"""Read a CSV or Parquet manifest as rows of text."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.errors import shown
from bench.records import ANNOTATION_COLUMNS, BETWEEN_SOURCES, SHARING_KEY, VIDEO_COLUMNS

SHAPE = "a manifest .csv or .parquet with the columns path, label and, if known, source and split"
COLUMNS = ("path", "label", "source", "split", "mask")
SURPLUS = "\0surplus"
_MOST_ROWS, _MOST_BYTES = 20_000_000, 2 * 2**30
DESCRIBING = frozenset((*VIDEO_COLUMNS, *ANNOTATION_COLUMNS))
"""Columns that describe a frame, and are no attribute to slice by."""

Row = tuple[str, Mapping[str, str]]
"""Where it stands ("line 7"), and its cells by column."""


def table(manifest: Path, roles: Mapping[str, str]) -> tuple[list[str], list[Row]]:
    """The columns, by the names that the program knows them by, and the rows."""
    return (_parquet if manifest.suffix.lower() == ".parquet" else _csv)(manifest, roles)


def _csv(manifest: Path, roles: Mapping[str, str]) -> tuple[list[str], list[Row]]:
    """Columns and rows of a CSV file; a row with more cells than columns is marked."""
    # utf-8-sig: spreadsheets put a byte order mark in front.
    with manifest.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        columns = [_named(name, roles) for name in next(reader, [])]
        rows: list[Row] = []
        for cells in reader:
            row = dict(zip(columns, cells, strict=False))
            if any(cells[len(columns) :]):
                row[SURPLUS] = "yes"
            if any(cells):
                rows.append((f"line {reader.line_num}", row))
        return columns, rows


def _parquet(manifest: Path, roles: Mapping[str, str]) -> tuple[list[str], list[Row]]:
    """Columns and rows of a Parquet file, all cells as text; ValueError where it is far too large for a manifest."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(manifest) as file:
        names, metadata = file.schema_arrow.names, file.metadata
        named = {name: _named(name, roles) for name in names}
        plain = [name for name in names if named[name] in COLUMNS or _is_plain(file.schema_arrow.field(name).type)]
        size_bytes = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
        if metadata.num_rows > _MOST_ROWS or size_bytes > _MOST_BYTES:
            raise ValueError(f"{metadata.num_rows:,} rows, {size_bytes:,} bytes unpacked: far too large for a manifest")
        content = file.read(columns=plain) if len(set(plain)) == len(plain) else file.read().select([])
    columns = [named[name] for name in names if named[name] in COLUMNS or name in content.column_names]
    cells = {named[name]: [_text(cell) for cell in content.column(name).to_pylist()] for name in content.column_names}
    rows = (dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True))
    return columns, [(f"row {number}", row) for number, row in enumerate(rows)]


def sharing_of(manifest: Path) -> str:
    """Why splits may share sources, as an extraction from videos notes it; empty where nothing is said of that."""
    import pyarrow.parquet

    if manifest.suffix.lower() != ".parquet":
        return ""
    metadata = pyarrow.parquet.read_schema(manifest).metadata or {}
    return shown(metadata.get(SHARING_KEY, b"").decode("utf-8", "replace"), 500)


def _named(column: str, roles: Mapping[str, str]) -> str:
    """What a known column is, whatever the case of its name; another's name as it is written.

    Where another column is named for it, one that is called so by chance has no name.
    """
    stripped = column.strip()
    lower = stripped.lower()
    return roles.get(lower) or ("" if lower in COLUMNS else lower if lower in DESCRIBING else stripped)


def further(columns: list[str]) -> list[str]:
    """The columns that are attributes; without a name, or called as pandas calls its own, they are row numbers."""
    described = {"", *COLUMNS, *DESCRIBING}
    return [name for name in columns if name not in described and not name.startswith("__index_level_")]


def _is_plain(kind: Any) -> bool:
    """Whether a cell of this Arrow type is a text or a number."""
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    binary = types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)
    return not (types.is_nested(kind) or binary)


def _text(cell: object) -> str:
    """A cell as text, of a list its parts as a frame's several sources are written."""
    if isinstance(cell, list):
        return BETWEEN_SOURCES.join(map(_text, cell))
    return "" if cell is None or cell != cell else str(cell)  # noqa: PLR0124 - only NaN differs from itself
