"""Folders `real/` and `fake/`, alone or inside split folders; or unlabelled frames in any folders.

A sub-folder below `real/` or `fake/` may be a video, a person or a forging method, so it is never
taken for a frame's source by itself: `source_pattern: '([^/]+)/[^/]+$'` says that it is one. The
first of them is the frame's attribute "folder".
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from bench.datasets.layouts import LABEL_WORDS, LEADS_NOWHERE, SPLIT_WORDS, SUFFIXES, Entry, Listing, Options, Part
from bench.datasets.layouts import read as read_any
from bench.errors import listed, nearest
from bench.records import Split

RANK = 20
SHAPE = f"folders real/ and fake/ with {', '.join(s[1:] for s in SUFFIXES)} inside, or test/, validation/ … with those"


def recognises(path: Path) -> bool:
    return path.is_dir()


def read(path: Path, options: Options) -> Listing:
    """List the frames of a folder, by label and split where its sub-folders are called so."""
    if lost := _lost_folders(path):
        return Listing(path, {}, (f"{path}: {listed(lost)}: {LEADS_NOWHERE}",))
    folders = _sub_folders(path)
    labelled = [name for name in folders if name.lower() in ("real", "fake")]
    splits = [name for name in folders if name.lower() in SPLIT_WORDS]
    if wrong := _misunderstood(labelled, splits, options):
        return Listing(path, {}, (f"{path}: {wrong}",))
    if splits:
        return _read_splits(path, splits, options)
    if labelled:
        return Listing(path, {None: _labelled(path, labelled, options.suffixes)})
    entries = tuple(sorted(_walk(path, "", None, options.suffixes), key=lambda entry: entry.path))
    if not entries:
        return Listing(path, {}, (f"{path}: {_nothing(folders, options.suffixes)}",))
    return Listing(path, {None: Part(entries, f"{path} has no folders real/ and fake/, {_holds(folders)}")})


def _misunderstood(labelled: list[str], splits: list[str], options: Options) -> str:
    """What these folders leave unclear, or what was said of them that means nothing; empty where all is clear."""
    if labelled and splits:
        both = listed(f"{name}/" for name in labelled + splits)
        return f"holds {both} side by side; expected either real/ and fake/, or split folders with those inside"
    if splits or not options.columns:
        return ""
    return "`columns` are those of a manifest, and there is none; leave them out"


def _labelled(path: Path, folders: list[str], suffixes: tuple[str, ...]) -> Part:
    entries = [e for name in folders for e in _walk(path / name, f"{name}/", LABEL_WORDS[name.lower()], suffixes)]
    labels_from = f"labels come from the folders real/ and fake/ in {path}; frames are {', '.join(suffixes)}"
    return Part(tuple(sorted(entries, key=lambda entry: entry.path)), labels_from)


def _read_splits(path: Path, folders: list[str], options: Options) -> Listing:
    """List the frames of each split folder; a split that stands twice or is split again is a problem."""
    parts: dict[Split | None, Part] = {}
    problems: list[str] = []
    for name in folders:
        split = SPLIT_WORDS[name.lower()]
        inside = read_any(path / name, options)
        problems += inside.problems
        if split in parts:
            problems.append(
                f"{path}: two folders for {split}: {listed(f for f in folders if SPLIT_WORDS[f.lower()] == split)}"
            )
        if None in inside.parts:
            parts[split] = inside.parts[None]
        elif inside.parts:
            problems.append(f"{path / name}: split once more inside; expected real/ and fake/, or frames")
    return Listing(path, parts, tuple(problems))


def _sub_folders(path: Path) -> list[str]:
    with os.scandir(path) as children:
        return sorted(child.name for child in children if not child.name.startswith(".") and child.is_dir())


def _lost_folders(path: Path) -> list[str]:
    """Splits and labels that are links to what is not there."""
    meant = {*SPLIT_WORDS, "real", "fake"}
    with os.scandir(path) as children:
        return sorted(child.name for child in children if child.name.lower() in meant and _leads_nowhere(child))


def _leads_nowhere(child: os.DirEntry[str]) -> bool:
    return child.is_symlink() and not os.path.exists(child.path)  # noqa: PTH110 - a Path for every file takes long


def _walk(folder: Path, prefix: str, label: int | None, suffixes: tuple[str, ...]) -> Iterator[Entry]:
    """Every frame below `folder`; hidden files and folders are left out, links are followed, once.

    What is called like a frame is one, whatever it is: reading finds out. So is a link to what is not there, which
    may have been a folder of frames.
    """
    pending, seen = [(str(folder), prefix)], set[str]()
    while pending:
        current, prefix = pending.pop()
        real = os.path.realpath(current)
        if real in seen:
            continue
        seen.add(real)
        attributes = () if label is None else _attributes(prefix)
        with os.scandir(current) as children:
            for child in children:
                if child.name.startswith("."):
                    continue
                lost = _leads_nowhere(child)
                if not lost and child.is_dir():
                    pending.append((child.path, f"{prefix}{child.name}/"))
                elif child.name.lower().endswith(suffixes) or (lost and "." not in child.name):
                    stat = child.stat(follow_symlinks=not lost)
                    path = prefix + child.name
                    yield Entry(path, child.path, label, None, stat.st_size, stat.st_mtime_ns, attributes)


def _attributes(prefix: str) -> tuple[tuple[str, str], ...]:
    """The first folder of "real/method/video/"; nothing for "real/" itself."""
    folders = prefix.split("/")
    return (("folder", folders[1]),) if folders[1] else ()


def _holds(folders: list[str]) -> str:
    if not folders:
        return "only frames"
    hints = (hint for word in ("real", "fake") if (hint := nearest(word, folders)))
    return f"but {listed((f'{name}/' for name in folders), 5)}{next(hints, '')}"


def _nothing(folders: list[str], suffixes: tuple[str, ...]) -> str:
    inside = f"among {listed((f'{name}/' for name in folders), 5)}" if folders else "and no folders"
    return f"no frames ({', '.join(suffixes)}) {inside}. Expected {SHAPE}, or a manifest.csv"
