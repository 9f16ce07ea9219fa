"""The whole frame, as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.records import Crop, Face

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def cut(picture: NDArray[np.uint8], faces: Sequence[Face]) -> list[Crop]:
    return [Crop(picture, None)]
