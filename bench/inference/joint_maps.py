"""Maps of an ensemble's members that cut or fit a picture differently, laid over the same part of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import datasets
from bench.records import Crop, InputSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def moved(
    cam: NDArray[np.float32], crop: Crop, spec: InputSpec, onto: Crop, onto_spec: InputSpec | None = None
) -> NDArray[np.float32]:
    """A map [h, w] of a crop of a picture, fitted as `spec` says, as it lies over another crop of that picture.

    Over all of that, or with `onto_spec` over what is fitted of it; 0 where the first did not reach.
    """
    import cv2
    import numpy as np

    into, out = _to_map(onto, onto_spec, cam.shape), _to_map(crop, spec, cam.shape)
    way = into @ np.linalg.inv(out)
    if np.allclose(way, np.eye(3), atol=1e-9):
        return cam
    return np.asarray(cv2.warpAffine(cam, way[:2], cam.shape[::-1], flags=cv2.INTER_LINEAR), np.float32)


def _to_map(crop: Crop, spec: InputSpec | None, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """From the picture to places of a map [h, w] over its crop, or over what is fitted of that [3, 3].

    Both are counted from the middles of the first pixel and the first place, as matrices of crops are.
    """
    import numpy as np

    height, width = crop.pixels.shape[:2]
    covered = (height, width) if spec is None else (spec.size, spec.size)
    fit = np.eye(3) if spec is None else _square(datasets.fitting(height, width, spec))
    across, down = shape[1] / covered[1], shape[0] / covered[0]
    to_map = np.array([[across, 0, -0.5], [0, down, -0.5], [0, 0, 1]])
    from_corner = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    return np.asarray(to_map @ fit @ from_corner @ _square(crop.matrix))


def _square(matrix: tuple[float, float, float, float, float, float]) -> NDArray[np.float64]:
    import numpy as np

    return np.array([matrix[:3], matrix[3:], (0, 0, 1)])
