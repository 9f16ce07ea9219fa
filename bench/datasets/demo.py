"""The demo set: labelled frames drawn by `portraits`, written once, the same on every machine."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.datasets.portraits import draw_portrait, self_blend, to_uint8


def encode_jpeg(frame: NDArray[np.uint8], quality: int) -> bytes:
    """A JPEG file of an RGB frame [H, W, 3]."""
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def photograph_pair(rng: np.random.Generator, size: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A portrait and its fake, RGB uint8 [size, size, 3], as read back from equally compressed JPEGs."""
    portrait, face = draw_portrait(rng, size)
    fake = self_blend(rng, portrait, face)
    quality = int(rng.integers(75, 96))
    real, forged = (
        np.asarray(Image.open(io.BytesIO(encode_jpeg(to_uint8(image), quality)))) for image in (portrait, fake)
    )
    return real, forged
