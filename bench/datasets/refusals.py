"""Why a frame set can't be used, in words, and the one error that lists it all."""

from __future__ import annotations

import os
from collections.abc import Sequence

from bench.datasets.layouts import Part
from bench.datasets.locating import Located
from bench.errors import UserError, is_unicode, listed, quoted
from bench.records import LABELLED_SPLITS, Frame, Split


def refuse(name: str, problems: Sequence[str], *, most: int = 20, advice: str = "") -> None:
    """Raise `UserError` where there are problems of the frame set `name`; it lists the first of them."""
    if problems:
        more = [f"… and {len(problems) - most} more"] if len(problems) > most else []
        lines = [f"- {problem}" for problem in [*problems[:most], *more]]
        raise UserError(f"frame set {quoted(name)} can't be used:", *lines, *([advice] if advice else []))


def wrong_names(located: Located) -> list[str]:
    """A name goes into Parquet, JSON and HTML, all of them Unicode; Linux allows any bytes."""
    wrong = [os.fsencode(entry.path) for entry in located.part.entries if not is_unicode(entry.path)]
    return [f"{located.root}: file names that are not UTF-8, rename them: {listed(wrong, 5)}"] if wrong else []


def wrong_labels(split: Split, part: Part) -> list[str]:
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


def unmatched_patterns(located: Sequence[Located], frames: Sequence[Sequence[Frame]]) -> list[str]:
    """Each `source_pattern` that matches no frame of splits, once, with the folders of all of these."""
    folders: dict[str, list[str]] = {}
    examples: dict[str, str] = {}
    for split, of_split in zip(located, frames, strict=True):
        if split.pattern and of_split and all(frame.source is None for frame in of_split):
            folders.setdefault(split.pattern, []).append(str(split.root))
            examples.setdefault(split.pattern, of_split[0].path)
    return [
        f"source_pattern '{pattern}' matches no frame of {listed(dict.fromkeys(roots))}, for example "
        f"{quoted(examples[pattern])}"
        for pattern, roots in folders.items()
    ]


def wrong_sources(located: Located, frames: Sequence[Frame], auto: bool) -> list[str]:
    """Why the sources that `source_pattern` gives to some frames, or the lack of one, do not serve."""
    unknown = [frame.path for frame in frames if frame.source is None]
    if located.pattern and len(unknown) == len(frames):
        return []
    if located.pattern and auto and unknown:
        return [
            f"source_pattern '{located.pattern}' matches only {len(frames) - len(unknown)} of {len(frames)} frames of "
            f"{located.root}; not, for example, {quoted(unknown[0])}. `split: auto` must know every frame's source"
        ]
    if len(unknown) < len(frames) or not frames:
        return []
    nested = next((frame.path for frame in frames if frame.path.count("/") > 1), None)
    if auto and nested:
        return [
            f"{located.root}: frames lie in sub-folders ({quoted(nested)}), and `split: auto` must not tear a video "
            "apart. Where a sub-folder is a video, write source_pattern: '([^/]+)/[^/]+$'; "
            "where every frame stands alone, source_pattern: '(.+)'"
        ]
    return []
