"""Gaussian blur of a sigma in pixels, cut at three sigmas; beyond the edge the frame is mirrored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, Field

from bench.errors import no_boolean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Level = Annotated[float, BeforeValidator(no_boolean), Field(ge=0.1, le=100)]
LIBRARIES, VERSION, SECONDS = ("opencv-python-headless",), 1, 0.001


def degraded(frame: NDArray[np.uint8], level: float) -> NDArray[np.uint8]:
    """The frame blurred with a sigma of `level` pixels."""
    import cv2
    import numpy as np

    return np.asarray(cv2.GaussianBlur(frame, (0, 0), level, borderType=cv2.BORDER_REFLECT_101), dtype=np.uint8)


def unavailable() -> str:
    """OpenCV always has it."""
    return ""
