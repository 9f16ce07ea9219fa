"""A face in front of the camera, drawn as polygons, and where they lie in a frame by the five points of a face.

The unit is the distance between the eyes, the origin is midway between them, y points down. The five points are those
of ArcFace's alignment in this unit (Deng et al., CVPR 2019). Outlines follow usual proportions of adult faces: about
2.2 such distances wide at the cheeks, hairline 1.1 above the eyes, chin 1.8 below, nose to .75, mouth .8 wide at 1.15.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from bench.records.inspection import PARTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

Polygon: TypeAlias = "NDArray[np.floating]"
"""Corners [n, 2]."""

POINTS = np.array([[-0.5, 0.0], [0.5, 0.0], [0.0, 0.57], [-0.41, 1.155], [0.415, 1.15]])
"""Left eye, right eye, tip of the nose, left and right corner of the mouth, as they are seen."""


def _oval(x: float, y: float, across: float, up: float, down: float | None = None) -> Polygon:
    """An ellipse around (x, y); below its middle it may be higher than above."""
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    heights = np.where(np.sin(angles) < 0, up, up if down is None else down)
    return np.stack([x + across * np.cos(angles), y + heights * np.sin(angles)], axis=1)


_LEFT_BROW = np.array([[-0.95, -0.17], [-0.88, -0.34], [-0.55, -0.47], [-0.14, -0.37], [-0.14, -0.2], [-0.55, -0.26]])
_NOSE = np.array(
    [[-0.1, -0.12], [0.1, -0.12], [0.17, 0.3], [0.31, 0.56], [0.24, 0.76], [-0.24, 0.76], [-0.31, 0.56], [-0.17, 0.3]]
)
_FACE = _oval(0, 0.4, 1.12, 1.5, 1.42)
_INNER = _oval(0, 0.4, 0.88, 1.5, 1.16)
_HEAD = _oval(0, 0.1, 1.5, 1.75, 1.5)
_JAW_FROM = 0.25
"""So far below the eyes the outline of the face is jaw and contour; above it is skin up to the hair."""

POLYGONS: dict[str, tuple[Polygon, ...]] = {
    "eyes": (_oval(-0.5, 0, 0.31, 0.18), _oval(0.5, 0, 0.31, 0.18)),
    "brows": (_LEFT_BROW, _LEFT_BROW * [-1, 1]),
    "nose": (_NOSE,),
    "mouth": (_oval(0, 1.16, 0.55, 0.25, 0.27),),
}
"""The parts that have an outline of their own."""


def similarity(points: Sequence[tuple[float, float]]) -> NDArray[np.float64]:
    """The turn, scale and shift [2, 3] that lays the template on five points with the smallest squared distances.

    Least squares over similarities: Umeyama, PAMI 1991, in the form for the plane, without mirroring.
    """
    target = np.asarray(points, np.float64)
    centred, moved = POINTS - POINTS.mean(0), target - target.mean(0)
    turned = np.stack([-centred[:, 1], centred[:, 0]], axis=1)
    length = float((centred**2).sum())
    along, aside = float((centred * moved).sum()) / length, float((turned * moved).sum()) / length
    turn = np.array([[along, -aside], [aside, along]])
    return np.concatenate([turn, (target.mean(0) - turn @ POINTS.mean(0))[:, None]], axis=1)


def eye_distance(points: Sequence[tuple[float, float]]) -> float:
    """Of the template that was laid on five points: steadier than the distance of two of them."""
    return float(np.hypot(*similarity(points)[:, 0]))


def part_map(points: Sequence[tuple[float, float]], side: int, cells: int) -> NDArray[np.intp]:
    """The index in `PARTS` of the part that each of [cells, cells] middles of cells shows.

    `points` are in pixels of a frame with `side` pixels a side.
    """
    matrix = similarity(points)
    middles = (np.arange(cells) + 0.5) * side / cells
    x, y = np.meshgrid(middles, middles)
    at = np.linalg.solve(matrix[:, :2], np.stack([x.ravel(), y.ravel()]) - matrix[:, 2:]).T
    face, inner, head = (_inside(at, outline) for outline in (_FACE, _INNER, _HEAD))
    parts = np.full(len(at), PARTS.index("background"))
    above = at[:, 1] < _JAW_FROM
    parts[head & above] = PARTS.index("hair")
    parts[face] = PARTS.index("skin")
    parts[face & ~inner & ~above] = PARTS.index("jaw and contour")
    for name, polygons in POLYGONS.items():
        for polygon in polygons:
            parts[_inside(at, polygon)] = PARTS.index(name)
    return parts.reshape(cells, cells)


def outlines(points: Sequence[tuple[float, float]]) -> dict[str, list[Polygon]]:
    """The polygons of all parts that have one, and of the face, in the frame of `points`."""
    matrix = similarity(points)
    drawn = {**POLYGONS, "skin": (_FACE,), "hair": (_HEAD,)}
    return {
        name: [polygon @ matrix[:, :2].T + matrix[:, 2] for polygon in polygons] for name, polygons in drawn.items()
    }


def _inside(at: NDArray[np.floating], polygon: Polygon) -> NDArray[np.bool_]:
    """Whether points [n, 2] lie inside: a ray to the right crosses the outline an odd number of times."""
    inside = np.zeros(len(at), bool)
    x, y = at.T
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        crosses = (y0 > y) != (y1 > y)
        with np.errstate(divide="ignore", invalid="ignore"):
            inside ^= crosses & (x < x0 + (y - y0) / (y1 - y0) * (x1 - x0))
    return inside
