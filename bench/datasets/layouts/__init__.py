"""Layouts: how labelled frames lie on a disk, one file each, found by the shape of what is there.

A layout is a module with

- `RANK`: layouts are asked in rising order, the more explicit ones first;
- `SHAPE`: what it looks like, for error messages;
- `recognises(path)`: whether `path` has this shape, from names alone;
- `read(path, options)`: its frames, or its videos, and everything that is wrong with them.

The module's top imports nothing heavy: it is also read when all results are there already.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from bench.datasets.exclude import matching
from bench.errors import listed, nearest, quoted, shown
from bench.records import CLASS_WORDS, LABEL_WORDS, VIDEO_SUFFIXES, MissingVideo, Split, Unused, UnusedKind, label_word

SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".jp2", ".j2k",
    ".j2c", ".jpc", ".jpf", ".jpx", ".avif", ".ppm", ".pgm", ".pbm", ".pnm",
)  # fmt: skip
"""The endings of pictures that are read, in lower case."""
SPLIT_WORDS: Mapping[str, Split] = {
    "test": "test",
    "testing": "test",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "calibration": "calibration",
    "calib": "calibration",
    "train": "train",
    "training": "train",
}
"""`eval`, `development` and `holdout` are none of them: they are test frames to some, validation frames to others."""
AMBIGUOUS_SPLITS = frozenset((
    "eval", "evaluation", "evaluate", "development", "holdout", "hold_out", "hold-out", "heldout", "held_out",
    "held-out", "trainval",
))  # fmt: skip
_NOT_READ = frozenset((
    ".heic", ".heif", ".jxl", ".eps", ".ps", ".psd", ".svg", ".tga", ".exr", ".hdr", ".pfm", ".raw", ".cr2", ".cr3",
    ".nef", ".arw", ".dng", ".ico", ".dib", ".pcx", ".xcf",
))  # fmt: skip
LEADS_NOWHERE = "a link to what is not there; fetch it first, such as with `git annex get` or `dvc pull`"


Attributes: TypeAlias = tuple[tuple[str, str], ...]
"""Pairs (name, value) of what else is known of a frame; frames that know the same share one tuple."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A frame before its content is read. `path` is relative to its split's folder, with forward slashes.

    `video` is the path of its video, without an ending where a layout reads it off names, and `frame_index` its number
    among the video's frames; `mask` is the file of the picture of what was forged. None where unknown.
    """

    path: str
    file: str
    label: int | None
    source: str | None
    size_bytes: int
    mtime_ns: int
    attributes: Attributes = ()
    video: str | None = None
    frame_index: int | None = None
    mask: str | None = None


@dataclass(frozen=True)
class Part:
    """The entries of one split, sorted by path, and where their labels come from, in words.

    `from_names` says that sources are read off names, so that a `source_pattern` takes their place. `sharing` says why
    a source may be in several splits, where whoever made the data set split it so; if it is empty, that is an error.
    """

    entries: tuple[Entry, ...]
    labels_from: str
    from_names: bool = False
    sharing: str = ""


class Tally:
    """Counts the files that are no frames, by kind and name."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[UnusedKind, str]] = Counter()

    def add(self, kind: UnusedKind, name: str = "", count: int = 1) -> None:
        self._counts[kind, name] += count

    def add_file(self, file_name: str) -> None:
        """Count a file that does not have the ending of a frame."""
        ending = os.path.splitext(file_name)[1].lower()  # noqa: PTH122 - a Path for every file takes long
        kind: UnusedKind = "video" if ending in VIDEO_SUFFIXES else "picture" if ending in _NOT_READ else "ending"
        self.add(kind, ending)

    @property
    def unused(self) -> tuple[Unused, ...]:
        return tuple(Unused(*key, count) for key, count in self._counts.items() if count)


@dataclass(frozen=True)
class Listing:
    """What lies at one place: parts by split, None for frames that no split claims; and what is `unused` there.

    `problems` are why it can't be used, `remarks` what a reader of its numbers must know. `missing` are the videos of
    each split that a list names and that have no frame here, with their labels. `native_masks` is whether masks were
    found where whoever made the data set puts them, and nobody asked for them.
    """

    root: Path
    parts: Mapping[Split | None, Part]
    problems: tuple[str, ...] = ()
    unused: tuple[Unused, ...] = ()
    remarks: tuple[str, ...] = ()
    missing: Mapping[Split | None, tuple[MissingVideo, ...]] = field(default_factory=dict)
    native_masks: bool = False


@dataclass(frozen=True)
class Options:
    """What is looked for at a place, and what the experiment file says of it.

    `columns` are a manifest's names of path, label, source and split, in lower case, None for these names. `suffixes`
    are the endings, in lower case, of the files that are meant: pictures, or videos. `labels` are further words for
    the classes, as `label_word` spells them. Files whose path matches a pattern of `exclude` are left out; paths start
    at the frame set's place, and `below` is where the folder that is read lies there ("test/"). `naming_columns` is how
    a column is named to the program, as messages show it.
    """

    columns: Mapping[str, str] | None = None
    suffixes: tuple[str, ...] = SUFFIXES
    labels: Mapping[str, int] = field(default_factory=dict)
    exclude: tuple[str, ...] = ()
    below: str = ""
    naming_columns: str = "columns: {{{role}: {name}}}"

    @property
    def noun(self) -> str:
        """What is looked for, in a word."""
        return "videos" if self.suffixes[0] in VIDEO_SUFFIXES else "frames"

    def folder_label(self, name: str) -> int | None:
        """The label that a folder of this name stands for, None where it stands for none."""
        word = label_word(name)
        return self.labels.get(word, CLASS_WORDS.get(word))

    def cell_label(self, cell: object) -> int | None:
        """The label in a cell, None where there is none in it."""
        word = label_word(cell)
        return self.labels.get(word, LABEL_WORDS.get(word))

    def pattern_of(self, path: str) -> str | None:
        """The pattern that leaves out this file, whose path is relative to the folder that is read; None without."""
        return matching(self.exclude, self.below + path) if self.exclude else None

    def naming(self, role: str, name: str) -> str:
        """What to write where the column `role` is called otherwise."""
        return f"`{self.naming_columns.format(role=role, name=shown(name))}`"

    def inside(self, folder: str) -> Options:
        """The options for a folder below the one that is read."""
        return replace(self, below=f"{self.below}{folder}/")


class Layout(Protocol):
    """The module contract, for type checkers."""

    RANK: int
    SHAPE: str

    def recognises(self, path: Path) -> bool: ...

    def read(self, path: Path, options: Options) -> Listing: ...


@cache
def layouts() -> tuple[Layout, ...]:
    """All layouts, the more explicit first."""
    modules: list[Any] = [importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__)]
    return tuple(sorted(modules, key=lambda module: int(module.RANK)))


def read(path: Path, options: Options) -> Listing:
    """The frames at `path`, by whichever layout recognises it; problems are listed, not raised.

    A pattern of `exclude` that leaves out nothing is one of them.
    """
    listing = read_folder(path, options)
    used = {unused.name for unused in listing.unused if unused.kind == "excluded"}
    idle = tuple(
        f"{path}: the pattern {quoted(pattern)} of `exclude` matches no file there; paths start at {path.name}/, `*` "
        "stands for a part of one name, and `**` for any folders"
        for pattern in options.exclude
        if pattern not in used and not listing.problems
    )
    return replace(listing, problems=(*listing.problems, *idle))


def read_folder(path: Path, options: Options) -> Listing:
    """As `read`, for a folder inside of a place, where a pattern may well match nothing."""
    try:
        if path.is_symlink() and not path.exists():
            return Listing(path, {}, (f"{path}: {LEADS_NOWHERE}",))
        if not path.exists():
            siblings = [child.name for child in path.parent.iterdir()] if path.parent.is_dir() else []
            return Listing(path, {}, (f"{path}: no such file or folder{nearest(path.name, siblings)}",))
        for layout in layouts():
            if layout.recognises(path):
                return layout.read(path, options)
    except OSError as error:
        return Listing(path, {}, (f"{error.filename or path}: can't be read: {error.strerror or error}",))
    shapes = "; ".join(layout.SHAPE for layout in layouts())
    content = (
        f"it holds {listed(sorted(c.name for c in path.iterdir()), 5) or 'nothing'}" if path.is_dir() else "a file"
    )
    return Listing(path, {}, (f"{path}: no frames found ({content}). Expected one of: {shapes}",))
