"""SCRFD (insightface): distances from a cell to the edges of the box, at three or five strides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.errors import UserError
from bench.footage.onnx_network import Candidates, Network, Pixels, SingleShot, by_last, cells

if TYPE_CHECKING:
    from bench.footage.onnx_network import Outputs

SHAPE = "3 or 5 outputs [n, 1] of scores, as many [n, 4] of boxes, and as many [n, 10] of points or none"
_LEVELS = (3, 5)
_PIXELS = Pixels(mean=(127.5, 127.5, 127.5), std=(128.0, 128.0, 128.0))


def recognises(networks: Sequence[Network]) -> bool:
    if len(networks) != 1:
        return False
    counts = Counter(shape[-1] if len(shape) in (2, 3) else 0 for shape in networks[0].shapes)
    return set(counts) in ({1, 4}, {1, 4, 10}) and len(set(counts.values())) == 1 and counts[4] in _LEVELS


def load(networks: Sequence[Network], min_face_px: int, min_score: float, digest: str) -> SingleShot:
    has_points = any(shape[-1] == 10 for shape in networks[0].shapes)
    return SingleShot("scrfd", digest, networks[0], _PIXELS, _decoded, min_face_px, min_score, gives_points=has_points)


def _decoded(outputs: Outputs, height: int, width: int) -> Candidates:
    """Outputs of a level belong together by their number of positions; finer levels have more."""
    import numpy as np

    groups = by_last(outputs)
    levels = []
    for level, (scores, boxes) in enumerate(zip(groups[1], groups[4], strict=True)):
        stride = 8 * 2**level
        cell = cells(height, width, stride)
        if len(boxes) % len(cell) or len(scores) != len(boxes):
            raise UserError(
                f"expected a multiple of {len(cell)} positions at stride {stride} of {width} × {height} pixels, "
                f"found {len(boxes)}: export the network for this size, or for any"
            )
        centres = np.repeat(cell, len(boxes) // len(cell), axis=0) * stride
        distances = boxes * stride
        edges = np.concatenate([centres - distances[:, :2], centres + distances[:, 2:]], axis=1)
        points = groups[10][level].reshape(-1, 5, 2) if 10 in groups else np.zeros((len(boxes), 0, 2), np.float32)
        levels.append((edges, points * stride + centres[:, np.newaxis], scores[:, 0]))
    return Candidates(*(np.concatenate(parts) for parts in zip(*levels, strict=True)))
