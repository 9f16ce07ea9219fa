"""YuNet of 2023 and later (OpenCV's model zoo): three strides, a class, an objectness, a box and five points each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.errors import UserError
from bench.footage.onnx_network import Candidates, Network, Pixels, SingleShot, cells, flat

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.footage.onnx_network import Outputs

SHAPE = "outputs cls_8, obj_8, bbox_8, kps_8 and so on for strides 8, 16 and 32"
_STRIDES = (8, 16, 32)
_NAMES = [f"{part}_{stride}" for part in ("cls", "obj", "bbox", "kps") for stride in _STRIDES]
_OLD = {"loc", "conf", "iou"}


def recognises(networks: Sequence[Network]) -> bool:
    return len(networks) == 1 and (set(networks[0].names) == set(_NAMES) or set(networks[0].names) == _OLD)


def load(networks: Sequence[Network], min_face_px: int, min_score: float, digest: str) -> SingleShot:
    """A finder that takes BGR values from 0 to 255."""
    network = networks[0]
    if set(network.names) == _OLD:
        raise UserError(
            f"{network.path}: is a YuNet from before 2023, which is not understood; take "
            "face_detection_yunet_2023mar.onnx, or `yunet`, which needs no file"
        )
    decode = partial(_decoded, network.names)
    return SingleShot("yunet", digest, network, Pixels(is_bgr=True), decode, min_face_px, min_score, most_overlap=0.3)


def _decoded(names: Sequence[str], outputs: Outputs, height: int, width: int) -> Candidates:
    """Centres are offsets from a cell in strides, sizes are exponents; the score is a geometric mean."""
    import numpy as np

    by_name = dict(zip(names, map(flat, outputs), strict=True))
    levels = [_level(by_name, height, width, stride) for stride in _STRIDES]
    return Candidates(*(np.concatenate(parts) for parts in zip(*levels, strict=True)))


def _level(
    by_name: dict[str, NDArray[np.floating[Any]]], height: int, width: int, stride: int
) -> tuple[NDArray[np.floating[Any]], ...]:
    """Boxes, points and scores at one stride."""
    import numpy as np

    box, points = by_name[f"bbox_{stride}"], by_name[f"kps_{stride}"].reshape(-1, 5, 2)
    cell = cells(height, width, stride)
    centre, half = (cell + box[:, :2]) * stride, np.exp(box[:, 2:]) * stride / 2
    of_class, of_object = (np.clip(by_name[f"{part}_{stride}"][:, 0], 0, 1) for part in ("cls", "obj"))
    boxes = np.concatenate([centre - half, centre + half], axis=1)
    return boxes, (points + cell[:, np.newaxis]) * stride, np.sqrt(of_class * of_object)
