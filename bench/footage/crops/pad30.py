"""30 pixels around the box of the surest face."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.footage.cutting import rectangle, surest
from bench.records import Crop, Face

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MARGIN_PX = 30


def cut(picture: NDArray[np.uint8], faces: Sequence[Face]) -> list[Crop]:
    """The box in whole pixels, and the margin around it."""
    crops = []
    for face in surest(faces):
        x0, y0, x1, y1 = map(int, face.box)
        crops += rectangle(picture, face, (x0 - MARGIN_PX, y0 - MARGIN_PX, x1 + MARGIN_PX, y1 + MARGIN_PX))
    return crops
