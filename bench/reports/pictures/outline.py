"""The outline of what was forged: a thin line around the mask of a frame, on pictures and on the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

_HALF = 127.5
_DIGITS = 3
"""Of coordinates on the page, as shares of a picture's side."""


def outlines(mask: NDArray[np.uint8]) -> list[NDArray[np.float64]]:
    """Lines [n, 2] around the places of which at least half is forged; x and y as shares of the frame's sides.

    `mask` [places, places] is how much of each place is forged, 0 to 255. Along the frame's edge there is no line.
    """
    from contourpy import contour_generator

    centres = (np.arange(len(mask)) + 0.5) / len(mask)
    lines = contour_generator(centres, centres, mask.astype(np.float64)).lines(_HALF)
    return [np.asarray(line, np.float64) for line in lines]


def path_of(mask: NDArray[np.uint8]) -> str:
    """The outline as the data of an SVG path in a picture of side 1; empty where there is none."""
    return "".join(f"M{'L'.join(map(_point, _thinned(line)))}" for line in outlines(mask))


def _point(point: NDArray[np.float64]) -> str:
    return " ".join(f"{float(part):.{_DIGITS}f}".rstrip("0").rstrip(".") for part in point)


def _thinned(line: NDArray[np.float64]) -> NDArray[np.float64]:
    """Every second point and the last: more are not seen in a picture of this size."""
    return np.concatenate([line[:-1:2], line[-1:]])


def drawn_on(image: Image, mask: NDArray[np.uint8]) -> None:
    """Draw the outline over a picture, white between two dark lines, so that it is seen on any ground."""
    from PIL import ImageDraw

    draw, thin = ImageDraw.Draw(image), max(1, round(min(image.size) / 240))
    for colour, width in (("black", 3 * thin), ("white", thin)):
        for line in outlines(mask):
            points = [(float(x) * image.width, float(y) * image.height) for x, y in line]
            draw.line(points, fill=colour, width=width, joint="curve")
