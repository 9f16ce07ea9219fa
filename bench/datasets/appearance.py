"""What can be measured of a picture while it is decoded: how bright and how sharp it is, and the quality of a JPEG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WIDEST = 256
"""Pictures are looked at with at most so many pixels a side: a share of what decoding takes, and alike at any size."""

_LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
"""The quantisation of brightness that ITU-T T.81, annex K.1, proposes, and encoders scale by their quality."""


@dataclass(frozen=True)
class Appearance:
    """A picture's mean grey level, from 0 to 255, the variance of its Laplacian, and a JPEG's quality of 1 to 100."""

    brightness: float
    sharpness: float
    jpeg_quality: int | None


def appearance(picture: NDArray[np.uint8], tables: Mapping[int, Sequence[int]] | None) -> Appearance:
    """What a decoded picture, uint8 RGB [h, w, 3], looks like; `tables` are a JPEG's quantisation tables.

    Sharpness is that of Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield microscopy: a comparative study",
    on a picture of at most 256 pixels a side. The quality is that of the libjpeg table that is nearest.
    """
    import cv2

    height, width = picture.shape[:2]
    scale = min(WIDEST / max(height, width), 1)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    seen = cv2.resize(picture, size, interpolation=cv2.INTER_AREA) if scale < 1 else picture
    grey = cv2.cvtColor(seen, cv2.COLOR_RGB2GRAY)
    deviation = float(cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))[1][0, 0])
    quality = jpeg_quality(tables[0]) if tables and 0 in tables else None
    return Appearance(round(float(cv2.mean(grey)[0]), 1), round(deviation**2, 1), quality)


def jpeg_quality(table: Sequence[int]) -> int:
    """The quality at which libjpeg quantises brightness most like this, by the 64 values of a table in any order."""
    return _quality(tuple(sorted(table)))


@cache
def _quality(values: tuple[int, ...]) -> int:
    differences = [
        sum(abs(value - other) for value, other in zip(values, scaled, strict=False)) for scaled in _tables()
    ]
    return differences.index(min(differences)) + 1


@cache
def _tables() -> tuple[tuple[int, ...], ...]:
    """The sorted tables of the qualities 1 to 100."""
    scales = [5000 // quality if quality < 50 else 200 - 2 * quality for quality in range(1, 101)]
    return tuple(
        tuple(sorted(min(max((value * scale + 50) // 100, 1), 255) for value in _LUMINANCE)) for scale in scales
    )
