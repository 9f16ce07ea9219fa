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
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from bench.errors import listed, nearest
from bench.records import Split

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
SPLIT_WORDS: Mapping[str, Split] = {
    "test": "test",
    "validation": "validation",
    "val": "validation",
    "calibration": "calibration",
    "train": "train",
}
LABEL_WORDS: Mapping[str, int] = {"real": 0, "fake": 1, "0": 0, "1": 1}
LEADS_NOWHERE = "a link to what is not there; fetch it first, such as with `git annex get` or `dvc pull`"


@dataclass(frozen=True, slots=True)
class Entry:
    """A frame before its content is read. `path` is relative to its split's folder, with forward slashes.

    `attributes` are (name, value) of what else is known of it; frames that know the same share one tuple. `video` is
    the path of its video, without an ending, and `frame_index` which of its frames this is, where they are certain.
    """

    path: str
    file: str
    label: int | None
    source: str | None
    size_bytes: int
    mtime_ns: int
    attributes: tuple[tuple[str, str], ...] = ()
    video: str | None = None
    frame_index: int | None = None


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


@dataclass(frozen=True)
class Listing:
    """What lies at one place: parts by split, None for frames that no split claims.

    `problems` are why it can't be used, `remarks` what a reader of its numbers must know.
    """

    root: Path
    parts: Mapping[Split | None, Part]
    problems: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Options:
    """What is looked for at a place, and what the experiment file says of it.

    `columns` are a manifest's names of path, label, source and split, in lower case, None for these names. `suffixes`
    are the endings, in lower case, of the files that are meant: pictures, or videos.
    """

    columns: Mapping[str, str] | None = None
    suffixes: tuple[str, ...] = SUFFIXES


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
    """The frames at `path`, by whichever layout recognises it; problems are listed, not raised."""
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
