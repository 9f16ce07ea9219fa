"""Where the faces of real frames are, for self-blends: as a manifest tells it, or found once and remembered."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import cast

from bench import datasets, stored
from bench.errors import UserError, counted
from bench.files import make_folder, write_bytes
from bench.provenance import write_json
from bench.records import Event, Frame, InputSpec, OnEvent, Point

WORK = "finding faces"
_MOST_WITHOUT = 0.5
_SAVED_EVERY = 200

Points = tuple[Point, ...]


def points_of(frames: Sequence[Frame], split: str, cache: Path, on_event: OnEvent) -> dict[str, Points]:
    """The five points of the face in each frame of a split, in pixels of its file, by the frame's digest.

    Frames without a face are missing. `cache` remembers those that were looked at. Raises `UserError` where most frames
    have no face, or none can be found here.
    """
    points: dict[str, Points] = {}
    due = []
    for frame in frames:
        if of_manifest := _of_manifest(frame):
            points[frame.digest] = of_manifest
        else:
            due.append(frame)
    if due:
        points |= _by_finder(due, cache, on_event)
    missing = len(frames) - sum(frame.digest in points for frame in frames)
    if missing > _MOST_WITHOUT * len(frames):
        raise UserError(
            f"self_blend: no face was found in {missing:,} of {counted(len(frames), f'real {split} frame')}; it needs "
            "frames of faces, as `bench extract` makes them"
        )
    return points


def _of_manifest(frame: Frame) -> Points:
    below = PurePosixPath(frame.path)
    root = frame.file.parents[len(below.parts) - 1]
    if root / below != frame.file:
        return ()
    return tuple(datasets.points_at(root).get(frame.path, ()))


def _by_finder(frames: Sequence[Frame], cache: Path, on_event: OnEvent) -> dict[str, Points]:
    """By YuNet; what was found before is not sought again."""
    from bench.footage import faces
    from bench.footage.cutting import largest

    key, by_digest = faces.digest(), dict[str, list[list[float]]]()
    try:
        before = stored.read_json(cache)
        by_digest = before["points"] if before.get("finder") == key else {}
    except (OSError, ValueError, KeyError, AttributeError):
        pass
    due = [frame for frame in frames if frame.digest not in by_digest]
    finder = faces.load() if due else None
    for done, frame in enumerate(due, start=1):
        assert finder is not None
        face = largest(finder.find(datasets.picture(frame.file)))
        by_digest[frame.digest] = [list(point) for point in face[0].points] if face else []
        if done % _SAVED_EVERY == 0 or done == len(due):
            make_folder(cache.parent)
            write_json(cache, {"finder": key, "points": by_digest})
        on_event(Event(WORK, done, len(due)))
    return {
        frame.digest: cast("Points", tuple((x, y) for x, y in by_digest[frame.digest]))
        for frame in frames
        if by_digest.get(frame.digest)
    }


def blended_validation(
    frames: Sequence[Frame], points: Mapping[str, Points], spec: InputSpec, scale: float, folder: Path
) -> tuple[Frame, ...]:
    """A self-blend of every real frame with a face, written to `folder`: fakes to choose the best epoch by."""
    blends = []
    for index, frame in enumerate(frame for frame in frames if frame.label == 0 and frame.digest in points):
        file = folder / f"{index:05d}.png"
        data = _blend(frame, points[frame.digest], spec, scale, index)
        write_bytes(file, data)
        digest = hashlib.sha256(data).hexdigest()
        blends.append(Frame(f"self-blend/{frame.path}.png", file, 1, frame.source, digest))
    return tuple(blends)


def _blend(frame: Frame, points: Points, spec: InputSpec, scale: float, index: int) -> bytes:
    """A PNG of a self-blend; the same for the same frame."""
    import cv2
    import numpy as np

    from bench.datasets.face_blends import blended_face

    picture = datasets.picture(frame.file)
    # It is fitted again where it is read: what is cut off its sides there must not be cut off before.
    wide = replace(spec, size=int(spec.size / spec.crop_pct), crop_pct=1.0) if spec.fit == "crop" else spec
    fitted = datasets.fit(picture, wide)
    height, width = picture.shape[:2]
    placed = datasets.fitted_points(points, height, width, wide)
    fake, _ = blended_face(np.random.default_rng([len("validation"), index]), fitted, placed, scale)
    written, data = cv2.imencode(".png", np.ascontiguousarray(fake[..., ::-1]))
    assert written
    return data.tobytes()
