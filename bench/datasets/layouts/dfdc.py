"""DFDC: metadata.json, or the test set's labels.csv, beside videos or in the folders one below (dfdc_train_part_0 …).

metadata.json is `{"<video>.mp4": {"label": "REAL" | "FAKE", "split", "original"}}`, labels.csv has the columns
`filename,label` (1 is fake). Frames may lie anywhere below: `<video>/003.png`, `<video>_003.png`, `<video>.mp4.jpg`.
A video's source is its original, or the video itself. A `split` that is the same for all splits nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from bench.datasets import list_files, native
from bench.datasets.layouts import SPLIT_WORDS, Entry, Listing, Options, Tally
from bench.datasets.native import File, Video, Videos
from bench.errors import UserError, listed, quoted
from bench.records import LABEL_WORDS, MissingVideo, Split, joined_sources, label_word

RANK = 13
SHAPE = "DFDC's metadata.json {file: {label: REAL or FAKE}}, or its labels.csv (filename,label)"

METADATA, LABELS = "metadata.json", "labels.csv"
_FIRST_VIDEO = re.compile(rb'\s*\{\s*"[^"]*\.\w+"\s*:\s*\{')
_HEADER = re.compile(rb'"?filename"?\s*,\s*"?label"?\s*[\r\n]', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Row:
    """What is said of a video, and where. `source` is the name of its original, or its own."""

    label: int
    split: Split | None
    source: str
    file: Path


def recognises(path: Path) -> bool:
    """Whether a list of DFDC's is there, by its name and its first line."""
    if path.is_file():
        return path.name == METADATA or (path.name == LABELS and _begins(path, _HEADER))
    if not path.is_dir() or native.is_plain(native.sub_folders(path)):
        return False
    return any(_begins(file, _FIRST_VIDEO if file.name == METADATA else _HEADER) for file in _lists(path))


def read(path: Path, options: Options) -> Listing:
    """List the frames or videos that the lists name; what is wrong in these is a problem each."""
    root = path.parent if path.is_file() else path
    files = [path] if path.is_file() else _lists(path)
    rows: dict[str, _Row] = {}
    problems: list[str] = []
    for file in files:
        try:
            problems += _add(rows, file)
        except UserError as error:
            problems += error.lines
    if problems:
        return Listing(root, {}, tuple(problems))
    return _listing(root, files, rows, options)


def _listing(root: Path, lists: list[Path], rows: Mapping[str, _Row], options: Options) -> Listing:
    """The entries by split, with what is missing and what no list names."""
    videos = Videos(rows.__contains__, options.suffixes)
    tally = Tally()
    of_files = [(file, videos.of(file.path)) for file in native.walk(root, "", options, tally)]
    names = listed(dict.fromkeys(file.name for file in lists))
    unknown = [file.path for file, video in of_files if video is None and not file.excluded]
    problems, remarks = native.without_video(root, f"{names} names", unknown, len(of_files))
    if not of_files:
        problems.append(f"{root}: no {options.noun} ({native.endings(options)}) of the videos that {names} names")
    present = {video.name for _, video in of_files if video}
    for file in lists:
        in_list = [name for name, row in rows.items() if row.file == file]
        absent = [name for name in in_list if name not in present]
        more_problems, more_remarks = native.missing(
            file, f"videos are not below {root}", absent, len(in_list), "add them, or take them out of it"
        )
        problems += more_problems if of_files else []
        remarks += more_remarks
    splits = {rows[name].split for name in present}
    absent_rows = ((name, row) for name, row in rows.items() if name not in present)
    by_split = native.grouped(
        (rows[video.name].split if len(splits) > 1 else None, _entry(file, video, rows[video.name]))
        for file, video in of_files
        if video and not file.excluded
    )
    labels_from = f"labels come from {names} in {root}"
    problems += native.misplaced(root, options)
    missing = native.missing_videos(
        (row.split if len(splits) > 1 else None, _missing(name, row)) for name, row in absent_rows
    )
    return Listing(root, native.parts(by_split, labels_from), tuple(problems), tally.unused, tuple(remarks), missing)


def _missing(name: str, row: _Row) -> MissingVideo:
    return MissingVideo(name, row.label, joined_sources(row.source), f"{row.file.name} names it, and it is not there")


def _entry(file: File, video: Video, row: _Row) -> Entry:
    return native.entry(file, row.label, [row.source], video)


def _lists(path: Path) -> list[Path]:
    """The lists in a folder, or in its sub-folders where there are some."""
    folders = [path, *(path / name for name in native.sub_folders(path).values())]
    return [folder / name for folder in folders for name in (METADATA, LABELS) if os.path.lexists(folder / name)]


def _begins(file: Path, pattern: re.Pattern[bytes]) -> bool:
    if not file.is_file():
        return file.is_symlink()
    with file.open("rb") as opened:
        return pattern.match(opened.read(4096).removeprefix(b"\xef\xbb\xbf")) is not None


# ------------------------------------------------------------------------------------------- what the lists say
def _add(rows: dict[str, _Row], file: Path) -> list[str]:
    """Add a list's videos to `rows`; what is wrong with it, by kind."""
    wrong: dict[str, list[str]] = {}
    for name, record in _records(file):
        row = _row(file, name, record, wrong)
        stem = PurePosixPath(name.replace("\\", "/")).stem
        first = rows.setdefault(stem, row) if row else row
        if row and first and first.label != row.label:
            kind = f"{first.file} says the other label of it; correct one of them"
            wrong.setdefault(kind, []).append(quoted(name))
        elif first != row and first and first.file == file:
            kind = "another video is called so too, in another folder, split or of another original; rename one of them"
            wrong.setdefault(kind, []).append(quoted(name))
    return [f"{file}: {kind}: {listed(names, 5)}" for kind, names in wrong.items()]


def _records(file: Path) -> Iterable[tuple[str, Any]]:
    """The videos' names in a list, and what it says of each; `UserError` where it is another file."""
    if file.name == LABELS:
        return _csv_records(file)
    metadata = list_files.read_json(file)
    if not isinstance(metadata, dict) or not metadata:
        raise UserError(f'{file}: expected {{"<video>.mp4": {{"label": "REAL" or "FAKE"}}}}; found {quoted(metadata)}')
    return metadata.items()


def _csv_records(file: Path) -> Iterator[tuple[str, Any]]:
    for number, cells in enumerate(list_files.read_csv(file)[1:], start=2):
        if len(cells) == 2:
            yield cells[0].strip(), {"label": cells[1]}
        elif cells:
            raise UserError(f"{file}, line {number}: {len(cells)} cells; expected filename,label")


def _row(file: Path, name: str, record: Any, wrong: dict[str, list[str]]) -> _Row | None:
    """What a list says of one video; None where that is wrong."""
    values = record if isinstance(record, dict) else {}
    label = LABEL_WORDS.get(label_word(values.get("label")))
    if label is None:
        wrong.setdefault("the label must be REAL or FAKE", []).append(f"{quoted(name)} {quoted(values.get('label'))}")
        return None
    word = values.get("split")
    split = SPLIT_WORDS.get(str(word).lower()) if word else None
    if word and split is None:
        kind = f"the split is none of {', '.join(SPLIT_WORDS)}"
        wrong.setdefault(kind, []).append(f"{quoted(name)} {quoted(word)}")
        return None
    original = values.get("original")
    return _Row(label, split, PurePosixPath(original if isinstance(original, str) and original else name).stem, file)
