"""The kinds of files that scores come in, as tables whose cells are text until someone asks for numbers."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.errors import UserError, nearest, quoted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KINDS = (".csv", ".parquet", ".json")

EXAMPLES = 5

_MOST_ROWS, _MOST_BYTES = 20_000_000, 8 * 2**30


_NO_SCORES = {
    b"version https://git-lfs": "is a pointer of Git LFS, not the file: `git lfs pull` fetches that",
    b"<!doctype": "is a web page, not a file of scores; download the file itself",
    b"<html": "is a web page, not a file of scores; download the file itself",
    b"\xff\xfe": "is text in UTF-16; save it as UTF-8",
    b"\xfe\xff": "is text in UTF-16; save it as UTF-8",
}


@dataclass(frozen=True)
class Table:
    """A file, whatever its kind: the names of all its columns, and as a `pyarrow.Table` those that were asked for."""

    path: Path
    kind: Literal["csv", "parquet", "json"]
    names: tuple[str, ...]
    arrow: Any

    @property
    def count(self) -> int:
        return int(self.arrow.num_rows)

    def find(self, name: str) -> str | None:
        """The column of this name; where there is none, the one whose name differs only in case or blanks around it."""
        if name in self.names:
            return name
        alike = [one for one in self.names if one.strip().casefold() == name.strip().casefold()]
        return alike[0] if len(alike) == 1 else None

    def text(self, name: str) -> Any:
        """The column as Arrow text [rows]; None where its cells are neither text nor numbers."""
        import pyarrow as pa

        column = self.arrow.column(name)
        kind = column.type
        if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            return None
        try:
            text = column.cast(pa.large_string()).combine_chunks()
            text.validate(full=True)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return None
        return text

    def is_boolean(self, name: str) -> bool:
        import pyarrow as pa

        return bool(pa.types.is_boolean(self.arrow.column(name).type))

    def numbers(self, name: str) -> NDArray[np.float64]:
        """The column as float64 [rows], NaN where a cell is no number."""
        import pandas as pd
        import pyarrow as pa
        import pyarrow.compute as pc

        column = self.arrow.column(name)
        if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
            text = self.text(name)
            trimmed = pc.utf8_trim_whitespace(text if text is not None else pa.array([""] * self.count))
            try:
                column = trimmed.cast(pa.float64())
            except pa.ArrowInvalid:
                column = pa.array(pd.to_numeric(trimmed.to_pandas(), errors="coerce").to_numpy(float))
        numbers: NDArray[np.float64] = column.cast(pa.float64()).fill_null(float("nan")).to_numpy()
        return numbers

    def places(self, rows: Sequence[int]) -> dict[int, str]:
        """Where each of these rows, which are in rising order, stands in the file, in words."""
        if self.kind == "json":
            return {row: quoted(self.arrow.column("frame")[row].as_py()) for row in rows}
        lines = _lines(self.path, rows) if self.kind == "csv" else {}
        return {row: f"line {lines[row]}" if row in lines else f"row {row + 1}" for row in rows}

    def cells(self, name: str, rows: Sequence[int]) -> list[str]:
        return [repr(self.arrow.column(name)[row].as_py())[:60] for row in rows]


def read(path: Path, *, value: str, only: Collection[str] | None = None) -> Table:
    """The columns of a file that are called like one of `only`, or all; of a JSON map they are `frame` and `value`.

    Raises `UserError`.
    """
    _refuse_unreadable(path)
    kind: Any = path.suffix.lower()[1:]
    try:
        names, arrow = _json(path, value) if kind == "json" else (_csv if kind == "csv" else _parquet)(path, only)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # damaged files make the readers fail in many ways
        told = " ".join((str(error) or type(error).__name__).split())[:300]
        advice = "Write it anew, as CSV in UTF-8, Parquet or a JSON map"
        raise UserError(f"{path}: can't be read: {told}. {advice}") from error
    if not arrow.num_rows:
        raise UserError(f"{path}: is empty; expected a row for every frame")
    return Table(path, kind, tuple(names), arrow)


def examples(told: Sequence[str], count: int) -> str:
    """The first `EXAMPLES` of `count` things, already in words, and how many more there are."""
    return ", ".join(told) + (f" … and {count - len(told):,} more" if count > len(told) else "")


def _wanted(names: Sequence[str], only: Collection[str] | None) -> list[str]:
    alike = None if only is None else {name.strip().casefold() for name in only}
    return [name for name in names if alike is None or name.strip().casefold() in alike]


def _refuse_unreadable(path: Path) -> None:
    if not path.exists():
        beside = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(f"{path}: no such file{nearest(path.name, [one for one in beside if one != path.name])}")
    if not path.is_file():
        raise UserError(f"{path}: is no file; expected one of scores, {', '.join(KINDS)}")
    if path.suffix.lower() not in KINDS:
        raise UserError(f"{path}: of an unknown kind, {path.suffix or 'no ending'}; expected {', '.join(KINDS)}")
    size_bytes = path.stat().st_size
    if not size_bytes:
        raise UserError(f"{path}: is empty; expected a row for every frame")
    if size_bytes > _MOST_BYTES:
        raise UserError(f"{path}: {size_bytes:,} bytes, far too large for scores")
    with path.open("rb") as file:
        start = file.read(64).lstrip().lower()
    for beginning, told in _NO_SCORES.items():
        if start.startswith(beginning):
            raise UserError(f"{path}: {told}")


def _csv(path: Path, only: Collection[str] | None) -> tuple[Sequence[str], Any]:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    header = _header(path)
    _refuse_doubled(path, header)
    wanted = _wanted(header, only)
    if not wanted:
        return header, pa.table({"": pa.nulls(1)})
    convert = arrow_csv.ConvertOptions(column_types=dict.fromkeys(wanted, pa.string()), include_columns=wanted)
    # No handler for misfits: Arrow's threads would call it, and may still want Python when Python ends.
    parse = arrow_csv.ParseOptions(newlines_in_values=True)
    try:
        return header, arrow_csv.read_csv(path, parse_options=parse, convert_options=convert)
    except pa.ArrowInvalid:
        _refuse_misfits(path, len(header))
        raise


def _header(path: Path) -> list[str]:
    """The cells of the first line that is not empty."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        header: list[str] = next(filter(None, csv.reader(file)), [])
    if not header:
        raise UserError(f"{path}: is empty; expected a row for every frame")
    sign = next((sign for sign in ";\t|" if len(header) == 1 and sign in header[0]), None)
    if sign:
        raise UserError(
            f"{path}: the first line has {sign!r} between its columns; expected commas. Write it anew with commas "
            "between columns and points in numbers"
        )
    return header


def _refuse_doubled(path: Path, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"{path}: two columns are called {quoted(twice[0])}; rename one")


def _refuse_misfits(path: Path, cells: int) -> None:
    lines: list[int] = []
    # A cell too large for this reader ends the search; then Arrow's own words will do.
    with suppress(csv.Error), path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        reader = csv.reader(file)
        lines += (reader.line_num for row in reader if row and len(row) != cells)
    if lines:
        told = examples([f"line {line}" for line in lines[:EXAMPLES]], len(lines))
        raise UserError(
            f"{path}: {len(lines):,} rows have other than {cells} cells, as the first line has: {told} "
            "(a cell with a comma in it belongs in double quotes; numbers have a decimal point)"
        )


def _lines(path: Path, rows: Sequence[int]) -> dict[int, int]:
    """The line on which each row ends; a quoted cell may hold line breaks, and empty lines are no rows."""
    wanted, found = set(rows), {}
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            reader = csv.reader(file)
            for row, _ in enumerate(islice((cells for cells in reader if cells), 1, max(rows) + 2)):
                if row in wanted:
                    found[row] = reader.line_num
    except csv.Error:  # cells too large for this reader; the rows' numbers will do
        pass
    return found


def _parquet(path: Path, only: Collection[str] | None) -> tuple[Sequence[str], Any]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        told = file.metadata
        size_bytes = sum(told.row_group(group).total_byte_size for group in range(told.num_row_groups))
        if told.num_rows > _MOST_ROWS or size_bytes > _MOST_BYTES:
            raise UserError(f"{path}: {told.num_rows:,} rows, {size_bytes:,} bytes unpacked: far too large for scores")
        _refuse_doubled(path, file.schema_arrow.names)
        return file.schema_arrow.names, file.read(columns=_wanted(file.schema_arrow.names, only))


def _json(path: Path, value: str) -> tuple[Sequence[str], Any]:
    import pyarrow as pa

    # Of a doubled key the last would win in silence.
    pairs = json.loads(path.read_bytes(), object_pairs_hook=list)
    if not isinstance(pairs, list) or not all(isinstance(one, tuple) for one in pairs):
        raise UserError(f'{path}: expected a map of frame to {value}, such as {{"a.png": 0.97}}')
    cells = [cell for _, cell in pairs]
    numeric = all(type(cell) in (int, float) for cell in cells)
    truths = all(type(cell) is bool for cell in cells)
    values = pa.array(map(float, cells)) if numeric else pa.array(cells if truths else map(_plain, cells))
    return ("frame", value), pa.table({"frame": pa.array((frame for frame, _ in pairs), pa.string()), value: values})


def _plain(cell: object) -> str | None:
    return None if cell is None else str(cell)
