"""One map over one face: how much of its evidence lies on each part."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from bench.records import GRID
from bench.records.face_template import POINTS, part_map, similarity
from bench.records.inspection import PARTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

_REACH = 2.5
"""So many distances between the eyes the template reaches in each direction, and no part of it lies farther."""
_RASTER = 500


@cache
def _template() -> NDArray[np.intp]:
    """The parts of the template itself, as a raster: laying polygons on every frame would take long."""
    scale = _RASTER / (2 * _REACH)
    points = [(float(x + _REACH) * scale, float(y + _REACH) * scale) for x, y in POINTS]
    return part_map(points, _RASTER, _RASTER)


def parts_of(points: NDArray[np.float64]) -> NDArray[np.intp]:
    """The index in `PARTS` of what each of [GRID, GRID] places shows.

    `points` [5, 2] are shares of the sides of what the network sees.
    """
    matrix = similarity([(float(x), float(y)) for x, y in points])
    middles = (np.arange(GRID) + 0.5) / GRID
    x, y = np.meshgrid(middles, middles)
    at = np.linalg.solve(matrix[:, :2], np.stack([x.ravel(), y.ravel()]) - matrix[:, 2:])
    cells = np.floor((at + _REACH) * _RASTER / (2 * _REACH)).astype(np.int64)
    inside = ((cells >= 0) & (cells < _RASTER)).all(0)
    column, row = np.clip(cells, 0, _RASTER - 1)
    parts = np.where(inside, _template()[row, column], PARTS.index("background"))
    return np.asarray(parts.reshape(GRID, GRID), np.intp)


def shares(fine: NDArray[np.float32], parts: NDArray[np.intp], fake: bool) -> NDArray[np.float64]:
    """The share of each part [parts] in what a signed map [GRID, GRID] shows for a class; NaN where it is nothing.

    `parts` is as `parts_of` gives it.
    """
    support = np.maximum(fine if fake else -fine, 0).astype(np.float64)
    total = float(support.sum())
    if not total > 0:
        return np.full(len(PARTS), np.nan)
    return np.asarray(np.bincount(parts.ravel(), support.ravel(), len(PARTS)) / total)


def areas(parts: NDArray[np.intp]) -> NDArray[np.float64]:
    """The share of each part [parts] in the places."""
    return np.asarray(np.bincount(parts.ravel(), minlength=len(PARTS)) / parts.size)
