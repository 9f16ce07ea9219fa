"""Smaller by a factor and back to the same size: OpenCV's INTER_AREA down, INTER_LINEAR up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, Field

from bench.errors import no_boolean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Level = Annotated[float, BeforeValidator(no_boolean), Field(ge=0.01, lt=1)]
LIBRARIES, VERSION, SECONDS = ("opencv-python-headless",), 1, 0.0005


def degraded(frame: NDArray[np.uint8], level: float) -> NDArray[np.uint8]:
    """The frame with both sides multiplied by `level`, rounded to whole pixels, and resized back."""
    import cv2
    import numpy as np

    height, width = frame.shape[:2]
    smaller = (max(1, round(width * level)), max(1, round(height * level)))
    small = cv2.resize(frame, smaller, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def unavailable() -> str:
    """OpenCV always has it."""
    return ""
