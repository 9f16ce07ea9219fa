"""What native layouts share: the files below a folder, the video that a file is of, and what lists miss.

Native layouts are the folders and lists in which whoever made a data set hands it out.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from bench.datasets import walking
from bench.datasets.layouts import SPLIT_WORDS, Attributes, Entry, Options, Part, Tally
from bench.errors import listed
from bench.records import CLASS_WORDS, VIDEO_SUFFIXES, MissingVideo, Split, evenly, joined_sources, label_word

MASKS = ("mask", "masks")
"""Folders that hold no frames, but where the frames beside them were changed."""

CALIBRATION_FRAMES = 128
MOST_MISSING = 0.1
"""Where more of what a list names is not there, the numbers would be those of another data set."""

_COUNTER = re.compile(r"[ _.-]+(?:frames?|faces?|img)?[ _.-]*\d+$|[ _.-]+(?:frames?|faces?|img)$", re.IGNORECASE)
"""What follows a video's name in the name of a frame: _003, .mp4_12, _frame_3."""

_ENDING_WITHIN = re.compile(r"^\.[A-Za-z][A-Za-z0-9]+(?=[ _.-])")
"""The ending of a video in the name of its frame: .mp4_12."""


class File(NamedTuple):
    """A file below a folder: its path from there, with forward slashes, and its whole one.

    An `excluded` file is no frame of the set, but is there: no list misses it.
    """

    path: str
    file: str
    size_bytes: int
    mtime_ns: int
    excluded: bool = False


class Video(NamedTuple):
    """The video of a file: its name, its path without an ending, and which of its frames the file is, if it is told."""

    name: str
    path: str
    frame_index: int | None


def sub_folders(path: Path) -> dict[str, str]:
    """The folders in a folder: their names as they are written, by their names in lower case; no hidden ones."""
    if not path.is_dir():
        return {}
    return {name.casefold(): name for name in walking.sub_folders(path)}


def endings(options: Options) -> str:
    """The endings that are meant, as messages name them."""
    return f"{', '.join(options.suffixes[:5])}{', …' if options.suffixes[5:] else ''}"


def is_plain(folders: Collection[str]) -> bool:
    """Whether sub-folders, in lower case, are those of the plain layout: classes or splits."""
    return any(label_word(name) in CLASS_WORDS or name in SPLIT_WORDS for name in folders)


def misplaced(path: Path, options: Options) -> list[str]:
    """What the experiment file says of a place, and whoever made the data set has said already."""
    words = {"columns": options.columns, "labels": options.labels}
    return [
        f"{path}: `{key}` is for folders and manifests; this is a data set as it is handed out, leave it out"
        for key, is_given in words.items()
        if is_given
    ]


def walk(top: Path, folder: str, options: Options, tally: Tally, skipped: Collection[str] = MASKS) -> Iterator[File]:
    """Every file below `top`/`folder` with one of the endings that are meant; links are followed, each folder once.

    Hidden files, folders called as in `skipped`, in lower case, and files of other endings are counted.
    """

    def is_entered(child: os.DirEntry[str]) -> bool:
        return not child.name.startswith(".") and child.is_dir() and child.name.casefold() not in skipped

    start = (top / folder, f"{folder}/") if folder else (top, "")
    for path, children in walking.walk(*start, is_entered):
        for child in children:
            if child.name.startswith("."):
                tally.add("hidden")
            elif child.is_dir():
                names = (name for _, _, names in os.walk(child.path) for name in names)
                tally.add("beside", child.name, sum(name.lower().endswith(options.suffixes) for name in names))
            elif child.name.lower().endswith(options.suffixes):
                yield as_file(child, path, options, tally)
            else:
                tally.add_file(child.name)


def as_file(child: os.DirEntry[str], prefix: str, options: Options, tally: Tally) -> File:
    """A file in the folder `prefix`; one that a pattern leaves out is counted."""
    status = child.stat(follow_symlinks=not walking.leads_nowhere(child))
    path = prefix + child.name
    if pattern := options.pattern_of(path):
        tally.add("excluded", pattern)
    return File(path, child.path, status.st_size, status.st_mtime_ns, pattern is not None)


class Videos:
    """Tells by its path which video a file is, or is a frame of.

    `is_video` tells whether a name, without an ending, is that of a video. A frame lies in a folder that is called
    like its video, or begins with its name: `<video>/003.png`, `<video>_003.png`, `<video>.mp4.jpg`. Folders further in
    may be called like videos too: they are of its faces or frames, `<video>/000/003.png`.
    """

    def __init__(self, is_video: Callable[[str], object], suffixes: tuple[str, ...]) -> None:
        self.is_video, self.endings = is_video, {*suffixes, *VIDEO_SUFFIXES}
        self.by_folder: dict[str, tuple[str, str] | None] = {}

    def of(self, path: str) -> Video | None:
        """The video of the file at `path`; None where no name in it is one."""
        folder, _, name = path.rpartition("/")
        if folder not in self.by_folder:
            self.by_folder[folder] = self._folder(folder)
        stem = self.without_ending(name)
        if video := self.by_folder[folder]:
            return Video(*video, frame_index(stem, video[0]))
        video_name = stem
        while not self.is_video(video_name):
            shorter = self.without_ending(_COUNTER.sub("", video_name))
            if shorter == video_name:
                return None
            video_name = shorter
        path = f"{folder}/{video_name}" if folder else video_name
        return Video(video_name, path, frame_index(stem, video_name))

    def _folder(self, folder: str) -> tuple[str, str] | None:
        """The outermost folder that is called like a video, and its path."""
        outer = ""
        for name in folder.split("/"):
            stem = self.without_ending(name)
            if self.is_video(stem):
                return stem, f"{outer}{stem}"
            outer += f"{name}/"
        return None

    def without_ending(self, name: str) -> str:
        """A name without the endings of pictures and videos, of which it may have two: `a.mp4.jpg`."""
        stem, ending = os.path.splitext(name)  # noqa: PTH122 - a Path for every file takes long
        return self.without_ending(stem) if stem and ending.lower() in self.endings else name


def frame_index(stem: str, video: str) -> int | None:
    """The number in a frame's name, without ending, after that of its video; None where there is none.

    Of several it is that after "frame", or the first: others count faces.
    """
    rest = _ENDING_WITHIN.sub("", stem.removeprefix(video))
    digits = re.search(r"frame[ _.-]*(\d+)", rest, re.IGNORECASE) or re.search(r"(\d+)", rest)
    return int(digits[1]) if digits else None


def entry(
    file: File,
    label: int | None,
    sources: Iterable[str],
    video: Video | None,
    attributes: Attributes = (),
) -> Entry:
    """A file as an entry; several sources are joined by `;`."""
    return Entry(
        file.path,
        file.file,
        label,
        joined_sources(*sources),
        file.size_bytes,
        file.mtime_ns,
        attributes,
        video.path if video else None,
        video.frame_index if video else None,
    )


def parts(
    by_split: Mapping[Split | None, Iterable[Entry]], labels_from: str, sharing: str = ""
) -> dict[Split | None, Part]:
    """Parts of the splits that have entries; where there is train and no calibration, calibration is drawn from it."""
    made: dict[Split | None, Part] = {
        split: Part(tuple(sorted(entries, key=lambda e: e.path)), labels_from, True, sharing)
        for split, entries in by_split.items()
        if entries
    }
    return with_calibration(made)


def with_calibration(parts: Mapping[Split | None, Part]) -> dict[Split | None, Part]:
    """The parts, and where there is train and no calibration, calibration drawn from it."""
    if "train" not in parts or "calibration" in parts:
        return dict(parts)
    train = parts["train"].entries
    drawn = tuple(train[index] for index in evenly(len(train), CALIBRATION_FRAMES))
    return {**parts, "calibration": replace(parts["train"], entries=drawn)}


def without_drawn(parts: Mapping[Split | None, Part]) -> dict[Split | None, Part]:
    """The parts without a calibration that is drawn from train: of videos it is drawn anew, from their frames."""
    train, calibration = (parts[split].entries if split in parts else () for split in ("train", "calibration"))
    is_drawn = {entry.file for entry in calibration} <= {entry.file for entry in train}
    return {split: part for split, part in parts.items() if split != "calibration" or not is_drawn}


def missing(file: Path, what: str, absent: Sequence[str], total: int, advice: str) -> tuple[list[str], list[str]]:
    """Problems and remarks where something that `file` names is not there: few of it are a remark."""
    if not absent:
        return [], []
    text = f"{file}: {len(absent):,} of {total:,} {what}: {listed(absent, 5)}"
    return ([f"{text}; {advice}"], []) if len(absent) > MOST_MISSING * total else ([], [f"{text}."])


def missing_videos(
    videos: Iterable[tuple[Split | None, MissingVideo]],
) -> dict[Split | None, tuple[MissingVideo, ...]]:
    """Videos that a list names and that have no file, by their split."""
    by_split: dict[Split | None, list[MissingVideo]] = defaultdict(list)
    for split, video in videos:
        by_split[split].append(video)
    return {split: tuple(of_split) for split, of_split in by_split.items()}


def without_video(root: Path, named_by: str, paths: Sequence[str], total: int) -> tuple[list[str], list[str]]:
    """Problems and remarks where files are of no video that is known, and so are left out."""
    if not paths:
        return [], []
    text = f"{root}: {len(paths):,} of {total:,} files are of no video that {named_by}: {listed(paths, 5)}"
    if len(paths) > MOST_MISSING * total:
        return [f"{text}; their names must begin with that of their video, or their folder be called like it"], []
    return [], [f"{text}. They are left out."]


def several_kinds(root: Path, files: Mapping[str, int]) -> list[str]:
    """A remark where frames lie in several folders of a kind, such as frames/ and crops/, by their numbers of files.

    The kind is empty for files in no such folder.
    """
    if len(files) < 2:
        return []
    counts = listed(f"{kind}/ ({count:,})" if kind else f"none ({count:,})" for kind, count in sorted(files.items()))
    advice = f"To leave one out, write {excluded(min(filter(None, files)))}"
    return [f"{root}: files of the same data set are read from several folders: {counts}. {advice}."]


def excluded(folder: str) -> str:
    """How the files of folders of this name are left out."""
    return f"`exclude: [{folder}]`"


def grouped(entries: Iterable[tuple[Split | None, Entry]]) -> dict[Split | None, list[Entry]]:
    """Entries by their split."""
    by_split: dict[Split | None, list[Entry]] = defaultdict(list)
    for split, item in entries:
        by_split[split].append(item)
    return by_split
