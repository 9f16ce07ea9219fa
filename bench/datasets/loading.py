"""From an entry of the experiment file to validated, digested frames, split by split."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.datasets import layouts
from bench.datasets.digests import digest_files
from bench.datasets.layouts import Entry, Part
from bench.datasets.settings import FrameSetSettings, Place
from bench.datasets.splits import shared_content, shared_sources, split_by_source
from bench.errors import UserError, listed
from bench.records import LABELLED_SPLITS, SPLITS, Frame, FrameSet, OnEvent, Split, silent


@dataclass(frozen=True)
class _Found:
    """A part of a listing with the place it was found at."""

    root: Path
    part: Part
    pattern: str | None

    def frames(self) -> tuple[Frame, ...]:
        """Frames whose content is not known yet."""
        search = re.compile(self.pattern).search if self.pattern else None
        frames = []
        for entry in self.part.entries:
            source = entry.source
            if source is None and search and (match := search(entry.path)):
                source = match.group(1)
            frames.append(Frame(entry.path, Path(entry.file), entry.label, source, ""))
        return tuple(frames)


def load(
    name: str, settings: FrameSetSettings, base: Path, cache: Path, on_event: OnEvent = silent
) -> dict[Split, FrameSet]:
    """The frame set `name`: its splits, frames sorted by path; `test` is always among them.

    `base` is the folder that paths are relative to, `cache` a folder for remembered digests.
    Everything that is wrong is listed in one `UserError` before a frame is decoded; what can be
    said without reading the frames is said before reading them.
    """
    found, problems = _gather(settings, base)
    undigested = {split: there.frames() for split, there in found.items()}
    for split, there in found.items():
        problems += _wrong_labels(split or "test", there.part)
        problems += _wrong_sources(there, undigested[split], settings.split == "auto")
    known = {split: frames for split, frames in undigested.items() if split}
    _refuse(name, problems + shared_sources(known))

    digests, problems = digest_files(name, _by_root(found.values()), cache, on_event)
    _refuse(name, problems)
    frames = {
        split: tuple(replace(frame, digest=digests[entry.file]) for frame, entry in zip(some, entries, strict=True))
        for split, some in undigested.items()
        for entries in [found[split].part.entries]
    }
    splits = _splits(frames, settings.split == "auto")
    _refuse(name, shared_content(splits))
    return {split: _frame_set(name, split, splits[split]) for split in SPLITS if split in splits}


def _gather(settings: FrameSetSettings, base: Path) -> tuple[dict[Split | None, _Found], list[str]]:
    """What lies at the places named; the key None stands for frames that no split claims."""
    if settings.path is None:
        return _gather_places(settings.places, base)
    listing = layouts.read(base / Path(settings.path).expanduser())
    found = {split: _Found(listing.root, part, settings.source_pattern) for split, part in listing.parts.items()}
    problems = list(listing.problems)
    if not problems and settings.split == "auto" and None not in found:
        problems.append(f"{listing.root}: is split already ({listed(found)}); leave out `split: auto`")
    elif not problems and None not in found and "test" not in found:
        problems.append(f"{listing.root}: has no test split, only {listed(found)}")
    return found, problems


def _gather_places(places: Mapping[Split, Place], base: Path) -> tuple[dict[Split | None, _Found], list[str]]:
    found: dict[Split | None, _Found] = {}
    problems = []
    for split, place in places.items():
        listing = layouts.read(base / Path(place.path).expanduser())
        problems += [problem for problem in listing.problems if problem not in problems]
        part = listing.parts.get(split, listing.parts.get(None))
        if part is not None:
            found[split] = _Found(listing.root, part, place.source_pattern)
        elif not listing.problems:
            problems.append(f"{listing.root}: has no {split} split, only {listed(filter(None, listing.parts))}")
    return found, problems


def _wrong_labels(split: Split, part: Part) -> list[str]:
    """A split that is judged needs labels, and both classes."""
    if not part.entries:
        return [f"{split}: no frames; {part.labels_from}"]
    if split not in LABELLED_SPLITS:
        return []
    labels = [entry.label for entry in part.entries]
    if None in labels:
        return [
            f"{split}: {labels.count(None)} of {len(labels)} frames have no label, real or fake; {part.labels_from}"
        ]
    missing = [word for word, label in (("real", 0), ("fake", 1)) if label not in labels]
    return [f"{split}: no {word} frame among {len(labels)}; {part.labels_from}" for word in missing]


def _wrong_sources(there: _Found, frames: Sequence[Frame], auto: bool) -> list[str]:
    unknown = [frame.path for frame in frames if frame.source is None]
    if there.pattern and frames and len(unknown) == len(frames):
        return [f"source_pattern '{there.pattern}' matches no frame of {there.root}, for example {unknown[0]!r}"]
    if there.pattern and auto and unknown:
        return [
            f"source_pattern '{there.pattern}' matches only {len(frames) - len(unknown)} of {len(frames)} frames of "
            f"{there.root}; not, for example, {unknown[0]!r}. `split: auto` must know every frame's source"
        ]
    if len(unknown) < len(frames) or not frames:
        return []
    nested = next((frame.path for frame in frames if frame.path.count("/") > 1), None)
    if auto and nested:
        return [
            f"{there.root}: frames lie in sub-folders ({nested!r}), and `split: auto` must not tear a video apart. "
            "Where a sub-folder is a video, write source_pattern: '([^/]+)/[^/]+$'; "
            "where every frame stands alone, source_pattern: '(.+)'"
        ]
    return []


def _by_root(found: Iterable[_Found]) -> dict[Path, list[Entry]]:
    roots: dict[Path, list[Entry]] = {}
    for there in found:
        roots.setdefault(there.root, []).extend(there.part.entries)
    return roots


def _splits(frames: Mapping[Split | None, tuple[Frame, ...]], auto: bool) -> dict[Split, tuple[Frame, ...]]:
    if auto:
        return split_by_source(frames[None])
    return {split or "test": some for split, some in frames.items()}


def _frame_set(name: str, split: Split, frames: tuple[Frame, ...]) -> FrameSet:
    digest, content = hashlib.sha256(), hashlib.sha256()
    for frame in frames:
        digest.update(json.dumps([frame.path, frame.label, frame.source, frame.digest]).encode() + b"\n")
        content.update(bytes.fromhex(frame.digest))
    return FrameSet(name, split, frames, digest.hexdigest(), content.hexdigest())


def _refuse(name: str, problems: Sequence[str], most: int = 20) -> None:
    if problems:
        more = [f"… and {len(problems) - most} more"] if len(problems) > most else []
        lines = "\n".join(f"- {problem}" for problem in [*problems[:most], *more])
        raise UserError(f"frame set {name!r} can't be used:\n{lines}")
