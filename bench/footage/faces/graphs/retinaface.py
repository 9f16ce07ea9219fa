"""RetinaFace in PyTorch's line: Pytorch_Retinaface (biubug6 and its descendants) and ternaus', which FSBI takes.

Both have the same outputs. The former's graphs end in a softmax and take BGR values less a mean; the latter's give
logits, and take RGB by ImageNet's statistics. ternaus' own converter writes faces that are decoded and chosen already.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bench.errors import UserError
from bench.footage.onnx_network import Candidates, Network, Pixels, SingleShot, by_last, cells

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.footage.onnx_network import Outputs

SHAPE = "outputs [1, n, 4], [1, n, 2] and [1, n, 10]; or [n, 4], [n] and [n, 10], as ternaus' converter writes them"
_SIZES = {8: (16, 32), 16: (64, 128), 32: (256, 512)}
"""Sides of the two square priors at each stride, in pixels."""
_VARIANCES = (0.1, 0.2)
_OF_BIUBUG6 = Pixels(mean=(123.0, 117.0, 104.0), is_bgr=True)
_OF_TERNAUS = Pixels(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
_PASSED_ON = ("Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze")


def recognises(networks: Sequence[Network]) -> bool:
    return len(networks) == 1 and (_is_raw(networks[0]) or _is_decoded(networks[0]))


def _is_raw(network: Network) -> bool:
    last = [shape[-1] for shape in network.shapes if len(shape) in (2, 3)]
    return len(network.shapes) == 3 and sorted(last) == [2, 4, 10]


def _is_decoded(network: Network) -> bool:
    return sorted(shape[1:] for shape in network.shapes) == [(), (4,), (10,)]


def load(networks: Sequence[Network], min_face_px: int, min_score: float, digest: str) -> SingleShot:
    """A finder called after whose arithmetic it has."""
    network = networks[0]
    if _is_decoded(network):
        decode, pixels, name = _as_they_are, _OF_TERNAUS, "retinaface (ternaus)"
    elif _ends_in_softmax(network):
        decode, pixels, name = _of_probabilities, _OF_BIUBUG6, "retinaface"
    else:
        decode, pixels, name = _of_logits, _OF_TERNAUS, "retinaface (ternaus)"
    return SingleShot(name, digest, network, pixels, decode, min_face_px, min_score)


def _ends_in_softmax(network: Network) -> bool:
    """Whether the scores [n, 2] are probabilities: what gives that output is a softmax."""
    scores = next(name for name, shape in zip(network.names, network.shapes, strict=True) if shape[-1] == 2)
    makers = {output: node for node in network.model.graph.node for output in node.output}
    node = makers.get(scores)
    while node is not None and node.op_type in _PASSED_ON:
        node = makers.get(node.input[0])
    return node is not None and node.op_type == "Softmax"


def _of_probabilities(outputs: Outputs, height: int, width: int) -> Candidates:
    return _decoded(outputs, height, width, is_logits=False)


def _of_logits(outputs: Outputs, height: int, width: int) -> Candidates:
    return _decoded(outputs, height, width, is_logits=True)


def _decoded(outputs: Outputs, height: int, width: int, *, is_logits: bool) -> Candidates:
    """Centres and points are offsets in tenths of a prior's side, sizes exponents in fifths."""
    import numpy as np

    groups = by_last(outputs)
    scores, boxes, points = groups[2][0], groups[4][0], groups[10][0]
    centres, sides = _priors(height, width)
    if len(boxes) != len(centres):
        raise UserError(
            f"expected {len(centres)} priors for {width} × {height} pixels, found {len(boxes)}; priors of "
            "16 and 32, 64 and 128, 256 and 512 pixels at strides 8, 16 and 32 are understood"
        )
    centre = centres + boxes[:, :2] * _VARIANCES[0] * sides
    half = sides * np.exp(boxes[:, 2:] * _VARIANCES[1]) / 2
    corners = centres[:, np.newaxis] + points.reshape(-1, 5, 2) * _VARIANCES[0] * sides[:, np.newaxis]
    probabilities = 1 / (1 + np.exp(np.clip(scores[:, 0] - scores[:, 1], -80, 80))) if is_logits else scores[:, 1]
    return Candidates(np.concatenate([centre - half, centre + half], axis=1), corners, probabilities)


def _priors(height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Centres [n, 2] and sides [n, 1] of the square priors, in pixels."""
    import numpy as np

    centres, sides = [], []
    for stride, sizes in _SIZES.items():
        cell = cells(height, width, stride, len(sizes))
        centres.append((cell + np.float32(0.5)) * stride)
        sides.append(np.tile(np.asarray(sizes, np.float32), len(cell) // len(sizes)))
    return np.concatenate(centres), np.concatenate(sides)[:, np.newaxis]


def _as_they_are(outputs: Outputs, height: int, width: int) -> Candidates:
    """Faces that the graph has decoded and chosen itself, in pixels."""
    by_values: dict[int, NDArray[np.floating[Any]]] = {
        (output.shape[1] if output.ndim > 1 else 1): output for output in outputs
    }
    return Candidates(by_values[4], by_values[10].reshape(-1, 5, 2), by_values[1].reshape(-1))
