"""Which frames a gallery shows, and their overlays on disk."""

from __future__ import annotations

import hashlib
import heapq
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench import stored
from bench.files import remove, write_atomically
from bench.records import OUTCOMES, Evaluation, Outcome, RunRecord
from bench.reports.content.exemplars import lost_frames
from bench.reports.content.flipped_videos import flipped_videos
from bench.reports.pictures.outline import drawn_on
from bench.reports.pictures.overlay import below, draw, supporting

if TYPE_CHECKING:
    from numpy.typing import NDArray

DRAWING_VERSION = 3
"""Raised whenever the same map would be drawn differently: stored overlays are then redrawn."""

LONGEST_NAME_BYTES = 255
"""What file systems in common use allow."""


@dataclass(frozen=True)
class Shown:
    """A variant's verdict on a test frame; `row` is its index in scores and maps, `fake` the verdict."""

    frame: str
    row: int
    p_fake: float
    fake: bool
    outcome: Outcome


@dataclass(frozen=True)
class Pair:
    """The baseline's verdict on a test frame beside a variant's."""

    baseline: Shown
    variant: Shown


@dataclass(frozen=True)
class Ranked:
    """A variant's frames of one outcome: how many there are, and the first of them, the most telling first."""

    count: int
    first: tuple[Shown, ...]


@dataclass(frozen=True)
class Galleries:
    """What is shown, by variant: frames of each outcome, the largest flips, frames right for another reason.

    `videos` has some frames of each flipped video, `lost` the frames that most variants lose, each by variant, the
    baseline first.
    """

    baseline: str
    outcomes: Mapping[str, Mapping[Outcome, Ranked]]
    flips: Mapping[str, tuple[Pair, ...]]
    other_reason: Mapping[str, tuple[Pair, ...]]
    videos: Mapping[str, tuple[tuple[Pair, ...], ...]] = field(default_factory=dict)
    lost: tuple[Mapping[str, Shown], ...] = ()

    def shown(self) -> Iterator[tuple[str, Shown]]:
        """Every verdict whose overlay is shown, with whose it is."""
        for name, ranked in self.outcomes.items():
            yield from ((name, shown) for of_outcome in ranked.values() for shown in of_outcome.first)
        for by_variant in self.lost:
            yield from by_variant.items()
        of_videos = {name: tuple(chain.from_iterable(videos)) for name, videos in self.videos.items()}
        for pairs in (self.flips, self.other_reason, of_videos):
            for name, of_variant in pairs.items():
                for pair in of_variant:
                    yield self.baseline, pair.baseline
                    yield name, pair.variant


def galleries(run: RunRecord, evaluation: Evaluation) -> Galleries:
    """The test frames to show.

    Of an outcome called fake those of the highest P(fake) come first, of one called real those of
    the lowest, equals by frame path: the first `gallery_top` of them, or all where all have heatmaps.
    """
    baseline = run.baseline.name
    others = {
        name: judged
        for name, judged in evaluation.variants.items()
        if name != baseline and baseline in evaluation.variants
    }

    def pairs(name: str, rows: Iterable[int]) -> tuple[Pair, ...]:
        return tuple(Pair(_verdict(evaluation, baseline, row), _verdict(evaluation, name, row)) for row in rows)

    def top(name: str, rows: NDArray[np.int64]) -> tuple[Pair, ...]:
        return pairs(name, rows[: run.gallery_top].tolist())

    return Galleries(
        baseline,
        {name: _ranked(run, evaluation, name) for name in evaluation.variants},
        {name: top(name, judged.flips.rows) for name, judged in others.items() if judged.flips},
        {name: top(name, judged.drift.other_reason) for name, judged in others.items() if judged.drift},
        {
            of_variant.variant: tuple(
                pairs(of_variant.variant, [still.row for still in video.pictured]) for video in of_variant.drawn
            )
            for of_variant in flipped_videos(run, evaluation)
        },
        tuple(
            {look.variant: _verdict(evaluation, look.variant, seen.row) for look in seen.looks}
            for seen in lost_frames(run, evaluation, run.gallery_top)
        ),
    )


def rows_in_galleries(run: RunRecord, evaluation: Evaluation) -> dict[str, list[int]]:
    """By variant, the test frames that its galleries show, however many others have heatmaps.

    Pairs count for the variant that stands beside the baseline.
    """
    shown = galleries(run, evaluation)
    rows: dict[str, dict[int, None]] = {}
    for name, ranked in shown.outcomes.items():
        first_of = (verdict for of_outcome in ranked.values() for verdict in of_outcome.first[: run.gallery_top])
        rows[name] = {verdict.row: None for verdict in first_of}
    for pairs in (shown.flips, shown.other_reason):
        for name, of_variant in pairs.items():
            rows[name] |= {pair.variant.row: None for pair in of_variant}
    return {name: list(of_variant) for name, of_variant in rows.items()}


def overlay_path(results: Path, variant: str, shown: Shown) -> Path:
    """Where a verdict's overlay lies; a manifest's `..` or leading slash must not lead out of the folder."""
    parts = [part if part != ".." else "%2E%2E" for part in shown.frame.split("/") if part not in ("", ".")]
    return heatmap_folder(results, variant, shown.outcome).joinpath(*parts[:-1], _picture_name(parts[-1]))


def _picture_name(frame: str) -> str:
    """A frame's file name with ".jpg" added; one that file systems would find too long is cut, and its digest added."""
    name = os.fsencode(frame)
    if len(name) + len(".jpg") <= LONGEST_NAME_BYTES:
        return f"{frame}.jpg"
    return f"{name[:200].decode(errors='ignore')}~{hashlib.sha256(name).hexdigest()[:12]}.jpg"


def heatmap_folder(results: Path, variant: str, outcome: Outcome) -> Path:
    return results / variant / "result" / outcome / "heatmap"


def draw_overlays(
    run: RunRecord, evaluation: Evaluation, shown: Galleries, pixels: Callable[[str], NDArray[np.uint8]], results: Path
) -> int:
    """Bring the overlays on disk up to date: missing and changed ones drawn, all others removed.

    Returns how many were drawn. A frame is read once for all its overlays, and only if one is due.
    """
    keep: set[Path] = set()
    drawn = 0
    for variant in run.variants:
        _remove_links(results / variant.name / "result")
    for row, by_variant in _by_row(shown).items():
        due, mask = [], evaluation.masks.of(row) if evaluation.masks else None
        for name, verdict in by_variant.items():
            path, cam = overlay_path(results, name, verdict), map_of(evaluation, name, row)
            scale = scale_of(run, evaluation, row, name)
            of_members = maps_of_members(evaluation, name, row)
            key = _key(run, verdict, [cam, *of_members.values()], scale, mask)
            keep.add(path)
            if _stored_key(path) != key:
                due.append((path, (cam, of_members), verdict.fake, scale, key))
        image = pixels(next(iter(by_variant.values())).frame) if due else None
        for path, (cam, of_members), fake, scale, key in due:
            assert image is not None
            picture = draw(image, cam, fake, scale)
            if mask is not None:
                drawn_on(picture, mask)
            if of_members:
                strongest = strongest_of(of_members, fake)
                picture = below(picture, [draw(image, each, fake, strongest) for each in of_members.values()])
            write_atomically(path, partial(picture.save, format="JPEG", quality=90, comment=key))
        drawn += len(due)
    for variant in run.variants:
        for outcome in OUTCOMES:
            _remove_others(heatmap_folder(results, variant.name, outcome), keep)
    return drawn


def _by_row(galleries: Galleries) -> dict[int, dict[str, Shown]]:
    """For every test frame that is shown, the verdicts by variant that have an overlay of it."""
    by_row: dict[int, dict[str, Shown]] = defaultdict(dict)
    for name, shown in galleries.shown():
        by_row[shown.row][name] = shown
    return by_row


def _ranked(run: RunRecord, evaluation: Evaluation, name: str) -> dict[Outcome, Ranked]:
    """A variant's frames of each outcome, as many as the galleries show."""
    p_fake = evaluation.predictions[name].test
    by_outcome = {}
    for outcome, rows in evaluation.variants[name].outcomes.items():
        keys = -p_fake[rows] if outcome.endswith("positives") else p_fake[rows]
        count = len(rows) if run.gallery_heatmaps == "all" else min(run.gallery_top, len(rows))
        top = (_shown(evaluation, name, row, outcome) for row in first(rows, keys, count, evaluation))
        by_outcome[outcome] = Ranked(len(rows), tuple(top))
    return by_outcome


def first(rows: NDArray[np.int64], keys: NDArray[np.float64], count: int, evaluation: Evaluation) -> list[int]:
    """The `count` rows of the smallest keys, equals by frame path; only those that may be among them are compared."""
    if count == 0:
        return []
    near = keys <= np.partition(keys, count - 1)[count - 1]
    frames = evaluation.test.frames.iloc[rows[near]].tolist()
    candidates = zip(keys[near].tolist(), frames, rows[near].tolist(), strict=True)
    return [row for _, _, row in heapq.nsmallest(count, candidates)]


def _verdict(evaluation: Evaluation, name: str, row: int) -> Shown:
    """A variant's verdict on the frame of a row, whatever its outcome."""
    outcomes = evaluation.variants[name].outcomes
    return _shown(evaluation, name, row, next(outcome for outcome, rows in outcomes.items() if row in rows))


def _shown(evaluation: Evaluation, name: str, row: int, outcome: Outcome) -> Shown:
    p_fake = float(evaluation.predictions[name].test[row])
    return Shown(str(evaluation.test.frames.iloc[row]), row, p_fake, outcome.endswith("positives"), outcome)


def has_maps(evaluation: Evaluation, name: str) -> bool:
    """Whether there are maps of a variant, be it of occlusion."""
    occlusion = evaluation.occlusions.get(name)
    return evaluation.predictions[name].cam is not None or bool(occlusion and occlusion.maps)


def map_of(evaluation: Evaluation, name: str, row: int) -> NDArray[np.float32] | None:
    """A frame's class-activation map [h, w]; where a variant has none, its occlusion map, if there is one."""
    cam, occlusion = evaluation.predictions[name].cam, evaluation.occlusions.get(name)
    if cam is None:
        return occlusion.maps.get(row) if occlusion else None
    return np.asarray(cam[row], np.float32)


def maps_of_members(evaluation: Evaluation, name: str, row: int) -> dict[str, NDArray[np.float32]]:
    """The maps [h, w] of a frame by each member of an ensemble's variant; none where none were joined."""
    maps = evaluation.member_maps.get(name, {})
    return {member: np.asarray(cam[row], np.float32) for member, cam in maps.items()}


def strongest_of(of_members: Mapping[str, NDArray[np.float32]], fake: bool) -> float:
    """The strongest support that any member finds for a class, in logits: their pictures share one scale."""
    return max(float(supporting(cam, fake).max(initial=0)) for cam in of_members.values())


def scale_of(run: RunRecord, evaluation: Evaluation, row: int, name: str) -> float:
    """The strongest support, in logits, that any variant finds in this frame for its own verdict.

    Of the variants with maps of the same kind as `name`: those of occlusion are of another unit than others.
    """
    has_cam = evaluation.predictions[name].cam is not None
    maps = (
        (map_of(evaluation, other, row), answered.test[row] >= run.threshold)
        for other, answered in evaluation.predictions.items()
        if (answered.cam is not None) == has_cam
    )
    return max((float(supporting(cam, fake).max()) for cam, fake in maps if cam is not None), default=0.0)


def _key(
    run: RunRecord,
    shown: Shown,
    maps: Sequence[NDArray[np.float32] | None],
    scale: float,
    mask: NDArray[np.uint8] | None,
) -> bytes:
    """Everything that an overlay's look depends on, as a digest that is kept inside the file."""
    spec = run.preprocessing.input_spec if run.preprocessing else None
    drawn_from = (DRAWING_VERSION, run.frames["test"].digest, spec, shown.frame, shown.fake)
    content = hashlib.blake2b(repr((*drawn_from, scale)).encode("utf-8", "surrogateescape"), digest_size=16)
    for cam in maps:
        content.update(b"" if cam is None else repr(cam.shape).encode() + cam.tobytes())
    content.update(b"" if mask is None else b"outlined " + mask.tobytes())
    return content.hexdigest().encode()


def _stored_key(path: Path) -> bytes | None:
    from PIL import Image

    try:
        with stored.open_file(path) as file, Image.open(file) as image:
            comment = image.info.get("comment")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # UnidentifiedImageError is an OSError
        if path.is_dir() or not stored.is_file(path):
            remove(path)
        return None
    return comment if isinstance(comment, bytes) else None


def _remove_links(folder: Path) -> None:
    """Nothing may be drawn, and nothing removed, where a link leads."""
    if folder.is_symlink():
        folder.unlink()
    for inside, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(inside, name)
            if path.is_symlink():
                path.unlink()


def _remove_others(folder: Path, keep: set[Path]) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path not in keep:
            path.unlink()
