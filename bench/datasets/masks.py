"""Masks of what was forged: which picture is that of which frame, and reading them.

They are no part of a frame set's digest: predictions hang on frames alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from bench.datasets import walking
from bench.datasets.digests import digest_files
from bench.datasets.layouts import SUFFIXES, Entry, Listing, Part
from bench.errors import listed, nearest, quoted
from bench.records import VIDEO_SUFFIXES, ForgeryMask, Frame, FrameSet, OnEvent, Unused


def with_folder(listing: Listing, folder: Path, *, of_videos: bool = False) -> Listing:
    """The listing with a mask for each frame that has one below `folder`, by the frame's path below the listing's root.

    The endings of both may differ. The mask of a video is a video, or a folder of pictures. Nothing is read.
    """
    if listing.problems:
        return listing
    if not folder.is_dir():
        siblings = [child.name for child in folder.parent.iterdir()] if folder.parent.is_dir() else []
        why = "is no folder" if folder.exists() else f"no such folder{nearest(folder.name, siblings)}"
        return replace(listing, problems=(f"{folder}: {why}; `masks` names a folder of pictures of what was forged",))
    entries = [entry for part in listing.parts.values() for entry in part.entries]
    if any(entry.mask for entry in entries) and not listing.native_masks:
        twice = f"{listing.root}: its manifest has a column of masks, and `masks` names a folder of others; keep one"
        return replace(listing, problems=(twice,))
    masks, start = _by_stem(folder, of_videos), len(str(listing.root)) + 1
    noun = "video" if of_videos else "frame"
    problems, parts = list[str](), dict(listing.parts)
    for split, part in listing.parts.items():
        of_part = [_mask_of(entry.file[start:], masks) for entry in part.entries]
        problems += [f"{folder}: two masks of one {noun}: {listed(two)}; remove one" for two in of_part if len(two) > 1]
        pairs = zip(part.entries, of_part, strict=True)
        masked = (replace(entry, mask=str(folder / names[0]) if names else None) for entry, names in pairs)
        parts[split] = replace(part, entries=tuple(masked))
    judged = parts.get("test", parts.get(None))
    problems += _none_at_all(listing, [judged] if judged else [], folder, of_videos)
    return replace(
        listing,
        parts=parts,
        problems=tuple(problems[:10]),
        unused=tuple(each for each in listing.unused if not _is_folder(each, listing.root, folder)),
        native_masks=False,
    )


def _by_stem(folder: Path, of_videos: bool) -> dict[str, list[str]]:
    """The pictures below a folder, by their paths without an ending; hidden files and folders are none.

    With `of_videos`, these are videos, and folders that hold pictures.
    """
    by_stem: dict[str, list[str]] = {}
    suffixes = VIDEO_SUFFIXES if of_videos else SUFFIXES

    def is_entered(child: os.DirEntry[str]) -> bool:
        return not child.name.startswith(".") and not walking.leads_nowhere(child) and child.is_dir()

    for path, children in walking.walk(folder, "", is_entered):
        visible = [child.name for child in children if not child.name.startswith(".")]
        for name in visible:
            if name.lower().endswith(suffixes):
                by_stem.setdefault(_stem(path + name), []).append(path + name)
        if of_videos and path and any(name.lower().endswith(SUFFIXES) for name in visible):
            of_video = path.rstrip("/")
            is_like_file = of_video.lower().endswith(VIDEO_SUFFIXES)
            by_stem.setdefault(_stem(of_video) if is_like_file else of_video, []).append(of_video)
    return by_stem


def _stem(path: str) -> str:
    return os.path.splitext(path)[0]  # noqa: PTH122 - a Path for every file takes long


def _mask_of(path: str, masks: dict[str, list[str]]) -> list[str]:
    """The mask that is called like a frame; several where that is not clear, none where there is none."""
    names = masks.get(_stem(path), [])
    return [path] if path in names else sorted(names)


def _none_at_all(listing: Listing, parts: Iterable[Part], folder: Path, of_videos: bool) -> Iterator[str]:
    """That no fake of the test split has a mask, with how the first one's would be called."""
    fakes = [entry for part in parts for entry in part.entries if entry.label == 1]
    if fakes and not any(entry.mask for entry in fakes):
        first = fakes[0].file[len(str(listing.root)) + 1 :]
        would_be = f"{quoted(f'{_stem(first)}.png')}, or with another ending of a picture"
        if of_videos:
            folder_of = quoted(f"{_stem(first)}/0003.png")
            would_be = f"{quoted(first)}, or with another ending of a video, or pictures such as {folder_of} of frame 3"
        yield (
            f"{folder}: holds no mask of any of {len(fakes):,} fakes below {listing.root}; that of {quoted(first)} "
            f"would be {would_be}"
        )


def _is_folder(unused: Unused, root: Path, folder: Path) -> bool:
    """Whether these files lie in the folder of masks."""
    return unused.kind == "beside" and bool(unused.name) and root / unused.name == folder


def read(name: str, frames: FrameSet, cache: Path, on_event: OnEvent, *, reads: bool = True) -> FrameSet:
    """The frame set with the digest of every mask, or what is wrong with it, as `digest_files` reads frames.

    Remarks say how many fakes lack one. Without `reads`, only what is remembered counts.
    """
    masked = [frame.mask for frame in frames.frames if frame.mask]
    if not masked:
        return frames
    entries, faults = _entries(masked)
    root = Path(os.path.commonpath([Path(entry.file).parent for entry in entries])) if entries else Path()
    digests = digest_files(f"masks of {name}", {root: entries} if entries else {}, cache, on_event, reads=reads)
    faults |= digests.faults
    read_digests = digests.frames | digests.masks
    for file in digests.unread:
        read_digests[file] = ""

    def read_mask(frame: Frame) -> Frame:
        if frame.mask is None:
            return frame
        file = str(frame.mask.file)
        return replace(frame, mask=replace(frame.mask, digest=read_digests.get(file, ""), fault=faults.get(file, "")))

    with_digests = replace(frames, frames=tuple(map(read_mask, frames.frames)))
    return replace(with_digests, remarks=(*frames.remarks, *_remarks(with_digests)))


def _entries(masks: list[ForgeryMask]) -> tuple[list[Entry], dict[str, str]]:
    """The files of masks, each once, and what is wrong with those that are not there."""
    entries, faults = list[Entry](), dict[str, str]()
    for file in dict.fromkeys(str(mask.file) for mask in masks):
        try:
            status = os.stat(file)  # noqa: PTH116 - a Path for every mask takes long
        except OSError as error:
            faults[file] = error.strerror or str(error)
        else:
            entries.append(Entry(file, file, None, None, status.st_size, status.st_mtime_ns))
    return entries, faults


def _remarks(frames: FrameSet) -> Iterator[str]:
    """How many fakes have no mask, or one that can't be read."""
    fakes = [frame for frame in frames.frames if frame.label == 1]
    missing = [frame.path for frame in fakes if frame.mask is None]
    if missing:
        yield (
            f"{len(missing):,} of {len(fakes):,} {frames.split} fakes have no mask, so that where heatmaps lie is not "
            f"judged on them: {listed(missing, 3)}."
        )
    broken = [
        f"{frame.mask.file.name}: {frame.mask.fault}" for frame in frames.frames if frame.mask and frame.mask.fault
    ]
    if broken:
        yield f"{len(broken):,} {frames.split} masks can't be read, and are not used: {listed(broken, 3)}."
