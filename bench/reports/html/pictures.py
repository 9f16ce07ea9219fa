"""Which frames the page shows, and their pictures: each frame and each heatmap once, as data URIs."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench import stored
from bench.files import remove, write_atomically
from bench.records import OUTCOMES, Evaluation, Outcome, RunRecord
from bench.reports.content.exemplars import lost_frames
from bench.reports.content.flipped_videos import flipped_videos
from bench.reports.pictures.gallery import (
    first,
    has_maps,
    map_of,
    maps_of_members,
    scale_of,
    strongest_of,
)
from bench.reports.pictures.outline import path_of
from bench.reports.pictures.overlay import colour_bar, shades, supporting

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

VERSION = 1
"""Raised whenever a thumbnail of the same frame would look different."""

FRAME_SIDE, HEAT_SIDE = 160, 64
"""Pixels. Maps are of few cells and drawn smoothly, so that half the size shows all of them."""

MOST_RANKS, MOST_FLIPS = 10, 300
"""Frames in a gallery of one outcome, and rows of the ledger: more would make the page slow to open."""

_JPEG, _MOST_BYTES = b"\xff\xd8\xff", stored.MIB

WITHOUT_PICTURES = 5
"""Ranks where there is only a name to show."""


@dataclass(frozen=True)
class Pictures:
    """Data URIs: of frames by row, of heatmaps by (variant, row, whether for fake); none where nothing speaks.

    `has_map` are the variants with maps of any kind, `unmapped` the frames of these, (variant, row), without one.
    `outlines` are paths around what was forged, by row. `members` are the heatmaps of an ensemble's members with their
    names, by (variant, row, whether for fake), "" where nothing speaks.
    """

    frames: Mapping[int, str]
    heatmaps: Mapping[tuple[str, int, bool], str]
    has_map: frozenset[str]
    unmapped: frozenset[tuple[str, int]]
    colour_bar: str
    outlines: Mapping[int, str]
    members: Mapping[tuple[str, int, bool], Sequence[tuple[str, str]]] = field(default_factory=dict)


def ranks(run: RunRecord, pictures: bool) -> int:
    return min(run.gallery_top, MOST_RANKS) if pictures else WITHOUT_PICTURES


def ends(evaluation: Evaluation, name: str, most: int) -> dict[Outcome, list[int]]:
    """The rows that a gallery of each outcome can show, first to last, whatever the threshold.

    Frames called fake are shown from the highest P(fake) down, those called real from the lowest up: so the first of
    any threshold are those of the whole class that lie on its side.
    """
    p_fake, labels = evaluation.predictions[name].test, evaluation.test.labels
    counted = np.zeros(len(labels), bool)
    counted[evaluation.test.counted] = True
    by_outcome = {}
    for outcome in OUTCOMES:
        called_fake = outcome.endswith("positives")
        rows = np.flatnonzero(counted & ((labels == 1) == (called_fake == outcome.startswith("true"))))
        keys = -p_fake[rows] if called_fake else p_fake[rows]
        by_outcome[outcome] = first(rows, keys, min(most, len(rows)), evaluation)
    return by_outcome


def flipped(evaluation: Evaluation) -> list[tuple[str, int, bool]]:
    """Variant, row and whether it is worse, of the largest flips at the fixed threshold: each variant has its share."""
    by_name = {
        name: judged.flips for name, judged in evaluation.variants.items() if judged.flips and len(judged.flips.rows)
    }
    share = MOST_FLIPS // max(len(by_name), 1)
    return [
        (name, int(row), bool(worse))
        for name, flips in by_name.items()
        for row, worse in zip(flips.rows[:share], flips.is_worse[:share], strict=True)
    ]


def other_reason(run: RunRecord, evaluation: Evaluation, name: str) -> list[int]:
    """Rows that a variant and the baseline have right for different reasons, as many as the report shows."""
    drift = evaluation.variants[name].drift
    rows: list[int] = [] if drift is None else drift.other_reason[: ranks(run, True)].tolist()
    return rows


def pictured(
    run: RunRecord, evaluation: Evaluation, pixels: Callable[[str], NDArray[np.uint8]] | None, cache: Path
) -> Pictures | None:
    """All pictures of the page; None where frames are not at hand. Thumbnails are kept in the folder `cache`."""
    from PIL import Image

    if pixels is None or not evaluation.variants:
        return None
    shown = list(dict.fromkeys(_shown(run, evaluation)))
    rows = dict.fromkeys(row for _, row, _ in shown)
    if cache.is_symlink():
        cache.unlink()
    frames = {row: _uri(_thumbnail(run, evaluation, row, pixels, cache), "jpeg") for row in rows}
    current = {_file(run, evaluation, row, cache) for row in rows}
    for path in cache.iterdir() if cache.is_dir() else ():
        if path not in current:
            remove(path)
    heatmaps = {}
    for name, row, fake in shown:
        if (drawn := _heatmap(run, evaluation, name, row, fake)) is not None:
            heatmaps[name, row, fake] = _uri(drawn, "webp")
    with_maps = frozenset(name for name in evaluation.predictions if has_maps(evaluation, name))
    verdicts = {(name, row) for name, row, _ in shown if name in with_maps}
    unmapped = frozenset((name, row) for name, row in verdicts if map_of(evaluation, name, row) is None)
    in_galleries = dict.fromkeys(_in_galleries(run, evaluation))
    of_members = {key: each for key in in_galleries if (each := _of_members(evaluation, *key))}
    bar = _uri(_encoded(Image.fromarray(colour_bar(240, 1)), "PNG"), "png")
    return Pictures(frames, heatmaps, with_maps, unmapped, bar, _outlines(evaluation, rows), of_members)


def _outlines(evaluation: Evaluation, rows: Iterable[int]) -> dict[int, str]:
    """The outline of each of these frames that has a mask."""
    masks = {row: mask for row in rows if evaluation.masks and (mask := evaluation.masks.of(row)) is not None}
    return {row: path for row, mask in masks.items() if (path := path_of(mask))}


def _shown(run: RunRecord, evaluation: Evaluation) -> Iterator[tuple[str, int, bool]]:
    """Every heatmap that the page can show: variant, row, whether for fake. The baseline stands beside each."""
    baseline = run.baseline.name
    beside = [baseline] if baseline in evaluation.variants else []
    for name in evaluation.variants:
        for outcome, rows in ends(evaluation, name, ranks(run, True)).items():
            for row in rows:
                yield name, row, outcome.endswith("positives")
                yield from ((other, row, fake) for other in beside for fake in (True, False))
    others = [(name, row) for name in evaluation.variants for row in other_reason(run, evaluation, name)]
    of_videos = [
        (of_variant.variant, still.row)
        for of_variant in flipped_videos(run, evaluation)
        for video in of_variant.drawn
        for still in video.pictured
    ]
    for name, row in [*((name, row) for name, row, _ in flipped(evaluation)), *others, *of_videos]:
        for either in (baseline, name):
            yield either, row, bool(evaluation.predictions[either].test[row] >= run.threshold)
    for seen in lost_frames(run, evaluation, ranks(run, True)):
        yield from ((look.variant, seen.row, look.called == "fake") for look in seen.looks)


def _in_galleries(run: RunRecord, evaluation: Evaluation) -> Iterator[tuple[str, int, bool]]:
    """Every verdict of a gallery: variant, row, whether it is called fake there."""
    for name in evaluation.variants:
        for outcome, rows in ends(evaluation, name, ranks(run, True)).items():
            yield from ((name, row, outcome.endswith("positives")) for row in rows)


def _of_members(evaluation: Evaluation, name: str, row: int, fake: bool) -> list[tuple[str, str]]:
    """The heatmap of each member of an ensemble's variant, all on one scale; none of a single network."""
    of_members = maps_of_members(evaluation, name, row)
    if not of_members:
        return []
    scale = strongest_of(of_members, fake)
    return [
        (member, _uri(_layers(cam, fake, scale), "webp") if supporting(cam, fake).max(initial=0) > 0 else "")
        for member, cam in of_members.items()
    ]


def _file(run: RunRecord, evaluation: Evaluation, row: int, cache: Path) -> Path:
    spec = run.preprocessing.input_spec if run.preprocessing else None
    drawn_from = (VERSION, run.frames["test"].digest, spec, str(evaluation.test.frames.iloc[row]))
    name = hashlib.blake2b(repr(drawn_from).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    return cache / f"{name}.jpg"


def _thumbnail(
    run: RunRecord, evaluation: Evaluation, row: int, pixels: Callable[[str], NDArray[np.uint8]], cache: Path
) -> bytes:
    """A frame as JPEG, from the cache where it is there."""
    from PIL import Image

    path = _file(run, evaluation, row, cache)
    with suppress(OSError, ValueError):
        # Into the page goes what is a picture, and no file that a link in the cache leads to.
        cached = stored.read_bytes(path, _MOST_BYTES, links=False)
        if cached.startswith(_JPEG):
            return cached
    if path.is_dir():
        remove(path)
    image = Image.fromarray(pixels(str(evaluation.test.frames.iloc[row])))
    image.thumbnail((FRAME_SIDE, FRAME_SIDE), Image.Resampling.LANCZOS)
    encoded = _encoded(image, "JPEG", quality=82)
    write_atomically(path, lambda file: file.write(encoded))
    return encoded


def _heatmap(run: RunRecord, evaluation: Evaluation, name: str, row: int, fake: bool) -> bytes | None:
    """What speaks for a class, with an opacity of its own; None where nothing does."""
    cam = map_of(evaluation, name, row)
    if cam is None or not supporting(cam, fake).max(initial=0) > 0:
        return None
    # Where a threshold turns a verdict round, what speaks for it may be stronger than what set the frame's scale.
    has_cam = {other: answered.cam is not None for other, answered in evaluation.predictions.items()}
    alike = (map_of(evaluation, other, row) for other in has_cam if has_cam[other] == has_cam[name])
    strongest = (float(supporting(other, fake).max()) for other in alike if other is not None)
    scale = max(scale_of(run, evaluation, row, name), *strongest)
    return _layers(cam, fake, scale)


def _layers(cam: NDArray[np.float32], fake: bool, scale: float) -> bytes:
    from PIL import Image

    colour, alpha = shades(cam, fake, scale, (HEAT_SIDE, HEAT_SIDE))
    layers = np.concatenate([colour, 255 * alpha], axis=2).round().astype(np.uint8)
    return _encoded(Image.fromarray(layers, "RGBA"), "WEBP", quality=75)


def _encoded(image: Image, kind: str, **options: int) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _uri(encoded: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(encoded).decode()}"
