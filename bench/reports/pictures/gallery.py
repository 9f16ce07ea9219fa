"""Which frames a gallery shows, and their overlays on disk."""

from __future__ import annotations

import hashlib
import heapq
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench import stored
from bench.files import remove, write_atomically
from bench.records import OUTCOMES, Evaluation, Outcome, RunRecord
from bench.reports.pictures.overlay import draw, supporting

if TYPE_CHECKING:
    from numpy.typing import NDArray

DRAWING_VERSION = 3
"""Raised whenever the same map would be drawn differently: stored overlays are then redrawn."""

LONGEST_NAME_BYTES = 255
"""What file systems in common use allow."""


@dataclass(frozen=True)
class Shown:
    """A variant's verdict on a test frame; `row` is its place in scores and maps, `fake` the verdict."""

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
    """What is shown, by variant: frames of each outcome, the largest flips, frames right for another reason."""

    baseline: str
    outcomes: Mapping[str, Mapping[Outcome, Ranked]]
    flips: Mapping[str, tuple[Pair, ...]]
    other_reason: Mapping[str, tuple[Pair, ...]]

    def shown(self) -> Iterator[tuple[str, Shown]]:
        """Every verdict whose overlay is shown, with whose it is."""
        for name, ranked in self.outcomes.items():
            yield from ((name, one) for found in ranked.values() for one in found.first)
        for pairs in (self.flips, self.other_reason):
            for name, found in pairs.items():
                for pair in found:
                    yield self.baseline, pair.baseline
                    yield name, pair.variant


def galleries(run: RunRecord, evaluation: Evaluation) -> Galleries:
    """The test frames to show.

    Of an outcome called fake those of the highest P(fake) come first, of one called real those of
    the lowest, equals by frame path: the first `gallery_top` of them, or all where all have heatmaps.
    """
    baseline = run.baseline.name
    others = {
        name: one for name, one in evaluation.variants.items() if name != baseline and baseline in evaluation.variants
    }

    def pairs(name: str, rows: Iterable[int]) -> tuple[Pair, ...]:
        return tuple(Pair(_shown(run, evaluation, baseline, row), _shown(run, evaluation, name, row)) for row in rows)

    top = run.gallery_top
    return Galleries(
        baseline,
        {name: _ranked(run, evaluation, name) for name in evaluation.variants},
        {name: pairs(name, one.flips.rows[:top].tolist()) for name, one in others.items() if one.flips},
        {name: pairs(name, one.drift.other_reason[:top].tolist()) for name, one in others.items() if one.drift},
    )


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
    for row, wanted in _by_row(shown).items():
        scale = scale_of(run, evaluation, row)
        due = []
        for name, one in wanted.items():
            path, cam = overlay_path(results, name, one), map_of(evaluation, name, row)
            key = _key(run, one, cam, scale)
            keep.add(path)
            if _stored_key(path) != key:
                due.append((path, cam, one.fake, key))
        image = pixels(next(iter(wanted.values())).frame) if due else None
        for path, cam, fake, key in due:
            assert image is not None
            write_atomically(path, partial(draw(image, cam, fake, scale).save, format="JPEG", quality=90, comment=key))
        drawn += len(due)
    for variant in run.variants:
        for outcome in OUTCOMES:
            _remove_others(heatmap_folder(results, variant.name, outcome), keep)
    return drawn


def _by_row(galleries: Galleries) -> dict[int, dict[str, Shown]]:
    """For every test frame that is shown the variants that want an overlay of it."""
    found: dict[int, dict[str, Shown]] = defaultdict(dict)
    for name, one in galleries.shown():
        found[one.row][name] = one
    return found


def _ranked(run: RunRecord, evaluation: Evaluation, name: str) -> dict[Outcome, Ranked]:
    p_fake, is_fake = evaluation.predictions[name].test, evaluation.test.labels == 1
    called_fake = p_fake >= run.threshold
    found = {}
    for outcome in OUTCOMES:
        fake = outcome.endswith("positives")
        right = outcome.startswith("true")
        rows = np.flatnonzero((called_fake == fake) & (is_fake == (fake == right)))
        wanted = len(rows) if run.gallery_heatmaps == "all" else min(run.gallery_top, len(rows))
        keys = -p_fake[rows] if fake else p_fake[rows]
        top = (_shown(run, evaluation, name, row) for row in first(rows, keys, wanted, evaluation))
        found[outcome] = Ranked(len(rows), tuple(top))
    return found


def first(rows: NDArray[np.int64], keys: NDArray[np.float64], wanted: int, evaluation: Evaluation) -> list[int]:
    """The `wanted` rows of the smallest keys, equals by frame path; only those that may be among them are compared."""
    if wanted == 0:
        return []
    near = keys <= np.partition(keys, wanted - 1)[wanted - 1]
    frames = evaluation.test.frames.iloc[rows[near]].tolist()
    candidates = zip(keys[near].tolist(), frames, rows[near].tolist(), strict=True)
    return [row for _, _, row in heapq.nsmallest(wanted, candidates)]


def _shown(run: RunRecord, evaluation: Evaluation, name: str, row: int) -> Shown:
    p_fake = float(evaluation.predictions[name].test[row])
    fake = p_fake >= run.threshold
    outcome = _outcome(bool(evaluation.test.labels[row] == 1), fake)
    return Shown(str(evaluation.test.frames.iloc[row]), row, p_fake, fake, outcome)


def _outcome(is_fake: bool, called_fake: bool) -> Outcome:
    if called_fake:
        return "true_positives" if is_fake else "false_positives"
    return "false_negatives" if is_fake else "true_negatives"


def map_of(evaluation: Evaluation, name: str, row: int) -> NDArray[np.float32] | None:
    cam = evaluation.predictions[name].cam
    return None if cam is None else np.asarray(cam[row], np.float32)


def scale_of(run: RunRecord, evaluation: Evaluation, row: int) -> float:
    """The strongest support that any variant finds in this frame for its own verdict, in logits."""
    maps = (
        (map_of(evaluation, name, row), one.test[row] >= run.threshold) for name, one in evaluation.predictions.items()
    )
    return max((float(supporting(cam, fake).max()) for cam, fake in maps if cam is not None), default=0.0)


def _key(run: RunRecord, shown: Shown, cam: NDArray[np.float32] | None, scale: float) -> bytes:
    """Everything that an overlay's look depends on, as a digest that is kept inside the file."""
    spec = run.preprocessing.input_spec if run.preprocessing else None
    drawn_from = (DRAWING_VERSION, run.frames["test"].digest, spec, shown.frame, shown.fake)
    content = hashlib.blake2b(repr((*drawn_from, scale)).encode("utf-8", "surrogateescape"), digest_size=16)
    content.update(b"" if cam is None else repr(cam.shape).encode() + cam.tobytes())
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
