"""The formats of files with scores. Cells are read as text, and become numbers where a reader asks for numbers."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.errors import UserError, counted, nearest, quoted
from bench.text_encoding import not_utf8

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
class ScoreFile:
    """A file of any format: `names` of all its columns, and `arrow`, a `pyarrow.Table` of those that were asked for."""

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
        alike = [column for column in self.names if column.strip().casefold() == name.strip().casefold()]
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

    def numbers(self, name: str) -> NDArray[np.float64]:
        """The column as float64 [rows], NaN where a cell is no number."""
        import pyarrow as pa

        column = self.arrow.column(name)
        if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
            column = _as_numbers(self._trimmed(name))
        numbers: NDArray[np.float64] = column.cast(pa.float64()).fill_null(float("nan")).to_numpy()
        return numbers

    def percent_signs(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """The column's numbers [rows] without percent signs, and which cells end with one [rows]."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        kind = self.arrow.column(name).type
        if pa.types.is_floating(kind) or pa.types.is_integer(kind):
            return self.numbers(name), np.zeros(self.count, bool)
        trimmed = self._trimmed(name)
        signed = pc.fill_null(pc.ends_with(trimmed, "%"), False).to_numpy(zero_copy_only=False)
        if not signed.any():
            return self.numbers(name), signed
        without = _as_numbers(pc.utf8_trim_whitespace(pc.utf8_rtrim(trimmed, "%")))
        return without.cast(pa.float64()).fill_null(float("nan")).to_numpy(), signed

    def _trimmed(self, name: str) -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        text = self.text(name)
        return pc.utf8_trim_whitespace(text if text is not None else pa.array([""] * self.count))

    def locations(self, rows: Sequence[int]) -> dict[int, str]:
        """The location of each of these rows in the file, such as "line 7"; `rows` must be in rising order."""
        if self.kind == "json":
            return {row: quoted(self.arrow.column("frame")[row].as_py()) for row in rows}
        lines = _lines(self.path, rows) if self.kind == "csv" else {}
        return {row: f"line {lines[row]}" if row in lines else f"row {row + 1}" for row in rows}

    def cells(self, name: str, rows: Sequence[int]) -> list[str]:
        return [repr(self.arrow.column(name)[row].as_py())[:60] for row in rows]


def read(path: Path, *, value: str, only: Collection[str] | None = None) -> ScoreFile:
    """Read the columns of a file whose names are in `only`, or all. A JSON map has the columns `frame` and `value`.

    Raises `UserError` where the file cannot be read.
    """
    _refuse_unreadable(path)
    kind: Any = path.suffix.lower()[1:]
    try:
        names, arrow = _json(path, value) if kind == "json" else (_csv if kind == "csv" else _parquet)(path, only)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # damaged files make the readers fail in many ways
        if kind == "csv" and (where := not_utf8(path)):
            raise UserError(f"{path}: can't be read: {where}") from error
        reason = " ".join((str(error) or type(error).__name__).split())[:300]
        advice = "Write it anew, as CSV in UTF-8, Parquet or a JSON map"
        raise UserError(f"{path}: can't be read: {reason}. {advice}") from error
    if not arrow.num_rows:
        raise UserError(f"{path}: is empty; expected a row for every frame")
    return ScoreFile(path, kind, tuple(names), arrow)


def _as_numbers(trimmed: Any) -> Any:
    """Arrow text [n] as Arrow float64 [n], null or NaN where it is no number."""
    import pandas as pd
    import pyarrow as pa

    try:
        return trimmed.cast(pa.float64())
    except pa.ArrowInvalid:
        return pa.array(pd.to_numeric(trimmed.to_pandas(), errors="coerce").to_numpy(float))


def examples(first: Sequence[str], count: int) -> str:
    """A list of the first of `count` descriptions, and how many more there are."""
    return ", ".join(first) + (f" … and {count - len(first):,} more" if count > len(first) else "")


def _selected(names: Sequence[str], only: Collection[str] | None) -> list[str]:
    alike = None if only is None else {name.strip().casefold() for name in only}
    return [name for name in names if alike is None or name.strip().casefold() in alike]


def _refuse_unreadable(path: Path) -> None:
    """Raise `UserError` where the file is missing, empty, too large, of an unknown format, or plainly no scores."""
    if not path.exists():
        siblings = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(f"{path}: no such file{nearest(path.name, [name for name in siblings if name != path.name])}")
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
    for beginning, message in _NO_SCORES.items():
        if start.startswith(beginning):
            raise UserError(f"{path}: {message}")


def _csv(path: Path, only: Collection[str] | None) -> tuple[Sequence[str], Any]:
    """The names of all columns, and a `pyarrow.Table` of those in `only`, all as text."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    header = _header(path)
    _refuse_doubled(path, header)
    selected = _selected(header, only)
    if not selected:
        return header, pa.table({"": pa.nulls(1)})
    convert = arrow_csv.ConvertOptions(column_types=dict.fromkeys(selected, pa.string()), include_columns=selected)
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
    """Raise `UserError` where rows have another number of cells than the header; it names their lines."""
    lines: list[int] = []
    # A cell too large for this reader ends the search; then Arrow's own words will do.
    with suppress(csv.Error), path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        reader = csv.reader(file)
        lines += (reader.line_num for row in reader if row and len(row) != cells)
    if lines:
        numbers = examples([f"line {line}" for line in lines[:EXAMPLES]], len(lines))
        raise UserError(
            f"{path}: {counted(len(lines), 'row')} of other than {cells} cells, as the first line has: {numbers} "
            "(a cell with a comma in it belongs in double quotes; numbers have a decimal point)"
        )


def _lines(path: Path, rows: Sequence[int]) -> dict[int, int]:
    """The line on which each row ends; a quoted cell may hold line breaks, and empty lines are no rows."""
    selected, lines = set(rows), {}
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            reader = csv.reader(file)
            for row, _ in enumerate(islice((cells for cells in reader if cells), 1, max(rows) + 2)):
                if row in selected:
                    lines[row] = reader.line_num
    except csv.Error:  # cells too large for this reader; the rows' numbers will do
        pass
    return lines


def _parquet(path: Path, only: Collection[str] | None) -> tuple[Sequence[str], Any]:
    """The names of all columns, and a `pyarrow.Table` of those in `only`."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        metadata = file.metadata
        size_bytes = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
        if metadata.num_rows > _MOST_ROWS or size_bytes > _MOST_BYTES:
            raise UserError(
                f"{path}: {metadata.num_rows:,} rows, {size_bytes:,} bytes unpacked: far too large for scores"
            )
        _refuse_doubled(path, file.schema_arrow.names)
        return file.schema_arrow.names, file.read(columns=_selected(file.schema_arrow.names, only))


def _json(path: Path, value: str) -> tuple[Sequence[str], Any]:
    """The names `frame` and `value`, and a `pyarrow.Table` of both; values are numbers, truth values or text."""
    import pyarrow as pa

    # Pairs rather than a dict: of a doubled key, a dict keeps the last in silence.
    pairs = json.loads(path.read_bytes(), object_pairs_hook=list)
    if not isinstance(pairs, list) or not all(isinstance(pair, tuple) for pair in pairs):
        raise UserError(f'{path}: expected a map of frame to {value}, such as {{"a.png": 0.97}}')
    cells = [cell for _, cell in pairs]
    numeric = all(type(cell) in (int, float) for cell in cells)
    truths = all(type(cell) is bool for cell in cells)
    values = pa.array(map(float, cells)) if numeric else pa.array(cells if truths else map(_plain, cells))
    return ("frame", value), pa.table({"frame": pa.array((frame for frame, _ in pairs), pa.string()), value: values})


def _plain(cell: object) -> str | None:
    return None if cell is None else str(cell)
