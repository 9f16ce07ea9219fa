"""What crops share: a rectangle of a frame, and which faces are meant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.records import Crop, Face

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def rectangle(picture: NDArray[np.uint8], face: Face, edges: tuple[int, int, int, int]) -> list[Crop]:
    """The part of a picture from x0, y0 up to x1, y1, clipped to it; nothing where it lies outside altogether."""
    import numpy as np

    height, width = picture.shape[:2]
    x0, y0, x1, y1 = max(0, edges[0]), max(0, edges[1]), min(width, edges[2]), min(height, edges[3])
    if x0 >= x1 or y0 >= y1:
        return []
    return [Crop(np.ascontiguousarray(picture[y0:y1, x0:x1]), face, (1.0, 0.0, -x0, 0.0, 1.0, -y0))]


def largest(faces: Sequence[Face]) -> list[Face]:
    """The face with the largest box, none of none."""
    return sorted(faces, key=lambda face: -face.area)[:1]


def surest(faces: Sequence[Face]) -> list[Face]:
    """The face with the highest score, none of none."""
    return sorted(faces, key=lambda face: -face.score)[:1]
