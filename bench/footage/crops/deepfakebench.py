"""256 × 256 pixels with eyes, nose and mouth of the largest face where ArcFace's template has them, times 1.3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bench.footage.cutting import largest
from bench.records import Crop, Face

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NEEDS_POINTS = True
SIDE, SCALE = 256, 1.3
_TEMPLATE_SIDE = 112
_TEMPLATE = (
    (38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041),
)  # fmt: skip
"""ArcFace's five points in 112 × 112 pixels."""


def remark(network: str) -> str:
    """What a manifest says of the points: the benchmark takes dlib's."""
    return f"points of {network} in place of dlib's"


def cut(picture: NDArray[np.uint8], faces: Sequence[Face]) -> list[Crop]:
    """Black where the frame ends. Bilinear, as the benchmark's preprocessing."""
    import cv2
    import numpy as np

    crops = []
    for face in largest(faces):
        matrix = similarity(np.asarray(face.points), template())
        pixels = cv2.warpAffine(picture, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR)
        a, b, c, d, e, f = matrix.ravel().tolist()
        crops.append(Crop(np.asarray(pixels, dtype=np.uint8), face, (a, b, c, d, e, f)))
    return crops


def template() -> NDArray[np.float64]:
    """Where the five points [5, 2] go: the template at this side, drawn together so that 1.3 times as much is seen."""
    import numpy as np

    margin = SIDE * (SCALE - 1) / 2
    points = np.asarray(_TEMPLATE) * SIDE / _TEMPLATE_SIDE
    return np.asarray((points + margin) * SIDE / (SIDE + 2 * margin))


def similarity(points: NDArray[np.floating[Any]], targets: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """The matrix [2, 3] that turns, scales and moves points [n, 2] onto targets with the least squared error.

    Points are complex numbers here, and the turn and scale are one factor.
    """
    import numpy as np

    source, target = (np.asarray(pairs, np.float64) @ np.array([1, 1j]) for pairs in (points, targets))
    centred = source - source.mean()
    factor = np.vdot(centred, target - target.mean()) / max(np.vdot(centred, centred).real, 1e-12)
    moved = target.mean() - factor * source.mean()
    return np.array([[factor.real, -factor.imag, moved.real], [factor.imag, factor.real, moved.imag]])
