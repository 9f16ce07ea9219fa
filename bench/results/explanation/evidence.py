"""Maps of several depths made one, the shares of the parts of a face, and where a map is hottest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bench.records import GRID, POINTS
from bench.records.face_template import eye_distance
from bench.records.inspection import PARTS, FaceEvidence, Hottest
from bench.results.localisation.measuring import speaks_for, up_sampled
from bench.results.regions.measuring import parts_of, shares

if TYPE_CHECKING:
    from numpy.typing import NDArray

AGREES = 0.5
"""A coarse map agrees where it is at least half as strong as at its strongest place."""
_SPOTS, _APART = 3, 0.12

MOST_CELLS = 64
"""A side of a map whose hottest places are sought."""


def resized(heat: NDArray[np.floating], shape: tuple[int, int]) -> NDArray[np.float64]:
    """A map [h, w], nowhere negative, in another number of cells, smoothly."""
    from PIL import Image

    picture = Image.fromarray(np.asarray(heat, np.float32))
    return np.maximum(np.asarray(picture.resize(shape[::-1], Image.Resampling.BICUBIC), np.float64), 0)


def agreed(levels: Sequence[NDArray[np.floating]]) -> NDArray[np.float64]:
    """Each finer map kept only where what is coarser agrees: the last of them, [h, w]. `levels` are coarsest first.

    All zero where nothing coarse speaks for the class, or what does so speaks elsewhere than the fine map.
    """
    combined = np.maximum(np.asarray(levels[0], np.float64), 0)
    for finer in levels[1:]:
        coarse = resized(combined, (finer.shape[0], finer.shape[1]))
        agrees = (coarse >= AGREES * coarse.max()) & (coarse.max() > 0)
        combined = np.where(agrees, np.maximum(finer, 0), 0.0)
    return combined


def face_evidence(
    cam: NDArray[np.floating], fake: bool, points: Sequence[tuple[float, float]], side: int
) -> FaceEvidence:
    """How much of what a signed map [h, w] shows for a class lies on each part of the face, counted as a run does.

    `points` are in pixels of a frame of `side`. Without anything for the class there are no shares.
    """
    parts, fine = _parts(points, side), up_sampled(cam)
    present = [index for index in range(len(PARTS)) if (parts == index).any()]
    sums, whole = np.bincount(parts.ravel(), fine.ravel(), len(PARTS)), float(np.abs(fine).sum())
    signed = {PARTS[index]: float(sums[index] / whole) if whole else 0.0 for index in present}
    if not speaks_for(cam, fake=fake):
        return FaceEvidence({}, signed)
    of_class = shares(fine, parts, fake)
    return FaceEvidence({PARTS[index]: float(of_class[index]) for index in present}, signed)


def _parts(points: Sequence[tuple[float, float]], side: int) -> NDArray[np.intp]:
    """The index in `PARTS` of what each of [GRID, GRID] places of a frame of `side` shows."""
    return parts_of(np.asarray(points, np.float64) / side)


def hottest(heat: NDArray[np.floating], points: Sequence[tuple[float, float]] | None, side: int) -> tuple[Hottest, ...]:
    """Up to three places where a map [h, w] is hottest, the hottest first, each at least half as hot as that.

    Distances to the five points of the face, in pixels of a frame of `side`, are in distances between the eyes.
    """
    fine = resized(heat, (MOST_CELLS, MOST_CELLS))
    strongest = float(fine.max(initial=0))
    spots: list[Hottest] = []
    for flat in np.argsort(-fine, axis=None, kind="stable"):
        row, column = divmod(int(flat), MOST_CELLS)
        strength = float(fine[row, column])
        if not strength > 0 or strength < AGREES * strongest or len(spots) == _SPOTS:
            break
        x, y = (column + 0.5) / MOST_CELLS, (row + 0.5) / MOST_CELLS
        if all(max(abs(spot.x - x), abs(spot.y - y)) > _APART for spot in spots) and _is_peak(fine, row, column):
            spots.append(_located(x, y, strength / strongest, points, side))
    return tuple(spots)


def _is_peak(fine: NDArray[np.float64], row: int, column: int) -> bool:
    around = fine[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
    return bool(fine[row, column] >= around.max())


def _located(x: float, y: float, strength: float, points: Sequence[tuple[float, float]] | None, side: int) -> Hottest:
    if points is None:
        return Hottest(x, y, strength)
    distances = np.hypot(*(np.asarray(points) - [x * side, y * side]).T) / eye_distance(points)
    nearest = int(distances.argmin())
    part = PARTS[int(_parts(points, side)[int(y * GRID), int(x * GRID)])]
    return Hottest(x, y, strength, part, POINTS[nearest], float(distances[nearest]))
