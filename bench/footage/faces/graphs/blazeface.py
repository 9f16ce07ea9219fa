"""BlazeFace (MediaPipe): offsets in pixels from anchors of one size, six points of which four lie in the face.

Its points are two eyes, nose, mouth and ears. The corners of the mouth are estimated: on the line through the middle
of the mouth, parallel to that through the eyes, as far apart as ArcFace's template has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from bench.footage.detection import overlap
from bench.footage.onnx_network import Candidates, Network, Pixels, SingleShot, by_last, cells

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.footage.onnx_network import Outputs

SHAPE = "outputs [1, n, 16] and [1, n, 1], n 896 for 128 or 256 pixels, 2304 for 192, in one part or in two"
_GRIDS = {
    128: ((8, 2), (16, 6)),
    256: ((16, 2), (32, 6)),
    192: ((4, 1),),
}
"""Strides and anchors at each cell, by the side of the square input: short range, back camera, full range."""
_PIXELS = Pixels(mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5))
_MOUTH = 0.414
"""Half the distance of the corners of the mouth over that of the eyes, in ArcFace's template."""


def recognises(networks: Sequence[Network]) -> bool:
    if len(networks) != 1 or networks[0].height != networks[0].width or networks[0].height not in _GRIDS:
        return False
    shapes = [shape for shape in networks[0].shapes if len(shape) in (2, 3) and shape[-1] in (1, 16)]
    positions = sum(count * (networks[0].height // stride) ** 2 for stride, count in _GRIDS[networks[0].height])
    sums = {last: sum(shape[-2] for shape in shapes if shape[-1] == last) for last in (1, 16)}
    return len(shapes) == len(networks[0].shapes) and sums == {1: positions, 16: positions}


def load(networks: Sequence[Network], min_face_px: int, min_score: float, digest: str) -> SingleShot:
    """A finder that takes RGB values from -1 to 1, and averages what overlaps."""
    assert networks[0].height is not None
    decode = partial(_decoded, _anchors(networks[0].height))
    return SingleShot(
        "blazeface", digest, networks[0], _PIXELS, decode, min_face_px, min_score, merge=_blended, most_overlap=0.3
    )


def _anchors(side: int) -> NDArray[np.float32]:
    """Centres [n, 2] in pixels: the middles of cells."""
    import numpy as np

    return np.concatenate([(cells(side, side, stride, count) + 0.5) * stride for stride, count in _GRIDS[side]])


def _decoded(anchors: NDArray[np.float32], outputs: Outputs, height: int, width: int) -> Candidates:
    """Centre, width and height, then the points, all in pixels; centre and points from the anchor."""
    import numpy as np

    groups = by_last(outputs)
    logits, values = np.concatenate(groups[1])[:, 0], np.concatenate(groups[16]).reshape(-1, 8, 2)
    centre, half = values[:, 0] + anchors, values[:, 1] / 2
    eye_l, eye_r, nose, mouth = (values[:, index] + anchors for index in range(2, 6))
    aside = (eye_r - eye_l) * _MOUTH
    points = np.stack([eye_l, eye_r, nose, mouth - aside, mouth + aside], axis=1)
    scores = 1 / (1 + np.exp(-np.clip(logits, -80, 80)))
    return Candidates(np.concatenate([centre - half, centre + half], axis=1), points, scores)


def _blended(candidates: Candidates, most: float) -> Candidates:
    """Overlapping candidates as their mean, weighted by score, with the score of the surest; the surest first."""
    import numpy as np

    rest = candidates[np.argsort(-candidates.scores, kind="stable")]
    boxes, points, scores = [], [], []
    while len(rest.scores):
        same = overlap(rest.boxes[0], rest.boxes) > most
        same[0] = True
        group, rest = rest[same], rest[~same]
        weights = group.scores / group.scores.sum()
        boxes.append(np.tensordot(weights, group.boxes, 1))
        points.append(np.tensordot(weights, group.points, 1))
        scores.append(group.scores[0])
    if not boxes:
        return candidates
    return Candidates(np.stack(boxes), np.stack(points), np.stack(scores))
