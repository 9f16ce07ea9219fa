"""JPEG of a quality, as OpenCV and Pillow write it: libjpeg's tables, chroma of half the size (4:2:0)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, Field

from bench.errors import no_boolean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Level = Annotated[int, BeforeValidator(no_boolean), Field(strict=True, ge=1, le=100)]
LIBRARIES, VERSION, SECONDS = ("opencv-python-headless",), 1, 0.002
MOST_SIDE = 65_500
"""libjpeg writes no longer side."""


def degraded(frame: NDArray[np.uint8], level: float) -> NDArray[np.uint8]:
    """The frame after JPEG of quality `level`, 1 to 100. ValueError where a side is longer than a JPEG's can be."""
    import cv2
    import numpy as np

    if max(frame.shape[:2]) > MOST_SIDE:
        raise ValueError(f"a JPEG has sides of at most {MOST_SIDE:,} pixels")
    settings = [
        cv2.IMWRITE_JPEG_QUALITY,
        int(level),
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    ]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), settings)
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def unavailable() -> str:
    """OpenCV always has it."""
    return ""
