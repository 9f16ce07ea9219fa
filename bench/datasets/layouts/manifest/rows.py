"""Turn a manifest's rows into entries, and gather what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from bench.datasets import label_hints
from bench.datasets.layouts import AMBIGUOUS_SPLITS, SPLIT_WORDS, Attributes, Entry, Listing, Options, Part, Tally
from bench.datasets.layouts.manifest.columns import usual
from bench.datasets.layouts.manifest.files import Files, Located
from bench.datasets.layouts.manifest.tables import SURPLUS, Row, further
from bench.errors import listed, quoted
from bench.records import BOX_COLUMNS, FACE_SIZE, LABELLED_SPLITS, Split, face_size, label_word

_INDEX = re.compile(r"(\d{1,18})(\.0*)?")


class Reader:
    """Reads rows one after the other, and remembers what is wrong with them, by kind."""

    def __init__(self, manifest: Path, columns: list[str], options: Options) -> None:
        self.manifest, self.columns, self.options = manifest, columns, options
        self.files = Files(manifest.parent)
        self.wrong: dict[str, list[str]] = {}
        self.words: dict[str, None] = {}
        self.seen: dict[tuple[Split | None, str], str] = {}
        self.further = further(columns)
        self.has_boxes = set(BOX_COLUMNS) <= set(columns) and FACE_SIZE not in columns
        self.shared: dict[Attributes, Attributes] = {}
        self.label_in = cache(options.cell_label)
        self.tally = Tally()

    def listing(self, rows: list[Row]) -> Listing:
        """The manifest as entries by split, sorted by path, and its problems."""
        parts: dict[Split | None, list[Entry]] = {}
        for split, entry in self._entries(rows):
            parts.setdefault(split, []).append(entry)
        lacks = f"but there is no column `label`{usual(self.further, 'label', self.options)}"
        column = "in the column `label`" if "label" in self.columns else lacks
        labels_from = f"labels are looked for in {self.manifest}, {column}"
        by_path = {
            split: Part(tuple(sorted(entries, key=lambda entry: entry.path)), labels_from)
            for split, entries in parts.items()
        }
        self.files.count_others(self.manifest.name, self.options, self.tally)
        return Listing(self.manifest.parent, by_path, self._problems(), self.tally.unused)

    def _problems(self) -> tuple[str, ...]:
        hints = {_NO_LABEL: label_hints.hint(self.words), f"no such mask below {self.files.folder}": _NO_MASK}
        return tuple(
            f"{self.manifest}: {kind}: {listed(rows, 10)}{hints.get(kind, '')}" for kind, rows in self.wrong.items()
        )

    def _entries(self, rows: list[Row]) -> Iterator[tuple[Split | None, Entry]]:
        """Every usable row as an entry with its split; what is wrong with the others is reported."""
        for where, cells in rows:
            if SURPLUS in cells:
                self._report("more cells than columns (a cell with a comma in it belongs in double quotes)", where)
                continue
            path = self._path(where, cells)
            if path is not None and (pattern := self.options.pattern_of(path)):
                self.tally.add("excluded", pattern)
                continue
            split = self._split(where, cells)
            label = self._label(where, cells, split)
            located = self._located(where, path, split) if path is not None else None
            if path is not None and located is not None:
                yield (
                    split,
                    Entry(
                        path,
                        located.file,
                        label,
                        _name(cells.get("source", "")),
                        located.size_bytes,
                        located.mtime_ns,
                        self._attributes(cells),
                        _name(cells.get("video", "")),
                        self._frame_index(where, cells),
                        self._mask(where, cells),
                    ),
                )

    def _report(self, kind: str, row: str) -> None:
        self.wrong.setdefault(kind, []).append(row)

    def _split(self, where: str, cells: Mapping[str, str]) -> Split | None:
        """The split that a row names; one that could mean two is none."""
        if "split" not in self.columns:
            return None
        word = cells.get("split", "").strip()
        split = SPLIT_WORDS.get(word.lower())
        if split is None:
            hint = " (is that test or validation?)" if word.lower() in AMBIGUOUS_SPLITS else ""
            self._report(f"split is none of {', '.join(SPLIT_WORDS)}", f"{where} {quoted(word)}{hint}")
        return split

    def _label(self, where: str, cells: Mapping[str, str], split: Split | None) -> int | None:
        """The label of a row; None where there need be none, and where it is reported as wrong."""
        cell = cells.get("label", "")
        label = self.label_in(cell)
        if label is not None:
            return label
        word = label_word(cell)
        if word or ("label" in self.columns and split in LABELLED_SPLITS):
            self.words[cell.strip()] = None
            self._report(_NO_LABEL, f"{where} {quoted(cell.strip())}")
        return None

    def _frame_index(self, where: str, cells: Mapping[str, str]) -> int | None:
        """The number of a frame in its video; pandas writes whole numbers with gaps as 3.0."""
        word = cells.get("frame_index", "").strip()
        if not word:
            return None
        whole = _INDEX.fullmatch(word)
        if whole is None:
            self._report("frame_index is no whole number from 0", f"{where} {quoted(word)}")
            return None
        return int(whole[1])

    def _attributes(self, cells: Mapping[str, str]) -> Attributes:
        """Shared by the frames that know the same, or a million frames would be a million times a few strings."""
        attributes = tuple((name, cells.get(name, "").strip()) for name in self.further)
        if self.has_boxes:
            attributes = (*attributes, (FACE_SIZE, _face_size(cells)))
        return self.shared.setdefault(attributes, attributes)

    def _mask(self, where: str, cells: Mapping[str, str]) -> str | None:
        """The file of a row's mask; several frames may share one."""
        if not cells.get("mask", "").strip():
            return None
        path = self._path(where, cells, "mask")
        located, problem = self.files.locate(path, "mask") if path is not None else (None, "")
        if problem:
            self._report(problem, f"{where} {quoted(path)}")
        return located.file if located else None

    def _path(self, where: str, cells: Mapping[str, str], column: str = "path") -> str | None:
        """The path in a cell of a row, relative to the manifest; None where it is empty or outside."""
        written = cells.get(column, "").strip()
        path = self.files.normal(written)
        if not path or path == ".":
            self._report(f"{column} is empty", where)
            return None
        if path.startswith(("../", "/")) or path == ".." or path[1:2] == ":":
            kind = f"{column} must be relative to {self.files.folder}, or absolute, and stay inside it"
            self._report(kind, f"{where} {quoted(written)}")
            return None
        return path

    def _located(self, where: str, path: str, split: Split | None) -> Located | None:
        """The file of a row; None where there is none inside the folder, or where an earlier row has it."""
        first = self.seen.setdefault((split, path), where)
        if first != where:
            self._report("the same path twice", f"{first} and {where} {quoted(path)}")
            return None
        located, problem = self.files.locate(path)
        if located is None:
            self._report(problem, f"{where} {quoted(path)}")
            return None
        if located.name != path:
            first = self.seen.setdefault((split, located.name), where)
            if first != where:
                self._report("the same file twice, in two spellings of Unicode", f"{first} and {where} {quoted(path)}")
                return None
        return located


def _name(cell: str) -> str | None:
    """A source or a video; None where there is none. pandas writes whole numbers with gaps as 3.0."""
    name = cell.strip()
    whole = _INDEX.fullmatch(name)
    return whole[1] if whole else name or None


def _face_size(cells: Mapping[str, str]) -> str:
    """The `face_size` of a row as text; empty where it has none."""
    try:
        left, top, right, bottom = (float(cells.get(name, "")) for name in BOX_COLUMNS)
    except ValueError:
        return ""
    size = face_size(left, top, right, bottom)
    return "" if size is None else f"{size:.1f}"


_NO_MASK = "; if the column is of something else, rename it, or write `columns: {mask: …}`"
_NO_LABEL = "label is neither real, 0 nor fake, 1"
