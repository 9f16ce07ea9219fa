"""The files that are judged: pictures and videos of folders, of data sets that are known by their shape, of manifests.

A folder is read by its manifest where it has one, as Celeb-DF, FaceForensics++, DFDC or a set of DeepfakeBench where it
looks like these, and otherwise with all pictures and videos below it. A file that can't be judged is one too, with the
problem that it has.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from bench.commands.predict.outputs import is_of_prediction
from bench.datasets import layouts, walking
from bench.datasets.layouts import LEADS_NOWHERE, SUFFIXES, Entry, Options, folders, manifest
from bench.errors import UserError, listed, nearest
from bench.inference.subjects import label_of
from bench.records import CLASS_WORDS, VIDEO_SUFFIXES

_MASKS = "masks"


@dataclass(frozen=True, slots=True)
class Item:
    """A file to judge. `name` is its path below what was given, which a label may be read off.

    `label` is 1 for fake, None where unknown. `video` and `frame_index` are what a manifest says of a picture, `source`
    the video or person it comes from. `state` are its size and its time of change. `problem` is why it can't be judged.
    `input` counts what was given: two of them may call different videos the same.
    """

    file: str
    name: str
    label: int | None = None
    video: str | None = None
    frame_index: int | None = None
    source: str | None = None
    state: tuple[int, int] = (0, 0)
    problem: str = ""
    input: int = 0

    @property
    def is_video(self) -> bool:
        return self.file.lower().endswith(VIDEO_SUFFIXES)


def items_of(inputs: Sequence[Path], written: Sequence[Path], columns: Mapping[str, str] | None = None) -> list[Item]:
    """All files of the inputs, each once, in their order, those of a folder sorted; nothing below `written`.

    `columns` are what manifests call theirs, by path, label and source, in lower case; None for these names.

    Raises `UserError` where an input is not there or holds nothing to judge; all that is wrong is said at once.
    """
    problems: list[str] = []
    items: dict[str, Item] = {}
    for number, given in enumerate(inputs):
        try:
            of_input = list(_items(given, written, columns))
        except UserError as error:
            problems += error.lines
            continue
        except OSError as error:
            problems.append(f"{error.filename or given}: can't be read: {error.strerror or error}")
            continue
        if not of_input:
            problems.append(f"{given}: holds no pictures and no videos; expected files such as .jpg, .png or .mp4")
        for item in of_input:
            numbered = replace(item, input=number) if number else item
            items.setdefault(os.path.abspath(item.file), numbered)  # noqa: PTH100 - links stay, and it is one of many
    if problems:
        raise UserError(*problems)
    return list(items.values())


def _items(given: Path, written: Sequence[Path], columns: Mapping[str, str] | None) -> Iterator[Item]:
    """The files of one input."""
    if given.is_symlink() and not given.exists():
        raise UserError(f"{given}: is {LEADS_NOWHERE}")
    if not given.exists():
        siblings = [path.name for path in given.parent.iterdir()] if given.parent.is_dir() else []
        raise UserError(f"{given}: no such file or folder{nearest(given.name, siblings)}")
    if not given.is_dir() and not given.is_file():
        raise UserError(f"{given}: is no file; expected a picture, a video, a folder of these, or a manifest")
    layout = next(each for each in (*layouts.layouts(), None) if each is None or each.recognises(given))
    if layout is not None and layout.SHAPE == manifest.SHAPE:
        return _of_manifest(given, columns)
    if layout is not None and layout.SHAPE != folders.SHAPE:
        return _of_data_set(given, layout)
    return _below(given, written) if given.is_dir() else iter([_item(str(given), given.name)])


def _of_data_set(given: Path, layout: layouts.Layout) -> Iterator[Item]:
    """The pictures and the videos of a data set of a known shape; `UserError` where it can be read as neither."""
    listings = [layout.read(given, options) for options in (Options(), Options(suffixes=VIDEO_SUFFIXES))]
    usable = [listing for listing in listings if not listing.problems]
    if not usable:
        raise UserError(*dict.fromkeys(problem for listing in listings for problem in listing.problems))
    for listing in usable:
        for part in listing.parts.values():
            yield from map(_of_entry, part.entries)


def _of_entry(entry: Entry) -> Item:
    label = entry.label if entry.label is not None else _label_of(str(Path(entry.file).parent))
    state = (entry.size_bytes, entry.mtime_ns)
    return Item(entry.file, entry.path, label, entry.video, entry.frame_index, entry.source, state)


def _below(folder: Path, written: Sequence[Path]) -> Iterator[Item]:
    """The pictures and videos below a folder, sorted, without hidden ones; links are followed.

    Masks beside the classes of a frame set are no pictures to judge, nor are those that a prediction has drawn.
    """
    own_outputs = {os.path.realpath(path) for path in written}

    def enters(child: os.DirEntry[str]) -> bool:
        if child.name.startswith(".") or not child.is_dir() or os.path.realpath(child.path) in own_outputs:
            return False
        if is_of_prediction(Path(child.path)):
            return False
        beside = Path(child.path).parent
        return child.name.lower() != _MASKS or not any((beside / name).is_dir() for name in CLASS_WORDS)

    names = [
        f"{path}{child.name}"
        for path, children in walking.walk(folder, "", enters)
        for child in children
        if not child.name.startswith(".") and child.name.lower().endswith((*SUFFIXES, *VIDEO_SUFFIXES))
        and not child.is_dir()
    ]  # fmt: skip
    for name in sorted(names):
        yield _item(str(folder / name), name)


def _item(file: str, name: str) -> Item:
    try:
        status = os.stat(file)  # noqa: PTH116 - a Path for every file takes long
    except OSError as error:
        return Item(file, name, _label_of(os.path.dirname(file)), problem=_reason(file, error))  # noqa: PTH120
    state = (status.st_size, status.st_mtime_ns)
    return Item(file, name, _label_of(os.path.dirname(file)), state=state)  # noqa: PTH120


def _reason(file: str, error: OSError) -> str:
    return LEADS_NOWHERE if os.path.islink(file) else str(error.strerror or error)  # noqa: PTH114


@cache
def _label_of(folder: str) -> int | None:
    """The label of the files in a folder, by its name and those above it."""
    return label_of(Path(folder) / "file")


def _of_manifest(given: Path, columns: Mapping[str, str] | None) -> Iterator[Item]:
    """The rows of a manifest. `UserError` where it can't be read; rows without a file of their own are items too."""
    labels = Options(columns=columns, naming_columns="--{role}-column {name}")
    file, _, rows = manifest.rows_at(given, labels)
    files = manifest.Files(file.parent)
    wrong = [
        f"{where} {cell!r}" for where, cells in rows
        if (cell := cells.get("label", "").strip()) and labels.cell_label(cell) is None
    ]  # fmt: skip
    if wrong:
        raise UserError(f"{file}: label is neither real, 0 nor fake, 1: {listed(wrong, 10)}")
    seen: set[str] = set()
    for where, cells in rows:
        path = files.normal(cells.get("path", ""))
        if path in seen:
            continue
        seen.add(path)
        outside = not path or path.startswith(("../", "/")) or path in ("..", ".") or path[1:2] == ":"
        located, problem = (None, f"must stay inside {file.parent}") if outside else files.locate(path)
        label = labels.cell_label(cells.get("label", ""))
        name = path or where
        # What lies below the working folder is called as the manifest calls it.
        whole = located.file.removeprefix("./") if located else str(file.parent / name)
        if label is None:
            label = _label_of(os.path.dirname(whole))  # noqa: PTH120
        index = cells.get("frame_index", "").strip().partition(".")[0]
        yield Item(
            whole, name, label, cells.get("video", "").strip() or None, int(index) if index.isdecimal() else None,
            cells.get("source", "").strip() or None, (located.size_bytes, located.mtime_ns) if located else (0, 0),
            f"{where} of {file.name}: {problem}" if problem else "",
        )  # fmt: skip
