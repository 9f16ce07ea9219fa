"""Self-blended fakes of real faces, of which nothing is known but five points.

The recipe is that of self-blended images (Shiohara & Yamasaki, CVPR 2022): a picture is blended with a copy of itself
that is a little off. Theirs is a hull of 81 landmarks; here it is an outline of a usual face, laid on the five points
by a similarity, bent at random, whole or a part of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.records.face_template import similarity

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PARTS = {"face": 0.6, "lower": 0.15, "upper": 0.15, "mouth": 0.1}
"""What is blended, and how often."""
# Centre and half axes in distances between the eyes, from midway between them: across, down; half width, half height.
_OVALS = {
    "face": ((0.0, 0.5), (0.95, 1.25)),
    "lower": ((0.0, 1.0), (0.85, 0.75)),
    "upper": ((0.0, 0.05), (0.95, 0.6)),
    "mouth": ((0.0, 1.15), (0.6, 0.4)),
}
_CORNERS = 48


def blended_face(
    rng: np.random.Generator, pixels: NDArray[np.uint8], points: Sequence[tuple[float, float]], scale: float = 1.0
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A fake of a square frame, uint8 RGB [size, size, 3], and how far each pixel is forged, uint8 [size, size].

    `points` are eyes, nose and corners of the mouth in its pixels; `scale` is the size of the hull around them,
    over the usual one. Of frame and copy either may be the one that is off.
    """
    import numpy as np

    from bench.datasets.blends import blended, shifted
    from bench.datasets.portraits import to_uint8

    image = pixels.astype(np.float32) / 255
    other, mask = shifted(rng, image), _hull(rng, points, len(image), scale)
    target, source = (image, other) if rng.random() < 0.5 else (other, image)
    blend = blended(rng, target, source, mask)
    return to_uint8(blend.image), to_uint8(blend.mask)


def _hull(
    rng: np.random.Generator, points: Sequence[tuple[float, float]], size: int, scale: float
) -> NDArray[np.float32]:
    """A soft irregular region of a face [size, size], from 0 to 1."""
    import cv2
    import numpy as np

    part = str(rng.choice(list(_PARTS), p=list(_PARTS.values())))
    middle, axes = (np.array(each) for each in _OVALS[part])
    angles = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
    waves = np.arange(1, 5)[:, None]
    bent = 1 + (rng.normal(0, 0.06, (4, 1)) / waves * np.sin(waves * angles + rng.uniform(0, 2 * np.pi, (4, 1)))).sum(0)
    around = np.stack([np.cos(angles), np.sin(angles)], axis=1) * bent[:, None]
    outline = middle + rng.normal(0, 0.04, 2) + around * axes * scale * rng.uniform(0.8, 1.1, 2)
    matrix = similarity(points)
    corners = outline @ matrix[:, :2].T + matrix[:, 2]
    filled = np.zeros((size, size), np.float32)
    cv2.fillPoly(filled, [np.round(corners * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
    eye_distance = float(np.hypot(*matrix[:, 0]))
    soft = cv2.GaussianBlur(filled, (0, 0), max(0.5, eye_distance * rng.uniform(0.03, 0.15)))
    # What lies beyond the outline stays as it was.
    inner = np.clip(2 * soft - 1, 0, 1) if rng.random() < 0.5 else soft
    return np.asarray(inner, np.float32)
