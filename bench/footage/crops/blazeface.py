"""The box of the surest face, wider by a fifth of its height on all sides and by two at the top (DFDC's ResNeXt)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.footage.cutting import rectangle, surest
from bench.records import Crop, Face

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MARGIN = 0.2
"""Of the box's height: BlazeFace's boxes end at the eyebrows."""


def remark(network: str) -> str:
    """What a manifest says of boxes that are not BlazeFace's."""
    if network == "blazeface":
        return ""
    return f"boxes of {network} in place of BlazeFace's, which begin at the eyebrows: more is seen above"


def cut(picture: NDArray[np.uint8], faces: Sequence[Face]) -> list[Crop]:
    """The margin is in whole pixels; edges lose their fractions."""
    crops = []
    for face in surest(faces):
        margin = round(MARGIN * face.height)
        x0, y0, x1, y1 = face.box
        edges = (int(x0 - margin), int(y0 - 2 * margin), int(x1 + margin), int(y1 + margin))
        crops += rectangle(picture, face, edges)
    return crops
