"""Maps of an ensemble's members that cut a picture differently, laid over the same part of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.records import Crop

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def moved(cam: NDArray[np.float32], crop: Crop, onto: Crop) -> NDArray[np.float32]:
    """A map [h, w] of one crop of a picture as it lies over another one, 0 where the first did not reach."""
    import cv2
    import numpy as np

    if crop.matrix == onto.matrix and crop.pixels.shape == onto.pixels.shape:
        return cam
    # From the map's places to the first crop, from there to the picture, to the other crop, and to its map.
    out, into = (_to_map(each, cam.shape) @ _square(each.matrix) for each in (crop, onto))
    way = into @ np.linalg.inv(out)
    return np.asarray(cv2.warpAffine(cam, way[:2], cam.shape[::-1], flags=cv2.INTER_LINEAR), np.float32)


def _to_map(crop: Crop, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """From pixels of a crop to places of a map [h, w] that covers it, both counted from their middles [3, 3]."""
    import numpy as np

    across, down = shape[1] / crop.pixels.shape[1], shape[0] / crop.pixels.shape[0]
    return np.array([[across, 0, across / 2 - 0.5], [0, down, down / 2 - 0.5], [0, 0, 1]])


def _square(matrix: tuple[float, float, float, float, float, float]) -> NDArray[np.float64]:
    import numpy as np

    return np.array([matrix[:3], matrix[3:], (0, 0, 1)])
