"""What face finders share: pictures reduced to what a network takes, and overlapping faces made one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bench.records import Face

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LONGEST = 640
"""Pixels of the longest side at first: faster, and the only size at which very large faces are found."""
_MOST_PIXELS, _MOST_SIDE = 4096 * 2160, 16_384
"""A picture is sought through at no larger size: YuNet takes 75 MiB of memory a million pixels."""


def at_two_scales(
    picture: NDArray[np.uint8], find: Callable[[NDArray[np.uint8]], list[Face]], min_face_px: int
) -> list[Face]:
    """The faces of at least `min_face_px` in uint8 RGB [h, w, 3], the surest first.

    They are sought with the longest side at most `LONGEST` pixels, and where that shows none of this size, at full
    size again, or that of a 4K frame: small faces in large pictures are too small after the reduction.
    """
    small, scale = reduced(picture, LONGEST)
    faces = large_enough((scaled(face, 1 / scale) for face in find(small)), min_face_px)
    if not faces and scale < 1:
        height, width = picture.shape[:2]
        scale = min(1.0, math.sqrt(_MOST_PIXELS / (height * width)), _MOST_SIDE / max(height, width))
        large = picture if scale == 1 else resized(picture, scale)
        faces = large_enough((scaled(face, 1 / scale) for face in find(large)), min_face_px)
    return faces


def reduced(picture: NDArray[np.uint8], longest: int) -> tuple[NDArray[np.uint8], float]:
    """The picture with its longest side at most so long, and the factor, 1 where it is small enough already."""
    scale = longest / max(picture.shape[:2])
    return (picture, 1.0) if scale >= 1 else (resized(picture, scale), scale)


def fitted(picture: NDArray[np.uint8], height: int, width: int) -> tuple[NDArray[np.uint8], float]:
    """The picture as large as it fits into the upper left corner of black [height, width, 3], and the factor."""
    import numpy as np

    scale = min(height / picture.shape[0], width / picture.shape[1])
    inner = resized(picture, scale)[:height, :width]
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[: inner.shape[0], : inner.shape[1]] = inner
    return canvas, scale


def resized(picture: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """The picture times `scale`, at least one pixel high and wide."""
    import cv2
    import numpy as np

    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, size, interpolation=smooth), dtype=np.uint8)


def scaled(face: Face, factor: float) -> Face:
    """The face in a picture that is larger by `factor`."""
    x0, y0, x1, y1 = (edge * factor for edge in face.box)
    return replace(face, box=(x0, y0, x1, y1), points=tuple((x * factor, y * factor) for x, y in face.points))


def large_enough(faces: Iterable[Face], min_face_px: int) -> list[Face]:
    """The faces whose shorter side has at least so many pixels, the surest first."""
    return sorted((face for face in faces if face.side_px >= min_face_px), key=lambda face: -face.score)


def overlap(
    box: NDArray[np.floating], others: NDArray[np.floating], *, of_smaller: bool = False
) -> NDArray[np.floating]:
    """Intersection over union of a box [4] with others [n, 4], or over the smaller area."""
    import numpy as np

    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.prod(np.clip(sides, 0, None), axis=1)
    area, areas = np.prod(box[2:] - box[:2]), np.prod(others[:, 2:] - others[:, :2], axis=1)
    whole = np.minimum(area, areas) if of_smaller else area + areas - shared
    return np.asarray(shared / np.maximum(whole, 1e-9))


def surest(
    boxes: NDArray[np.floating[Any]], scores: NDArray[np.floating[Any]], most: float, *, of_smaller: bool = False
) -> NDArray[np.intp]:
    """Indices of the boxes [n, 4] that no surer one overlaps by more than `most`, the surest first."""
    import numpy as np

    order, chosen = np.argsort(-scores, kind="stable"), []
    while order.size:
        best, order = order[0], order[1:]
        chosen.append(best)
        order = order[overlap(boxes[best], boxes[order], of_smaller=of_smaller) <= most]
    return np.asarray(chosen, dtype=np.intp)
