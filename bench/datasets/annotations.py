"""What manifests tell of faces: when a frame was in its video, where the face is, and where eyes, nose and mouth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import cast

from bench.addresses import resolve
from bench.datasets.layouts import SPLIT_WORDS, Options
from bench.datasets.layouts import manifest as manifests
from bench.datasets.layouts.manifest.files import Files
from bench.datasets.layouts.manifest.tables import table
from bench.datasets.settings import FrameSetSettings, Location, options_of
from bench.records import BOX_COLUMNS, POINT_COLUMNS, POINTS, Annotation, Point, Split


def annotations_of(settings: FrameSetSettings, base: Path, split: Split) -> dict[str, Annotation]:
    """The annotations of a split's frames by `Frame.path`; a frame of which nothing is told is missing.

    Manifests are read when this is called, and only their rows: whoever needs no faces never waits for them. Without a
    manifest, or with one that lacks the columns, there are none. A cell that is no finite number tells nothing.
    """
    location: FrameSetSettings | Location = settings if settings.path is not None else settings.locations[split]
    path = resolve(base, str(location.path))
    if not manifests.recognises(path):
        return {}
    manifest = manifests.manifests_at(path)[0]
    _, rows = table(manifest, manifests.roles_of(options_of(location)))
    files = Files(manifest.parent)
    by_row = ((cells, _annotation(cells)) for _, cells in rows if _is_of(cells, split, settings))
    return {
        files.normal(cells.get("path", "")): annotation for cells, annotation in by_row if annotation != Annotation()
    }


def times_at(root: Path) -> dict[str, float]:
    """When each frame was shown in its video, in seconds, by its path below `root`; as the manifest there tells it.

    Empty where there is none, or it does not tell, or it has become unreadable since its frames were read.
    """
    if not root.is_dir() or not manifests.recognises(root):
        return {}
    manifest = manifests.manifests_at(root)[0]
    try:
        _, rows = table(manifest, manifests.roles_of(Options()))
    except (OSError, ValueError):
        return {}
    files = Files(manifest.parent)
    times = ((cells.get("path", ""), _numbers(cells, ("time_s",))) for _, cells in rows)
    return {files.normal(path): time_s[0] for path, time_s in times if time_s}


def points_at(root: Path) -> Mapping[str, tuple[Point, ...]]:
    """The five points of the face in each frame, in pixels of its file, by its path below `root`, as the manifest there
    tells them.

    Empty where there is none, or it does not tell, or it has become unreadable since its frames were read.
    """
    if not root.is_dir() or not manifests.recognises(root):
        return {}
    manifest = manifests.manifests_at(root)[0]
    try:
        state = manifest.stat()
        return _points_in(manifest, state.st_mtime_ns, state.st_size)
    except (OSError, ValueError):
        return {}


@lru_cache(maxsize=8)
def _points_in(manifest: Path, mtime_ns: int, size: int) -> Mapping[str, tuple[Point, ...]]:
    """What a manifest in this state tells; plans and runs ask for it again and again."""
    columns, rows = table(manifest, manifests.roles_of(Options()))
    if not set(POINT_COLUMNS) <= set(columns):
        return {}
    files = Files(manifest.parent)
    pairs = ((cells.get("path", ""), _annotation(cells).points) for _, cells in rows)
    return {files.normal(path): points for path, points in pairs if points}


def _is_of(cells: Mapping[str, str], split: Split, settings: FrameSetSettings) -> bool:
    """Whether a row may be of the split; where content or a location decides that, every row may."""
    word = cells.get("split", "").strip().lower()
    return not word or settings.split == "auto" or SPLIT_WORDS.get(word) == split


def _annotation(cells: Mapping[str, str]) -> Annotation:
    box = _numbers(cells, BOX_COLUMNS)
    pairs = [_numbers(cells, (f"{point}_x", f"{point}_y")) for point in POINTS]
    points = None if None in pairs else cast("tuple[Point, Point, Point, Point, Point]", tuple(pairs))
    time_s = _numbers(cells, ("time_s",))
    return Annotation(
        time_s[0] if time_s else None,
        cast("tuple[float, float, float, float] | None", box),
        points,
    )


def _numbers(cells: Mapping[str, str], names: tuple[str, ...]) -> tuple[float, ...] | None:
    """The numbers in these cells; None where one of them is missing."""
    numbers = []
    for name in names:
        try:
            number = float(cells.get(name, ""))
        except ValueError:
            return None
        if not math.isfinite(number):
            return None
        numbers.append(number)
    return tuple(numbers)
