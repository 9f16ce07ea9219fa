"""A CSV or Parquet manifest: columns `path`, `label` and, where known, `source` and `split`.

Every further column is an attribute of the frames, its name and values as they are written. What is
no text or number (nested values, bytes) is left out, and so are columns without a name.

Paths are relative to the manifest's folder, or absolute, and stay inside it, links included. A folder that holds
a `manifest.csv` or `manifest.parquet` is read by it.
"""

from __future__ import annotations

import csv
import difflib
import os
import posixpath
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from bench.datasets.layouts import LABEL_WORDS, LEADS_NOWHERE, SPLIT_WORDS, Entry, Listing, Options, Part
from bench.errors import listed, nearest, quoted, shown
from bench.records import LABELLED_SPLITS, PREDICTED, Split

RANK = 10
SHAPE = "a manifest .csv or .parquet with the columns path, label and, if known, source and split"

_NAMES = ("manifest.csv", "manifest.parquet")
_COLUMNS = ("path", "label", "source", "split")
_HOW_INSIDE = "copy the files in, such as with `dvc unprotect`, or `git annex unlock`"
_SURPLUS = "\0surplus"
_MOST_ROWS, _MOST_BYTES = 20_000_000, 2 * 2**30

Attributes: TypeAlias = tuple[tuple[str, str], ...]

Row = tuple[str, Mapping[str, str]]
"""Where it stands ("line 7"), and its cells by column."""


def recognises(path: Path) -> bool:
    return _is_manifest(path) or any(map(os.path.lexists, _manifests(path)))


def read(path: Path, options: Options) -> Listing:
    """List the rows of a manifest as frames; everything that is wrong with it is a problem of the listing."""
    manifests = [path] if _is_manifest(path) else list(filter(os.path.lexists, _manifests(path)))
    manifest = manifests[0]
    for lost in manifests:
        if not lost.is_file():
            why = "a folder, a pipe or a device; expected a file" if lost.exists() else LEADS_NOWHERE
            return Listing(path, {}, (f"{lost}: is {why}",))
    if len(manifests) > 1:
        return Listing(path, {}, (f"{path}: holds both {' and '.join(_NAMES)}; keep the one that is right",))
    try:
        roles = {name: role for role, name in (options.columns or dict(zip(_COLUMNS, _COLUMNS, strict=True))).items()}
        columns_present, rows = _table(manifest, roles)
    except MemoryError:
        raise
    except Exception as error:  # damaged files make the readers fail in many ways
        reason = " ".join((str(error) or type(error).__name__).split())[:300]
        return Listing(manifest.parent, {}, (f"{manifest}: can't be read: {reason}",))
    problems = _wrong_columns(manifest, columns_present, roles)
    if not problems and not rows:
        problems = [f"{manifest}: has no rows"]
    if problems:
        return Listing(manifest.parent, {}, tuple(problems))
    return _Reader(manifest, columns_present).listing(rows)


def _is_manifest(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in (".csv", ".parquet")


def _manifests(folder: Path) -> list[Path]:
    return [folder / name for name in _NAMES] if folder.is_dir() else []


def _table(manifest: Path, roles: Mapping[str, str]) -> tuple[list[str], list[Row]]:
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
                row[_SURPLUS] = "yes"
            if any(cells):
                rows.append((f"line {reader.line_num}", row))
        return columns, rows


def _parquet(manifest: Path, roles: Mapping[str, str]) -> tuple[list[str], list[Row]]:
    """Columns and rows of a Parquet file, all cells as text; ValueError where it is far too large for a manifest."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(manifest) as file:
        names, metadata = file.schema_arrow.names, file.metadata
        named = {name: _named(name, roles) for name in names}
        plain = [name for name in names if named[name] in _COLUMNS or _is_plain(file.schema_arrow.field(name).type)]
        size_bytes = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
        if metadata.num_rows > _MOST_ROWS or size_bytes > _MOST_BYTES:
            raise ValueError(f"{metadata.num_rows:,} rows, {size_bytes:,} bytes unpacked: far too large for a manifest")
        table = file.read(columns=plain) if len(set(plain)) == len(plain) else file.read().select([])
    columns = [named[name] for name in names if named[name] in _COLUMNS or name in table.column_names]
    cells = {named[name]: [_text(cell) for cell in table.column(name).to_pylist()] for name in table.column_names}
    rows = (dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True))
    return columns, [(f"row {number}", row) for number, row in enumerate(rows)]


def _named(column: str, roles: Mapping[str, str]) -> str:
    """What a known column is, whatever the case of its name; another's name as it is written.

    Where another column is named for it, one that is called so by chance has no name.
    """
    stripped = column.strip()
    role = roles.get(stripped.lower())
    return role or ("" if stripped.lower() in _COLUMNS else stripped)


def _further(columns: list[str]) -> list[str]:
    """The columns that are attributes; without a name, or called as pandas calls its own, they are row numbers."""
    return [name for name in columns if name and name not in _COLUMNS and not name.startswith("__index_level_")]


def _is_plain(kind: Any) -> bool:
    """Whether a cell of this Arrow type is a text or a number."""
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    binary = types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)
    return not (types.is_nested(kind) or binary)


def _text(cell: object) -> str:
    return "" if cell is None or cell != cell else str(cell)  # noqa: PLR0124 - only NaN differs from itself


def _wrong_columns(manifest: Path, columns: list[str], roles: Mapping[str, str]) -> list[str]:
    """`path` must be there, and what was named; a column that is nearly called like a missing one is a misprint."""
    problems = [
        f"{manifest}: no column {quoted(name)}, which `columns: {{{role}: …}}` names{nearest(name, columns)}; found: "
        f"{listed(filter(None, columns))}"
        for name, role in roles.items()
        if name != role and role not in columns
    ]
    if problems:
        return problems
    extra = [name for name in columns if name not in _COLUMNS]
    if "path" not in columns:
        hint = nearest("path", extra)
        if len(columns) == 1 and any(sign in columns[0] for sign in ";\t|"):
            hint = " (its columns must be separated by commas)"
        hint = hint or _usual(extra, "path")
        problems.append(f"{manifest}: no column `path`{hint}; found: {listed(columns) or 'nothing'}. Expected {SHAPE}")
    for name in ("label", "source", "split"):
        close = [] if name in columns else difflib.get_close_matches(name, extra, n=1, cutoff=0.75)
        problems += [
            f"{manifest}: column {quoted(similar)} is unknown (did you mean {quoted(name)}?)" for similar in close
        ]
    doubled = [name for name in _COLUMNS if columns.count(name) > 1]
    problems += [f"{manifest}: two columns are called {quoted(name)}" for name in doubled]
    return problems + _wrong_attributes(manifest, _further(columns))


_USUAL = {
    "path": (
        "filename",
        "file",
        "file_name",
        "filepath",
        "file_path",
        "image",
        "image_path",
        "img",
        "img_path",
        "frame",
    ),
    "label": ("target", "class", "y", "is_fake", "category"),
}
"""What other manifests call these columns."""


def _usual(columns: list[str], role: str) -> str:
    """A hint where a column is called as others call that one."""
    alike = next((name for name in columns if name.lower() in _USUAL[role]), None)
    return f" (if it is {quoted(alike)}, write `columns: {{{role}: {shown(alike)}}}`)" if alike else ""


def _wrong_attributes(manifest: Path, further: list[str]) -> list[str]:
    """Attribute columns that differ by case alone, or are called like columns of predictions."""
    seen: dict[str, str] = {}
    problems = []
    for name in further:
        other = seen.setdefault(name.casefold(), name)
        if other is not name:
            problems.append(f"{manifest}: the columns {quoted(other)} and {quoted(name)} are called alike; rename one")
        if name.casefold() in PREDICTED:
            problems.append(
                f"{manifest}: a column is called {quoted(name)}, which is what predictions are called; rename it "
                f"(so are: {', '.join(PREDICTED)})"
            )
    return problems


class _Reader:
    """Turns rows into entries and gathers what is wrong with them, by kind."""

    def __init__(self, manifest: Path, columns: list[str]) -> None:
        self.manifest, self.folder, self.columns = manifest, str(manifest.parent), columns
        self.real = os.path.realpath(self.folder)
        self.tops = [f"{top.replace(os.sep, '/').rstrip('/')}/" for top in (os.path.abspath(self.folder), self.real)]  # noqa: PTH100 - links stay
        self.inside: dict[str, bool] = {}
        self.wrong: dict[str, list[str]] = {}
        self.seen: dict[tuple[Split | None, str], str] = {}
        self.further = _further(columns)
        self.shared: dict[Attributes, Attributes] = {}

    def listing(self, rows: list[Row]) -> Listing:
        """The manifest as entries by split, sorted by path, and its problems."""
        parts: dict[Split | None, list[Entry]] = {}
        for split, entry in self._entries(rows):
            parts.setdefault(split, []).append(entry)
        lacks = f"but there is no column `label`{_usual(self.further, 'label')}"
        column = "in the column `label`" if "label" in self.columns else lacks
        labels_from = f"labels are looked for in {self.manifest}, {column}"
        problems = tuple(f"{self.manifest}: {kind}: {listed(rows, 10)}" for kind, rows in self.wrong.items())
        by_path = {
            split: Part(tuple(sorted(entries, key=lambda entry: entry.path)), labels_from)
            for split, entries in parts.items()
        }
        return Listing(self.manifest.parent, by_path, problems)

    def _entries(self, rows: list[Row]) -> Iterator[tuple[Split | None, Entry]]:
        """Every usable row as an entry with its split; what is wrong with the others is reported."""
        for where, cells in rows:
            if _SURPLUS in cells:
                self._report("more cells than columns (a cell with a comma in it belongs in double quotes)", where)
                continue
            split = self._split(where, cells)
            label = self._label(where, cells, split)
            path = self._path(where, cells, split)
            if path is not None:
                file = f"{self.folder}/{path}"
                status = self._stat(where, path, file)
                if status is not None:
                    source = cells.get("source", "").strip() or None
                    yield (
                        split,
                        Entry(path, file, label, source, status.st_size, status.st_mtime_ns, self._attributes(cells)),
                    )

    def _report(self, kind: str, row: str) -> None:
        self.wrong.setdefault(kind, []).append(row)

    def _split(self, where: str, cells: Mapping[str, str]) -> Split | None:
        if "split" not in self.columns:
            return None
        word = cells.get("split", "").strip()
        split = SPLIT_WORDS.get(word.lower())
        if split is None:
            self._report(f"split is none of {', '.join(SPLIT_WORDS)}", f"{where} {quoted(word)}")
        return split

    def _label(self, where: str, cells: Mapping[str, str], split: Split | None) -> int | None:
        word = cells.get("label", "").strip()
        label = LABEL_WORDS.get(word.lower())
        unlabelled = not word and ("label" not in self.columns or split not in LABELLED_SPLITS)
        if label is None and not unlabelled:
            self._report("label is neither real, 0 nor fake, 1", f"{where} {quoted(word)}")
        return label

    def _attributes(self, cells: Mapping[str, str]) -> Attributes:
        """Shared by the frames that know the same, or a million frames would be a million times a few strings."""
        attributes = tuple((name, cells.get(name, "").strip()) for name in self.further)
        return self.shared.setdefault(attributes, attributes)

    def _path(self, where: str, cells: Mapping[str, str], split: Split | None) -> str | None:
        """The path of a row relative to the manifest; None where it is empty, outside, or stands twice."""
        written = cells.get("path", "").strip()
        path = self._below(posixpath.normpath(written.replace("\\", "/"))) if written else ""
        if not path or path == ".":
            self._report("path is empty", where)
            return None
        if path.startswith(("../", "/")) or path == ".." or path[1:2] == ":":
            kind = f"path must be relative to {self.folder}, or absolute, and stay inside it"
            self._report(kind, f"{where} {quoted(written)}")
            return None
        first = self.seen.setdefault((split, path), where)
        if first != where:
            self._report("the same path twice", f"{first} and {where} {quoted(path)}")
            return None
        return path

    def _below(self, path: str) -> str:
        """An absolute path inside the manifest's folder as one relative to it; any other as it is."""
        top = next((top for top in self.tops if path.startswith(top)), "")
        return path.removeprefix(top)

    def _stat(self, where: str, path: str, file: str) -> Any:
        """The status of a frame file, links followed; None where there is no such file inside the folder."""
        try:
            status = os.lstat(file)
            linked = stat.S_ISLNK(status.st_mode)
            if linked:
                with suppress(OSError):  # a link to what is not there is status out by reading
                    status = os.stat(file)  # noqa: PTH116 - a Path for every row is most of the time of a cached load
        except (OSError, ValueError):  # a name with a NUL in it is a ValueError
            self._report(f"no such frame below {self.folder}", f"{where} {quoted(path)}")
            return None
        if stat.S_ISDIR(status.st_mode):
            self._report(f"no such frame below {self.folder}", f"{where} {quoted(path)}")
            return None
        if not self._is_inside(file, linked):
            self._report(f"path leads outside of {self.folder} by a link ({_HOW_INSIDE})", f"{where} {quoted(path)}")
            return None
        return status

    def _is_inside(self, file: str, linked: bool) -> bool:
        """Whether a frame lies below the manifest's folder; asked once a folder, as it costs as much as ten frames."""
        if linked:
            return os.path.realpath(file).startswith(f"{self.real}{os.sep}")
        folder = file.rpartition("/")[0]
        if folder not in self.inside:
            real = os.path.realpath(folder)
            self.inside[folder] = real == self.real or real.startswith(f"{self.real}{os.sep}")
        return self.inside[folder]
