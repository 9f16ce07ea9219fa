"""A square around the largest face, 1.3 times the longer side of its box (FaceForensics++)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.footage.cutting import largest, rectangle
from bench.records import Crop, Face

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SCALE = 1.3


def cut(picture: NDArray[np.uint8], faces: Sequence[Face]) -> list[Crop]:
    """At the frame's right and lower edges the square gets smaller, at the others it moves inwards."""
    height, width = picture.shape[:2]
    crops = []
    for face in largest(faces):
        side = int(max(face.width, face.height) * SCALE)
        x0 = max(0, int((face.box[0] + face.box[2]) / 2 - side // 2))
        y0 = max(0, int((face.box[1] + face.box[3]) / 2 - side // 2))
        side = min(side, width - x0, height - y0)
        crops += rectangle(picture, face, (x0, y0, x0 + side, y0 + side))
    return crops
