"""From an entry of the experiment file to validated, digested frames, split by split."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from bench.datasets import masks
from bench.datasets.accounts import mask_remarks, unused_remarks
from bench.datasets.copies import copy_remarks
from bench.datasets.digests import Digests, digest_files, of_set
from bench.datasets.layouts import Entry
from bench.datasets.locating import Located, frames_of, gather
from bench.datasets.missing import missing_videos
from bench.datasets.plausibility import source_remarks
from bench.datasets.refusals import refuse, unmatched_patterns, wrong_labels, wrong_names, wrong_sources
from bench.datasets.settings import FrameSetSettings
from bench.datasets.sharing import agreed, shared_by_design
from bench.datasets.splits import (
    alike_sources,
    inseparable,
    shared_among_judged,
    shared_content,
    shared_sources,
    shared_videos,
    split_by_source,
    unknown_sources,
    unknown_sources_in_auto,
)
from bench.errors import listed
from bench.records import SPLITS, Frame, FrameSet, OnEvent, Split, Unused, silent


@dataclass(frozen=True)
class Listed:
    """A frame set as its files' names and its manifests tell it; no frame was read yet."""

    name: str
    settings: FrameSetSettings
    parts: Mapping[Split | None, Located]
    frames: Mapping[Split | None, tuple[Frame, ...]]
    unused: Mapping[Path, tuple[Unused, ...]]
    remarks: tuple[str, ...] = ()
    sharing: str = ""

    @property
    def sets(self) -> dict[Split, FrameSet] | None:
        """Its splits with frames of unknown content; None where their content decides which split they belong to."""
        if self.settings.split == "auto":
            return None
        splits = {split or "test": frames for split, frames in self.frames.items()}
        return {s: FrameSet(self.name, s, splits[s], "", "") for s in SPLITS if s in splits}


@dataclass(frozen=True)
class _Checked:
    """The usable frames of a part, "path: what is wrong" for those that were left out, and paths of masks.

    `unread` are the paths of frames that nobody has read yet.
    """

    frames: tuple[Frame, ...]
    left_out: tuple[str, ...]
    masks: tuple[str, ...]
    unread: frozenset[str]


def load(
    name: str,
    settings: FrameSetSettings,
    base: Path,
    cache: Path,
    on_event: OnEvent = silent,
    *,
    on_bad_frame: Literal["error", "skip"] = "error",
) -> dict[Split, FrameSet]:
    """The frame set `name`: its splits, frames sorted by path; `test` is always among them.

    `base` is the folder that paths are relative to, `cache` a folder for remembered digests. Files
    that can't be decoded are errors, or with `skip` left out, as long as they are the fewer; under
    `split: auto` they stand with `test`. Everything that is wrong is listed in one `UserError`; what
    can be said without reading the frames is said before reading them.
    """
    return read(find(name, settings, base), cache, on_event, on_bad_frame=on_bad_frame)


def find(name: str, settings: FrameSetSettings, base: Path) -> Listed:
    """What lies at the locations of the frame set `name`; all that is wrong by names alone is one `UserError`."""
    gathered = gather(settings, base)
    parts, problems, remarks = gathered.parts, list(gathered.problems), list(gathered.remarks)
    undigested, of_sources = frames_of(parts)
    remarks += of_sources
    for split, located in parts.items():
        problems += [*wrong_names(located), *wrong_labels(split or "test", located.part)]
        # A video is a source of its own; its frames are not there yet.
        auto = settings.split == "auto" and not settings.extract
        problems += wrong_sources(located, undigested[split], auto)
    problems += unmatched_patterns(list(parts.values()), list(undigested.values()))
    shared = shared_sources({split: frames for split, frames in undigested.items() if split})
    for root in {located.root for located in parts.values()}:
        # Another folder's manifest may call another video the same.
        of_root = {split: undigested[split] for split, located in parts.items() if split and located.root == root}
        problems += shared_videos(of_root)
    if sharing := agreed({(located.root, located.part.sharing) for located in parts.values()}):
        remarks += shared_by_design(sharing, undigested)
    elif not shared:
        remarks += alike_sources({split: frames for split, frames in undigested.items() if split})
    refuse(name, problems + ([] if sharing or not shared else [*shared, *of_sources]))
    return Listed(name, settings, parts, undigested, gathered.unused, tuple(remarks), sharing)


def read(
    listing: Listed,
    cache: Path,
    on_event: OnEvent = silent,
    *,
    on_bad_frame: Literal["error", "skip"] = "error",
    reads: bool = True,
) -> dict[Split, FrameSet]:
    """The frame set with every file read, new ones decoded; as `load` says.

    Without `reads`, no file is read: what is remembered counts, new files are taken for frames and `unread`, and the
    digests of splits that have such are empty.
    """
    name, settings, parts, undigested = listing.name, listing.settings, listing.parts, listing.frames
    digests = digest_files(name, _by_root(parts.values()), cache, on_event, reads=reads)
    faults = digests.faults
    if on_bad_frame == "error":
        advice = "replace these files, or leave them out with `on_bad_frame: skip`"
        refuse(name, [f"{file}: {faults[file]}" for file in sorted(faults)], most=len(faults), advice=advice)
    checked = {split: _checked(frames, parts[split].part.entries, digests) for split, frames in undigested.items()}
    refuse(name, [problem for split, located in parts.items() for problem in _too_few(split, located, checked[split])])
    is_auto = settings.split == "auto"
    splits = _splits({split: part.frames for split, part in checked.items()}, is_auto)
    whole, joined = inseparable(splits) if is_auto else ([], ())
    refuse(name, shared_content(splits) + whole)
    sets = {
        s: _frame_set(name, s, splits[s], checked[s if s in checked else None], s == "test" or not is_auto)
        for s in SPLITS
        if s in splits
    }
    remarks = {s: list(unknown_sources(s, frames, _pattern(parts, s))) for s, frames in splits.items()}
    if is_auto:
        remarks = {"test": list(unknown_sources_in_auto([frame for frames in splits.values() for frame in frames]))}
    remarks["test"] = [
        *listing.remarks,
        *_of_patterns(listing),
        *joined,
        *remarks["test"],
        *shared_among_judged(splits),
    ]
    for root, unused in listing.unused.items():
        remarks["test"] += unused_remarks(root, unused)
    for split, frames in sets.items():
        remarks.setdefault(split, []).extend((*copy_remarks(frames), *mask_remarks(frames)))
    sets["test"] = masks.read(name, sets["test"], cache, on_event, reads=reads)
    remarks["test"] += sets["test"].remarks
    missing = missing_videos(parts, undigested, splits)
    sets = {split: replace(frames, missing=missing.get(split, ())) for split, frames in sets.items()}
    unused_everywhere = tuple(each for unused in listing.unused.values() for each in unused)
    sets["test"] = replace(sets["test"], unused=unused_everywhere, sharing=listing.sharing)
    return {split: replace(frames, remarks=tuple(remarks.get(split, ()))) for split, frames in sets.items()}


def _of_patterns(listing: Listed) -> Iterator[str]:
    """What a reader must know of the sources that each `source_pattern` gives."""
    patterns: dict[str, list[Frame]] = {}
    for split, located in listing.parts.items():
        unnamed = {entry.path for entry in located.unnamed}
        if located.pattern:
            frames = patterns.setdefault(located.pattern, [])
            frames += [frame for frame in listing.frames[split] if frame.path in unnamed]
    for pattern, frames in patterns.items():
        yield from source_remarks(pattern, [frame.path for frame in frames], [frame.source for frame in frames])


def refuse_shared_content(name: str, splits: Mapping[Split, FrameSet]) -> None:
    """Raise `UserError` where a frame of the set `name` is judged, and learned from though it is of another set.

    Sources are not compared: in two data sets the same name stands for two videos. Frames that are not drawn yet have
    no content.
    """
    refuse(name, shared_content({split: frames.frames if frames.digest else () for split, frames in splits.items()}))


def _pattern(parts: Mapping[Split | None, Located], split: Split) -> str | None:
    located = parts.get(split, parts.get(None))
    return located.pattern if located else None


def _checked(frames: Sequence[Frame], entries: Sequence[Entry], digests: Digests) -> _Checked:
    pairs = list(zip(frames, (entry.file for entry in entries), strict=True))
    return _Checked(
        tuple(replace(frame, digest=digests.frames[file]) for frame, file in pairs if file in digests.frames),
        tuple(f"{frame.path}: {digests.faults[file]}" for frame, file in pairs if file in digests.faults),
        tuple(frame.path for frame, file in pairs if file in digests.masks),
        frozenset(frame.path for frame, file in pairs if file in digests.unread) if digests.unread else frozenset(),
    )


def _too_few(split: Split | None, located: Located, checked: _Checked) -> list[str]:
    """What is wrong with the frames that are left where some were left out."""
    total, bad = len(located.part.entries), len(checked.left_out)
    where = split or "frames"
    if 2 * bad > total:
        return [
            f"{where}: {bad} of {total} files below {located.root} can't be decoded, too many to leave out: "
            f"{listed(checked.left_out, 5)}"
        ]
    why = [f"{bad} files that can't be decoded"] * bool(bad)
    why += [f"{len(checked.masks)} masks, of two greys,"] * bool(checked.masks)
    if not why:
        return []
    usable = {frame.path for frame in checked.frames}
    entries = tuple(entry for entry in located.part.entries if entry.path in usable)
    problems = wrong_labels(split or "test", replace(located.part, entries=entries))
    return [f"{problem} (after {' and '.join(why)} were left out)" for problem in problems]


def _by_root(parts: Iterable[Located]) -> dict[Path, list[Entry]]:
    roots: dict[Path, list[Entry]] = {}
    for located in parts:
        roots.setdefault(located.root, []).extend(located.part.entries)
    return roots


def _splits(frames: Mapping[Split | None, tuple[Frame, ...]], auto: bool) -> dict[Split, tuple[Frame, ...]]:
    if auto:
        return split_by_source(frames[None])
    return {split or "test": of_split for split, of_split in frames.items()}


def _frame_set(name: str, split: Split, frames: tuple[Frame, ...], checked: _Checked, stands_here: bool) -> FrameSet:
    """A split of the part `checked`; whether what was left out of that part stands with this split."""
    left_out, masks = (checked.left_out, checked.masks) if stands_here else ((), ())
    if checked.unread:
        unread = sum(frame.path in checked.unread for frame in frames)
        return FrameSet(name, split, frames, "", "", left_out, masks=masks, unread=unread)
    digest = of_set((frame.path, frame.label, frame.source, frame.digest) for frame in frames)
    content = hashlib.sha256()
    for frame in frames:
        content.update(bytes.fromhex(frame.digest))
    return FrameSet(name, split, frames, digest, content.hexdigest(), left_out, masks=masks)
