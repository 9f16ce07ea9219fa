"""Celeb-DF (v1, v2): Celeb-real/, YouTube-real/ and Celeb-synthesis/, with List_of_testing_videos.txt.

Files lie in these folders, or anywhere below them: `videos/<video>.mp4`, `frames/<video>/003.png`, `<video>_003.png`,
`<video>.mp4.jpg`. The list, beside the folders or in the folder above, names the test videos; the others are train. In
the list 1 is real. Without it nothing is split. A video's sources are the persons in its name: `id0_id1_0001` is of
id0 and id1, and every YouTube video is one of its own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from bench.datasets import list_files, native
from bench.datasets.layouts import Entry, Listing, Options, Tally
from bench.datasets.native import File, Video, Videos
from bench.errors import UserError, listed, quoted
from bench.records import MissingVideo, Split, joined_sources

RANK = 14
SHAPE = "Celeb-DF's Celeb-real/, YouTube-real/ and Celeb-synthesis/, with List_of_testing_videos.txt"

CLASSES: Mapping[str, int] = {"celeb-real": 0, "youtube-real": 0, "celeb-synthesis": 1}
_WRITTEN = ("Celeb-real", "YouTube-real", "Youtube-real", "Celeb-synthesis", *CLASSES)
LIST = "List_of_testing_videos.txt"
SHARING = f"{LIST} names the test videos and the others are train, as Celeb-DF has it; the same persons are in both"
VIDEO = re.compile(r"(id\d+)_(?:(id\d+)_)?\d{4}|(\d{5})")
"""id0_0001, id0_id1_0001, 00170; the groups are its sources."""

_LINE = re.compile(r"([01])\s+([^/\\]+)[/\\](\S+)")

Key = tuple[str, str]
"""A video: its folder in lower case, and its name without an ending."""


def recognises(path: Path) -> bool:
    """Whether there are Celeb-DF's folders, or its list with them one folder deeper; by a few names alone."""
    has_folders = any((path / name).is_dir() for name in _WRITTEN)
    if not has_folders and not (path / LIST).exists():
        return False
    return not native.is_plain(native.sub_folders(path)) and (has_folders or bool(_roots_below(path)))


def read(path: Path, options: Options) -> Listing:
    """List the frames or videos by class, and by split where there is the list of test videos."""
    tally = Tally()
    roots = {path: list(_files(path, options, tally))}
    if not roots[path]:
        for below in _roots_below(path):
            roots[below] = list(_files(below, options.inside(below.name), tally))
    roots = {root: files for root, files in roots.items() if files} or {path: []}
    if len(roots) > 1:
        which = listed(f"{folder.name}/ ({len(files):,} files)" for folder, files in roots.items())
        return Listing(path, {}, (f"{path}: holds Celeb-DF several times: {which}; write the path of one of them",))
    ((root, files),) = roots.items()
    try:
        return _listing(root, files, options, tally)
    except UserError as error:
        return Listing(root, {}, error.lines)


def _listing(root: Path, files: list[File], options: Options, tally: Tally) -> Listing:
    """The entries of both splits, or unsplit, with what is missing and what is unknown; `UserError` of a wrong list."""
    list_file = _list_file(root)
    tested = _read_list(list_file) if list_file else None
    in_list = tested or {}
    names = {name for _, name in in_list}
    videos = Videos(lambda name: name in names or VIDEO.fullmatch(name) is not None, options.suffixes)
    of_files = [(file, videos.of(file.path)) for file in files]
    by_split = native.grouped(
        (_split(_key(video), tested), _entry(file, video)) for file, video in of_files if video and not file.excluded
    )
    present = {_key(video) for _, video in of_files if video}
    absent = {key: written for key, written in in_list.items() if key not in present}
    problems, remarks = native.missing(
        list_file or root, f"test videos are not below {root}", list(absent.values()), len(in_list),
        "add them, or take their lines out of the list; the numbers are then not those of Celeb-DF's test videos",
    )  # fmt: skip
    unknown = [file.path for file, video in of_files if video is None and not file.excluded]
    more_problems, more_remarks = native.without_video(root, "Celeb-DF has (id0_0001, 00170)", unknown, len(files))
    kinds = Counter(_kind(file.path, video) for file, video in of_files if video and not file.excluded)
    labels_from = f"labels come from Celeb-DF's folders in {root}"
    if not files:
        problems.append(f"{root}: no {options.noun} ({native.endings(options)}) in its folders of Celeb-DF")
    return Listing(
        root,
        native.parts(by_split, labels_from, SHARING),
        (*native.misplaced(root, options), *problems, *more_problems),
        tally.unused,
        (*remarks, *more_remarks, *native.several_kinds(root, kinds)),
        {"test": tuple(_missing(key, written) for key, written in absent.items())} if absent else {},
    )


def _missing(key: Key, written: str) -> MissingVideo:
    folder, name = key
    reason = f"{LIST} names it, and it is not there"
    return MissingVideo(written, CLASSES[folder], joined_sources(*sources(name)), reason)


def _classes(root: Path) -> list[str]:
    """Celeb-DF's folders, as they are written."""
    return [name for lower, name in native.sub_folders(root).items() if lower in CLASSES]


def _roots_below(path: Path) -> list[Path]:
    """Folders in a folder that hold Celeb-DF, such as crops/, where they are not its own."""
    return [
        path / name
        for lower, name in native.sub_folders(path).items()
        if lower not in CLASSES and _classes(path / name)
    ]


def _files(root: Path, options: Options, tally: Tally) -> Iterator[File]:
    for name in _classes(root):
        yield from native.walk(root, name, options, tally)


def _list_file(root: Path) -> Path | None:
    candidates = (root / LIST, root.parent / LIST)
    return next((file for file in candidates if file.is_symlink() or file.exists()), None)


def _read_list(file: Path) -> dict[Key, str]:
    """The test videos, as they are written; `UserError` with every line that is none of the list's.

    In the file 1 is real and 0 fake.
    """
    tested: dict[Key, str] = {}
    wrong = []
    for number, line in enumerate(list_files.read_lines(file), start=1):
        match = _LINE.fullmatch(line.strip())
        if match is None or match[2].casefold() not in CLASSES:
            if line.strip():
                wrong.append(f"line {number} {quoted(line.strip())}")
            continue
        folder = match[2].casefold()
        if 1 - int(match[1]) != CLASSES[folder]:
            expected = f"{match[2]}/ is {('real', 'fake')[CLASSES[folder]]}, and in this list 1 is real, 0 fake"
            raise UserError(f"{file}, line {number}: {quoted(line.strip())}: {expected}")
        tested[folder, Path(match[3]).stem] = f"{match[2]}/{match[3]}"
    if wrong:
        expected = "expected lines such as `1 Celeb-real/id0_0001.mp4` (1 is real)"
        raise UserError(f"{file}: {expected}: {listed(wrong, 5)}")
    if not tested:
        raise UserError(f"{file}: names no video; fetch it again, or leave it out to have nothing split")
    return tested


def _key(video: Video) -> Key:
    return video.path.split("/", 1)[0].casefold(), video.name


def _split(key: Key, tested: Mapping[Key, str] | None) -> Split | None:
    if tested is None:
        return None
    return "test" if key in tested else "train"


def _entry(file: File, video: Video) -> Entry:
    folder = file.path.split("/", 1)[0]
    return native.entry(file, CLASSES[folder.casefold()], sources(video.name), video, (("folder", folder),))


@lru_cache(maxsize=2**16)
def sources(name: str) -> tuple[str, ...]:
    """The persons in a video's name, or the YouTube video that it is; nothing where the name is another."""
    match = VIDEO.fullmatch(name)
    return tuple(group for group in match.groups() if group) if match else ()


def _kind(path: str, video: Video) -> str:
    """The folder between Celeb-DF's and the video, such as frames; empty where there is none."""
    folders = path.split("/")[1:-1]
    return folders[0] if folders and not folders[0].startswith(video.name) else ""
