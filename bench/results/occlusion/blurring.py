"""Squares of a frame, which of them a heatmap points at, and the frame with one of them blurred."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BLUR = 0.1
"""Standard deviation of the blur, as a share of the frame's side: of a face, no feature is left."""
EDGE = 0.05
"""A square fades over this share of the side: a sharp edge would be evidence of its own."""
_FINE, _CENTRES, _MIDDLE = 64, 33, 0.5


def window_of(cam: NDArray[np.floating], fake: bool, side: float) -> tuple[float, float] | None:
    """Left and upper edge of the square that holds most of what a signed map [h, w] shows for a class, all as shares.

    None where it shows nothing for it. The map is up-sampled as it is drawn. What is in the middle of a square counts a
    little more, so that evidence smaller than the square is in its middle.
    """
    from PIL import Image

    signed = np.asarray(cam if fake else -cam, np.float32)
    if not signed.max(initial=0) > 0:
        return None
    fine = Image.fromarray(signed).resize((_FINE, _FINE), Image.Resampling.BICUBIC)
    support = np.maximum(np.asarray(fine, np.float64), 0)
    centres = np.linspace(side / 2, 1 - side / 2, _CENTRES)
    distances = np.abs((np.arange(_FINE) + 0.5) / _FINE - centres[:, None])
    covers = np.array([profile(centre, side, _FINE) for centre in centres]) * (1 - _MIDDLE * distances / side)
    row, column = np.unravel_index(np.argmax(covers @ support @ covers.T), (_CENTRES, _CENTRES))
    left, top = (float(centres[index]) - side / 2 for index in (column, row))
    return max(left, 0.0), max(top, 0.0)


def profile(centre: float, side: float, size: int, *, around: bool = False) -> NDArray[np.float64]:
    """How much of each of `size` pixels of a line belongs to a stretch of it, from 0 to 1, in soft steps.

    `around`: what leads out of the frame on one side comes in again on the other.
    """
    distance = np.abs((np.arange(size) + 0.5) / size - centre)
    if around:
        distance = np.minimum(distance % 1, 1 - distance % 1)
    return np.asarray(np.clip((side - 2 * distance) / (2 * EDGE) + 0.5, 0, 1))


def square(left: float, top: float, side: float, size: int, *, around: bool = False) -> NDArray[np.float64]:
    """How much of each pixel of a frame is blurred, [size, size] from 0 to 1; edges as shares of the side."""
    across, down = (profile(edge + side / 2, side, size, around=around) for edge in (left, top))
    return np.outer(down, across)


def with_blurred(pixels: NDArray[np.uint8], squares: Sequence[NDArray[np.float64]]) -> NDArray[np.uint8]:
    """A frame, uint8 RGB [h, w, 3], once for each square, blurred there: uint8 RGB [n, 3, h, w]."""
    from PIL import Image, ImageFilter

    blur = ImageFilter.GaussianBlur(BLUR * len(pixels))
    sharp, blurred = pixels.astype(np.float64), np.asarray(Image.fromarray(pixels).filter(blur), np.float64)
    mixed = [sharp + (blurred - sharp) * share[..., None] for share in squares]
    return np.ascontiguousarray(np.stack(mixed).round().astype(np.uint8).transpose(0, 3, 1, 2))
