"""What became of every file below a frame set's folder: which are frames, which are not, and what to write."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from bench.datasets.label_hints import in_list, line_to_write
from bench.datasets.layouts import AMBIGUOUS_SPLITS
from bench.errors import counted, listed, quoted
from bench.records import SPLITS, FrameSet, Split, Unused, UnusedKind

_MASK_FOLDERS = frozenset((
    "mask", "masks", "landmark", "landmarks", "segmentation", "segmentations", "depth", "gt", "groundtruth",
    "ground_truth", "ground-truth", "mask_gt", "gt_mask", "annotation", "annotations",
))  # fmt: skip
_NAMED_MASK = re.compile(r"(.+)([_.-](?:mask|gt|groundtruth|seg|segmentation|depth))", re.IGNORECASE)
_KINDS: Mapping[UnusedKind, tuple[str, str]] = {
    "beside": ("frame in a folder beside", "frames in folders beside"),
    "split": ("frame of another split", "frames of other splits"),
    "unlisted": ("picture that the manifest does not name", "pictures that the manifest does not name"),
    "video": ("video", "videos"),
    "picture": ("picture of a format that is not read", "pictures of formats that are not read"),
    "ending": ("other file", "other files"),
    "hidden": ("hidden file or folder", "hidden files and folders"),
    "excluded": ("file that `exclude` leaves out", "files that `exclude` leaves out"),
}
"""What files of a kind are called, one and several."""


# ----------------------------------------------------------------------------------------- the account
def account(sets: Mapping[Split, FrameSet]) -> str:
    """Which frames a set has, and what is left out; one sentence where every file is a frame."""
    frames = "; ".join(_frames(sets[split]) for split in SPLITS if split in sets)
    left_out = ", ".join(_left_out(sets))
    return f"{frames}. {f'Left out: {left_out}' if left_out else 'Every file there is used'}."


def left_out(sets: Mapping[Split, FrameSet]) -> str:
    """What is left out of a set; "none" where every file is a frame."""
    return ", ".join(_left_out(sets)) or "none"


def _frames(frames: FrameSet) -> str:
    """The frames of a split by class, how many sources they have, and how many frames the largest of these."""
    classes = [f"{frames.real:,} real", f"{frames.fake:,} fake"] if frames.real or frames.fake else ["labels not used"]
    classes += [text for text in (_sources(frames),) if text]
    return f"{frames.split} {len(frames.frames):,} ({', '.join(classes)})"


def _sources(frames: FrameSet) -> str:
    """How many sources a split has, and how many frames the largest; "" where no source is known."""
    counts = frames.frames_by_source
    if not counts:
        return ""
    return f"{len(counts):,} source{'s' * (len(counts) > 1)}, the largest with {max(counts.values()):,}"


def _left_out(sets: Mapping[Split, FrameSet]) -> Iterator[str]:
    """Every kind of file that is no frame of the set, and how many."""
    masks = sum(len(frames.masks) for frames in sets.values())
    if masks:
        yield f"{masks:,} mask{'s' * (masks > 1)}"
    broken = sum(len(frames.left_out) for frames in sets.values())
    if broken:
        yield f"{broken:,} that can't be decoded"
    for kind, (singular, plural) in _KINDS.items():
        counts = Counter[str]()
        for frames in sets.values():
            for unused in frames.unused:
                counts[unused.name] += unused.count * (unused.kind == kind)
        if total := counts.total():
            names = [f"{_name(kind, name)} {count:,}" for name, count in counts.most_common() if count]
            which = f" ({listed(names, 5)})" if kind not in ("hidden", "unlisted") else ""
            yield f"{total:,} {singular if total == 1 else plural}{which}"


def _name(kind: UnusedKind, name: str) -> str:
    if kind == "beside":
        return f"{name.rstrip('/')}/" if name else "beside the folders"
    return name or "without ending"


# ---------------------------------------------------------------------------------------- the warnings
def unused_remarks(root: Path, unused: Iterable[Unused]) -> Iterator[str]:
    """What looks like frames below `root` and is not used, and what to write."""
    beside = {each.name: each.count for each in unused if each.kind == "beside"}
    for folder in [name for name in beside if not name or name.endswith("/")]:
        yield (
            f"{counted(beside.pop(folder), 'frame')} in {(root / folder)} itself, beside the folders that are read, "
            f"not used: move what lies there into one of these. `exclude: ['/{folder}*.*']` leaves it out without this "
            "warning."
        )
    if beside:
        yield _folders_beside(root, beside)
    formats = {each.name: each.count for each in unused if each.kind == "picture"}
    if formats:
        counts = listed(f"{count:,} {ending}" for ending, count in formats.items())
        patterns = ", ".join(quoted(f"*{ending}") for ending in formats)
        yield (
            f"Pictures below {root} have a format that is not read ({counts}) and are not used: convert them to PNG. "
            f"`exclude: [{patterns}]` leaves them out without this warning."
        )


def _folders_beside(root: Path, beside: Mapping[str, int]) -> str:
    """That frames lie in folders that mean nothing, and how each is made to mean something."""
    last = {name: name.rstrip("/").rpartition("/")[2] for name in beside}
    counts = listed(f"{name}/ ({count:,})" for name, count in beside.items())
    line = line_to_write(last.values()) or f"labels: {{fake: [{in_list(next(iter(last.values())))}]}}"
    splits = [name for name in last.values() if name.lower() in AMBIGUOUS_SPLITS]
    if splits:
        meant = f"Call {listed(f'{name}/' for name in splits)} test/ or validation/, whichever they are"
    else:
        meant = f"If they are frames of a class, write such as `{line}`"
    patterns = ", ".join(in_list(name if "/" in name else f"/{name}") for name in beside)
    return (
        f"Frames in {root} lie beside the folders that are read, and are not used: {counts}. {meant}. "
        f"`exclude: [{patterns}]` leaves them out without this warning."
    )


def mask_remarks(frames: FrameSet) -> Iterator[str]:
    """That masks were left out of a split, or that frames lie where masks are kept."""
    if frames.masks:
        total = len(frames.masks) + len(frames.frames)
        pattern = _common_folder(frames.masks, [frame.path for frame in frames.frames])
        advice = f" `exclude: [{pattern}]` leaves them out without this warning." if pattern else ""
        yield (
            f"{len(frames.masks):,} of {total:,} {frames.split} files are masks, of two greys, and no "
            f"frames; they were left out: {listed(frames.masks, 3)}.{advice}"
        )
    folders = Counter(
        folder for frame in frames.frames for folder in {*frame.path.split("/")[:-1]} if folder.lower() in _MASK_FOLDERS
    )
    for folder, count in folders.items():
        if count < len(frames.frames):
            yield (
                f"{count:,} of {len(frames.frames):,} {frames.split} frames lie in folders called {folder}/, and are "
                f"judged as frames: if they are none, write `exclude: [{folder}]`."
            )

    stems = {os.path.splitext(frame.path)[0] for frame in frames.frames}  # noqa: PTH122 - a Path for each takes long
    matches = (_NAMED_MASK.fullmatch(stem) for stem in stems)
    endings = Counter(match[2] for match in matches if match and match[1] in stems)
    for ending, count in endings.items():
        yield (
            f"{count:,} of {len(frames.frames):,} {frames.split} frames are called like another one with {ending} "
            f"behind it, as masks are, and are judged as frames: if they are none, write `exclude: ['**/*{ending}.*']`."
        )


def _common_folder(masks: Sequence[str], frames: Iterable[str]) -> str:
    """The name of a folder in which every mask lies and no frame; "" without."""
    names = set.intersection(*(set(path.split("/")[:-1]) for path in masks))
    names -= {folder for path in frames for folder in path.split("/")[:-1]}
    return min(names, default="")
