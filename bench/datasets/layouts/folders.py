"""Folders `real/` and `fake/`, alone or inside split folders; or unlabelled frames in any folders.

Split folders may also lie inside of the classes, `real/train/`, `fake/DF/test/`, if all frames do: then these are the
splits. Other names for the two classes are given by `labels`. A sub-folder below a class may be a video, a person or a
forging method, so it is never taken for a frame's source by itself: `source_pattern: '([^/]+)/[^/]+$'` says that it
is one. The first of them is the frame's attribute "folder"; where a class has several folders, these are.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bench.datasets import label_hints, walking
from bench.datasets.label_hints import in_list
from bench.datasets.layouts import (
    LEADS_NOWHERE,
    SPLIT_WORDS,
    Attributes,
    Entry,
    Listing,
    Options,
    Part,
    Tally,
    read_folder,
)
from bench.datasets.walking import leads_nowhere, sub_folders
from bench.errors import listed, nearest, shown
from bench.records import CLASS_WORDS, VIDEO_SUFFIXES, Split, Unused

RANK = 20
SHAPE = "folders real/ and fake/ with jpg, png, webp … inside, or test/, validation/ … with those"


def recognises(path: Path) -> bool:
    return path.is_dir()


def read(path: Path, options: Options) -> Listing:
    """List the frames of a folder, by label and split where its sub-folders are called so."""
    if lost := _lost_folders(path, options):
        return Listing(path, {}, (f"{path}: {listed(lost)}: {LEADS_NOWHERE}",))
    folders = sub_folders(path)
    labelled = {name: label for name in folders if (label := options.folder_label(name)) is not None}
    splits = [name for name in folders if name.lower() in SPLIT_WORDS and name not in labelled]
    if wrong := _misunderstood(list(labelled), splits, options):
        return Listing(path, {}, (f"{path}: {wrong}",))
    walk = _Walk(options, Tally())
    if splits:
        walk.count_beside(path, splits)
        return _read_splits(path, splits, walk)
    if labelled:
        walk.count_beside(path, labelled)
        parts, problems = _by_split_inside(path, _labelled(path, labelled, walk))
        return Listing(path, parts, problems, walk.tally.unused)
    entries = tuple(sorted(walk.below(path, ""), key=lambda entry: entry.path))
    if not entries:
        return Listing(path, {}, (f"{path}: {_nothing(folders, options, walk.tally.unused)}",))
    labels_from = f"{path} has no folders real/ and fake/, {_holds(path, folders)}"
    return Listing(path, {None: Part(entries, labels_from)}, unused=walk.tally.unused)


def _misunderstood(labelled: list[str], splits: list[str], options: Options) -> str:
    """What these folders leave unclear, or what was said of them that means nothing; empty where all is clear."""
    if labelled and splits:
        both = listed(f"{name}/" for name in labelled + splits)
        return f"holds {both} side by side; expected either real/ and fake/, or split folders with those inside"
    if splits or not options.columns:
        return ""
    return "`columns` are those of a manifest, and there is none; leave them out"


def _labelled(path: Path, folders: Mapping[str, int], walk: _Walk) -> Part:
    """The frames of the folders that stand for a class, by their labels."""
    several = {label for label in folders.values() if list(folders.values()).count(label) > 1}
    entries: list[Entry] = []
    for name, label in folders.items():
        method = (("folder", name),) if label in several else None
        entries += walk.below(path / name, f"{name}/", label, method)
    names = [f"{name}/" for name in folders] if walk.options.labels else ["real/", "fake/"]
    labels_from = f"labels come from the folders {' and '.join(names)} in {path}"
    beside = [unused.name for unused in walk.tally.unused if unused.kind == "beside" and unused.name]
    if beside and len(set(folders.values())) == 1:
        labels_from += f", {_holds(path, beside)}"
    if not entries:
        labels_from += _of_videos(walk.tally.unused, walk.options)
    return Part(tuple(sorted(entries, key=lambda entry: entry.path)), labels_from)


def _by_split_inside(path: Path, part: Part) -> tuple[dict[Split | None, Part], tuple[str, ...]]:
    """Frames of both classes by the split folders that they lie in below these, and what is wrong with those."""
    by_split: dict[Split | None, list[Entry]] = {}
    for entry in part.entries:
        _, *inside, _ = entry.path.split("/")
        names = {SPLIT_WORDS[folder.lower()] for folder in inside if folder.lower() in SPLIT_WORDS}
        by_split.setdefault(names.pop() if len(names) == 1 else None, []).append(_without_split(entry))
    named = by_split.keys() - {None}
    if len(named) < 2 or None not in by_split:
        # A single folder that is called so may be a person's, a method's or a category's.
        parts = {split: replace(part, entries=tuple(entries)) for split, entries in by_split.items()}
        return (parts if len(named) > 1 else {None: part}), ()
    splits = listed(sorted(f"{split}" for split in by_split if split))
    return {None: part}, (
        f"{path}: {len(by_split[None]):,} of {len(part.entries):,} frames lie in no split folder, such as "
        f"{by_split[None][0].path}, and others in folders for {splits} inside of the classes; expected all in one, or "
        "split folders with real/ and fake/ inside",
    )


def _without_split(entry: Entry) -> Entry:
    """The same, whose attribute "folder" is that below its split."""
    label, *inside, _ = entry.path.split("/")
    kept_folders = [folder for folder in inside if folder.lower() not in SPLIT_WORDS]
    if len(kept_folders) == len(inside) or entry.attributes != _attributes("/".join([label, *inside, ""])):
        return entry
    return replace(entry, attributes=_attributes("/".join([label, *kept_folders, ""])))


def _read_splits(path: Path, folders: list[str], walk: _Walk) -> Listing:
    """List the frames of each split folder; a split that stands twice or is split again is a problem."""
    parts: dict[Split | None, Part] = {}
    problems: list[str] = []
    unused = list(walk.tally.unused)
    for name in folders:
        split = SPLIT_WORDS[name.lower()]
        inside = read_folder(path / name, walk.options.inside(name))
        problems += inside.problems
        unused += (_below(name, of_split) for of_split in inside.unused)
        if split in parts:
            problems.append(
                f"{path}: two folders for {split}: {listed(f for f in folders if SPLIT_WORDS[f.lower()] == split)}"
            )
        if None in inside.parts:
            parts[split] = inside.parts[None]
        elif inside.parts:
            problems.append(f"{path / name}: split once more inside; expected real/ and fake/, or frames")
    return Listing(path, parts, tuple(problems), _summed(unused))


def _below(folder: str, unused: Unused) -> Unused:
    """What is unused in a split's folder, named as it is seen from above."""
    return Unused("beside", f"{folder}/{unused.name}", unused.count) if unused.kind == "beside" else unused


def _summed(unused: Iterable[Unused]) -> tuple[Unused, ...]:
    tally = Tally()
    for each in unused:
        tally.add(each.kind, each.name, each.count)
    return tally.unused


def _lost_folders(path: Path, options: Options) -> list[str]:
    """Splits and labels that are links to what is not there."""
    with os.scandir(path) as children:
        return sorted(
            child.name
            for child in children
            if (child.name.lower() in SPLIT_WORDS or options.folder_label(child.name) is not None)
            and leads_nowhere(child)
        )


class _Walk:
    """Lists the frames of folders, and counts in `tally` what else lies there.

    Hidden files and folders are left out, links are followed, once. What is called like a frame is one, whatever it
    is: reading finds out. So is a link to what is not there, which may have been a folder of frames.
    """

    def __init__(self, options: Options, tally: Tally) -> None:
        self.options, self.tally = options, tally

    def below(
        self, folder: Path, prefix: str, label: int | None = None, method: Attributes | None = None
    ) -> Iterator[Entry]:
        """Every frame below `folder`, whose own path is `prefix`; `method` is given where no sub-folder tells it."""
        for path, children in walking.walk(folder, prefix, _is_entered):
            attributes = method if method is not None else () if label is None else _attributes(path)
            for child in children:
                lost = leads_nowhere(child)
                if self._is_frame(child, path, lost):
                    stat = child.stat(follow_symlinks=not lost)
                    yield Entry(path + child.name, child.path, label, None, stat.st_size, stat.st_mtime_ns, attributes)

    def count_beside(self, path: Path, meant: Collection[str]) -> None:
        """Count frames beside the folders that are meant by the folder that they lie in, "" for `path` itself."""
        with os.scandir(path) as children:
            for child in sorted(children, key=lambda child: child.name):
                if child.name.startswith(".") or not child.is_dir():
                    if self._is_frame(child, "", leads_nowhere(child)):
                        self.tally.add("beside")
                elif child.name not in meant:
                    count = sum(1 for _ in self.below(Path(child.path), f"{child.name}/"))
                    self.tally.add("beside", child.name, count)

    def _is_frame(self, child: os.DirEntry[str], prefix: str, lost: bool) -> bool:
        """Whether a file is meant as a frame; one that is none is counted."""
        name = child.name
        if name.startswith("."):
            self.tally.add("hidden")
        elif pattern := self.options.pattern_of(prefix + name):
            self.tally.add("excluded", pattern)
        elif name.lower().endswith(self.options.suffixes) or (lost and "." not in name):
            return True
        else:
            self.tally.add_file(name)
        return False


def _is_entered(child: os.DirEntry[str]) -> bool:
    return not child.name.startswith(".") and not leads_nowhere(child) and child.is_dir()


def _attributes(prefix: str) -> Attributes:
    """The first folder of "real/method/video/"; nothing for "real/" itself."""
    folders = prefix.split("/")
    return (("folder", folders[1]),) if folders[1] else ()


def _holds(path: Path, folders: Sequence[str]) -> str:
    """What lies in a folder instead of the two classes, and what to write."""
    if not folders:
        return "only frames"
    inside = label_hints.folder_between(path, folders)
    if inside:
        hint = f": real and fake lie in {inside}/; give the path {shown(str(path / inside))}"
    else:
        hint = label_hints.hint(folders) or next(
            (hint for word in CLASS_WORDS if (hint := _misprint(word, folders))), ""
        )
    return f"but {listed((f'{name}/' for name in folders), 5)}{hint}"


def _misprint(word: str, folders: Sequence[str]) -> str:
    """A hint where a folder is nearly called like a class."""
    close = next((name for name in folders if nearest(name, [word])), "")
    return (
        f" (is {close}/ meant as {word}/? Rename it, or write `labels: {{{word}: [{in_list(close)}]}}`)"
        if close
        else ""
    )


def _of_videos(unused: Sequence[Unused], options: Options) -> str:
    """What to write where videos lie in the place of frames; empty where none do."""
    videos = any(part.kind == "video" for part in unused) and not set(options.suffixes) & {*VIDEO_SUFFIXES}
    return "; these are videos: write `extract: {frames: 32}` beside `path`, and frames are taken out" if videos else ""


def _nothing(folders: Sequence[str], options: Options, unused: Sequence[Unused]) -> str:
    """What is said of a folder without frames."""
    inside = f"among {listed((f'{name}/' for name in folders), 5)}" if folders else "and no folders"
    endings = ", ".join(sorted({part.name or "without ending" for part in unused if part.kind != "hidden"}))
    holds = f"; it holds {listed(f'{part.count:,} {part.name}' for part in unused if part.name)}" if endings else ""
    advice = _of_videos(unused, options)
    if options.noun == "videos":
        expected = f"({', '.join(options.suffixes[:5])}, …) {inside}{holds}"
        return f"no videos {expected}. Expected folders real/ and fake/ with videos inside, or a manifest.csv"
    return f"no frames ({', '.join(options.suffixes)}) {inside}{holds}{advice}. Expected {SHAPE}, or a manifest.csv"
