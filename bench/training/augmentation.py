"""Frames as they might have been taken or spread otherwise, with masks that stay on what was forged.

All functions take a generator and draw from it alone, so that a frame's changes follow from its seed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.training.augment_settings import AugmentSettings, Change

_LEAST_PIXELS = 16
"""A crop has at least so many pixels a side."""
_TRIES = 10


def drawn(rng: np.random.Generator, change: Change) -> bool:
    """Whether this frame is changed so."""
    return bool(rng.random() < change.share)


def crop_box(rng: np.random.Generator, settings: AugmentSettings, height: int, width: int) -> tuple[int, int, int, int]:
    """Top, left, height and width, in pixels, of the part of a picture that is taken; all of it where none is drawn."""
    crop = settings.crop
    if drawn(rng, crop):
        for _ in range(_TRIES):
            area = rng.uniform(crop.least, 1) * height * width
            stretch = math.exp(rng.uniform(-1, 1) * math.log(crop.ratio))
            tall, wide = (
                round(math.sqrt(area * height / width / stretch)),
                round(math.sqrt(area * width / height * stretch)),
            )
            if _LEAST_PIXELS <= tall <= height and _LEAST_PIXELS <= wide <= width:
                return int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1)), tall, wide
    return 0, 0, height, width


def changed(
    rng: np.random.Generator, settings: AugmentSettings, pixels: NDArray[np.uint8], mask: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A frame, uint8 RGB [size, size, 3], and its mask, uint8 [size, size], changed as `rng` draws it."""
    import numpy as np

    if drawn(rng, settings.flip):
        pixels, mask = pixels[:, ::-1], mask[:, ::-1]
    pixels, mask = _moved(rng, settings, pixels, mask)
    if drawn(rng, settings.colour):
        pixels = _coloured(rng, settings, pixels)
    if drawn(rng, settings.blur):
        pixels = _blurred(rng, settings, pixels)
    if drawn(rng, settings.noise):
        deviation = rng.uniform(settings.noise.least, settings.noise.most)
        noisy = pixels + rng.standard_normal(pixels.shape, np.float32) * np.float32(deviation)
        pixels = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    if drawn(rng, settings.colours):
        pixels = _rounded(pixels, int(rng.integers(settings.colours.least, settings.colours.most, endpoint=True)))
    if drawn(rng, settings.jpeg):
        pixels = _saved(pixels, int(rng.integers(settings.jpeg.least, settings.jpeg.most, endpoint=True)))
    if drawn(rng, settings.erase):
        pixels, mask = _erased(rng, settings, pixels, mask)
    return np.ascontiguousarray(pixels), np.ascontiguousarray(mask)


def _moved(
    rng: np.random.Generator, settings: AugmentSettings, pixels: NDArray[np.uint8], mask: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Turned, moved, scaled and sheared, resampled once; what comes in at the edges is the picture's reflection."""
    import cv2
    import numpy as np

    size = len(pixels)
    matrix: NDArray[np.float64] = np.eye(3)
    if drawn(rng, settings.rotation):
        angle = math.radians(rng.uniform(-1, 1) * settings.rotation.degrees)
        matrix = np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
    if drawn(rng, settings.affine):
        affine = settings.affine
        scale, shear = 1 + affine.scale * rng.uniform(-1, 1), math.tan(math.radians(affine.shear * rng.uniform(-1, 1)))
        # Whole pixels: values between pixels would blur what a detector looks for.
        across, down = np.rint(affine.shift * size * rng.uniform(-1, 1, 2))
        matrix = np.array([[scale, scale * shear, across], [0, scale, down], [0, 0, 1]]) @ matrix
    if np.array_equal(matrix, np.eye(3)):
        return pixels, mask
    to_middle = np.array([[1, 0, -(size - 1) / 2], [0, 1, -(size - 1) / 2], [0, 0, 1]])
    whole = (np.linalg.inv(to_middle) @ matrix @ to_middle)[:2]
    look: dict[str, Any] = {"flags": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_REFLECT_101}
    moved = (cv2.warpAffine(np.ascontiguousarray(each), whole, (size, size), **look) for each in (pixels, mask))
    first, second = (np.asarray(each, np.uint8) for each in moved)
    return first, second


def _coloured(rng: np.random.Generator, settings: AugmentSettings, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Brightness, then contrast around the mean, saturation around each pixel's grey, and hue."""
    import cv2
    import numpy as np

    colour = settings.colour
    shares = (colour.brightness, colour.contrast, colour.saturation)
    brightness, contrast, saturation = (np.float32(1 + share * rng.uniform(-1, 1)) for share in shares)
    hue = colour.hue * rng.uniform(-1, 1)
    colours = pixels.astype(np.float32) * brightness
    mean = colours.mean()
    colours = (colours - mean) * contrast + mean
    grey = colours @ np.array([0.299, 0.587, 0.114], np.float32)
    colours = grey[..., None] + (colours - grey[..., None]) * saturation
    rounded: NDArray[np.uint8] = np.clip(np.rint(colours), 0, 255).astype(np.uint8)
    if not hue:
        return rounded
    turned = cv2.cvtColor(rounded, cv2.COLOR_RGB2HSV_FULL)
    turned[..., 0] = (turned[..., 0].astype(np.int16) + round(256 * hue)) % 256
    return np.asarray(cv2.cvtColor(turned, cv2.COLOR_HSV2RGB_FULL), np.uint8)


def _blurred(rng: np.random.Generator, settings: AugmentSettings, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import cv2
    import numpy as np

    deviation = rng.uniform(settings.blur.least, settings.blur.most)
    return np.asarray(cv2.GaussianBlur(np.ascontiguousarray(pixels), (0, 0), deviation), np.uint8)


def _rounded(pixels: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Each channel to the nearest of 2^bits values from 0 to 255."""
    import numpy as np

    steps = 2**bits - 1
    rounded: NDArray[np.uint8] = np.rint(np.rint(pixels / 255 * steps) * 255 / steps).astype(np.uint8)
    return rounded


def _saved(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    import cv2
    import numpy as np

    _, data = cv2.imencode(".jpg", np.ascontiguousarray(pixels[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.asarray(decoded[..., ::-1], np.uint8)


def _erased(
    rng: np.random.Generator, settings: AugmentSettings, pixels: NDArray[np.uint8], mask: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A rectangle of random colours; what is erased is not forged any more."""
    import numpy as np

    size = len(pixels)
    area = rng.uniform(settings.erase.least, settings.erase.most) * size * size
    stretch = math.exp(rng.uniform(-1, 1) * math.log(3))
    tall, wide = (min(size, max(1, round(math.sqrt(area * share)))) for share in (stretch, 1 / stretch))
    top, left = int(rng.integers(size - tall + 1)), int(rng.integers(size - wide + 1))
    pixels, mask = pixels.copy(), mask.copy()
    pixels[top : top + tall, left : left + wide] = rng.integers(0, 256, (tall, wide, 3), np.uint8)
    mask[top : top + tall, left : left + wide] = 0
    return pixels, mask
