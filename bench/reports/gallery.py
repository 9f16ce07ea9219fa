"""Which frames a gallery shows, and their overlays on disk."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.files import write_atomically
from bench.records import OUTCOMES, Outcome, Run
from bench.reports.evidence import Evidence, Evidences
from bench.reports.overlay import draw, supporting

if TYPE_CHECKING:
    from numpy.typing import NDArray

DRAWING_VERSION = 1
"""Raised whenever the same map would be drawn differently: stored overlays are then redrawn."""

LONGEST_NAME_BYTES = 255
"""What file systems in common use allow."""


@dataclass(frozen=True)
class Shown:
    """A variant's verdict on a test frame; `row` is its place in predictions and maps, `fake` the verdict."""

    frame: str
    row: int
    p_fake: float
    fake: bool
    outcome: Outcome


Verdicts = Mapping[str, Mapping[Outcome, Sequence[Shown]]]
"""By variant and outcome, the most telling first."""


def verdicts(evidences: Evidences, threshold: float) -> Verdicts:
    """All test frames: positives by falling, negatives by rising P(fake), equals by frame path."""
    return {name: _ranked(evidence, threshold) for name, evidence in evidences.items()}


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
    run: Run, evidences: Evidences, ranked: Verdicts, pixels: Callable[[str], NDArray[np.uint8]], results: Path
) -> int:
    """Bring the overlays on disk up to date: missing and changed ones drawn, all others removed.

    Returns how many were drawn. A frame is read once for all its overlays, and only if one is due.
    """
    keep: set[Path] = set()
    drawn = 0
    for frame, (of_all, wanted) in _by_frame(run, ranked).items():
        scale = _scale(evidences, of_all) if wanted else 0.0
        due = []
        for name in wanted:
            one = of_all[name]
            path, cam = overlay_path(results, name, one), _map(evidences[name], one)
            key = _key(run, one, cam, scale)
            keep.add(path)
            if _stored_key(path) != key:
                due.append((path, cam, one.fake, key))
        image = pixels(frame) if due else None
        for path, cam, fake, key in due:
            assert image is not None
            write_atomically(path, partial(draw(image, cam, fake, scale).save, format="JPEG", quality=90, comment=key))
        drawn += len(due)
    for variant in run.variants:
        for outcome in OUTCOMES:
            _remove_others(heatmap_folder(results, variant.name, outcome), keep)
    return drawn


def _by_frame(run: Run, ranked: Verdicts) -> dict[str, tuple[dict[str, Shown], list[str]]]:
    """For every test frame the verdicts of all variants, and the variants that want an overlay of it."""
    found: dict[str, tuple[dict[str, Shown], list[str]]] = defaultdict(lambda: ({}, []))
    for name, outcomes in ranked.items():
        for shown in outcomes.values():
            for rank, one in enumerate(shown):
                found[one.frame][0][name] = one
                if run.gallery_heatmaps == "all" or rank < run.gallery_top:
                    found[one.frame][1].append(name)
    return found


def _ranked(evidence: Evidence, threshold: float) -> dict[Outcome, list[Shown]]:
    predictions = evidence.predictions
    found: dict[Outcome, list[Shown]] = {outcome: [] for outcome in OUTCOMES}
    columns = (predictions[name].tolist() for name in ("split", "frame", "label", "p_fake"))
    for row, (split, frame, label, p_fake) in enumerate(zip(*columns, strict=True)):
        if split == "test":
            fake = p_fake >= threshold
            outcome = _outcome(label == 1, fake)
            found[outcome].append(Shown(frame, row, p_fake, fake, outcome))
    for shown in found.values():
        shown.sort(key=lambda one: (-one.p_fake if one.fake else one.p_fake, one.frame))
    return found


def _outcome(is_fake: bool, called_fake: bool) -> Outcome:
    if called_fake:
        return "true_positives" if is_fake else "false_positives"
    return "false_negatives" if is_fake else "true_negatives"


def _map(evidence: Evidence, shown: Shown) -> NDArray[np.float32] | None:
    return None if evidence.cam is None else np.asarray(evidence.cam[shown.row], np.float32)


def _scale(evidences: Evidences, shown: Mapping[str, Shown]) -> float:
    """The strongest support that any variant finds in this frame for its own verdict, in logits."""
    maps = ((_map(evidences[name], one), one.fake) for name, one in shown.items())
    return max((float(supporting(cam, fake).max()) for cam, fake in maps if cam is not None), default=0.0)


def _key(run: Run, shown: Shown, cam: NDArray[np.float32] | None, scale: float) -> bytes:
    """Everything that an overlay's look depends on, as a digest that is kept inside the file."""
    drawn_from = (DRAWING_VERSION, run.frames["test"].digest, run.preprocessing.input_spec, shown.frame, shown.fake)
    content = hashlib.blake2b(repr((*drawn_from, scale)).encode("utf-8", "surrogateescape"), digest_size=16)
    content.update(b"" if cam is None else repr(cam.shape).encode() + cam.tobytes())
    return content.hexdigest().encode()


def _stored_key(path: Path) -> bytes | None:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            comment = image.info.get("comment")
    except (FileNotFoundError, UnidentifiedImageError):
        return None
    return comment if isinstance(comment, bytes) else None


def _remove_others(folder: Path, keep: set[Path]) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path not in keep:
            path.unlink()
