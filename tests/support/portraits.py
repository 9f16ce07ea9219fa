"""Pictures with drawn faces in them, and where these are."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.datasets.portraits import Face, draw_portrait, to_uint8

Picture = NDArray[np.uint8]


@cache
def portrait(seed: int, side: int) -> tuple[Picture, Face]:
    """A drawn portrait, uint8 RGB [side, side, 3], and its face."""
    image, face = draw_portrait(np.random.default_rng(seed), side)
    return to_uint8(image), face


def picture(seed: int, side: int) -> Picture:
    return portrait(seed, side)[0]


@dataclass(frozen=True)
class Pasted:
    """A portrait to be pasted at x, y."""

    seed: int
    side: int
    x: int
    y: int


def scene(width: int, height: int, *portraits: Pasted) -> Picture:
    """Portraits on grey, uint8 RGB [height, width, 3]."""
    canvas = np.full((height, width, 3), 90, np.uint8)
    for pasted in portraits:
        canvas[pasted.y : pasted.y + pasted.side, pasted.x : pasted.x + pasted.side] = picture(pasted.seed, pasted.side)
    return canvas


def photograph() -> Picture | None:
    """scikit-image's astronaut, uint8 RGB [512, 512, 3]; None where that package is not installed."""
    package = importlib.util.find_spec("skimage")
    if package is None or package.origin is None:
        return None
    with Image.open(Path(package.origin).parent / "data" / "astronaut.png") as image:
        return np.asarray(image.convert("RGB"), dtype=np.uint8)


def turned(image: Picture, degrees: float) -> Picture:
    """Turned around its middle, black in the corners."""
    middle = (image.shape[1] / 2, image.shape[0] / 2)
    matrix = cv2.getRotationMatrix2D(middle, degrees, 1)
    return np.asarray(cv2.warpAffine(image, matrix, (image.shape[1], image.shape[0])), dtype=np.uint8)


def grey(image: Picture) -> Picture:
    """Three equal channels."""
    return np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., np.newaxis], 3, axis=2).astype(np.uint8)
