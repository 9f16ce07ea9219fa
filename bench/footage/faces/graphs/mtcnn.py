"""MTCNN (Zhang et al., 2016): a folder with three files, P-Net, R-Net and O-Net, whatever their names.

P-Net looks for faces of 12 pixels in a pyramid, R-Net and O-Net judge and move what it proposes. The original was
trained on pictures with rows and columns exchanged, and so are most conversions; facenet-pytorch's networks take them
upright, and are told by the transposition within their R-Net.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bench.footage.detection import large_enough, resized, surest
from bench.footage.onnx_network import Candidates, Network, Pixels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.records import Face

SHAPE = "a folder with three files, outputs of 2 and 4 values at every position, of 2 and 4, and of 2, 4 and 10"
_PIXELS = Pixels(mean=(127.5, 127.5, 127.5), std=(128.0, 128.0, 128.0))
_THRESHOLDS = (0.6, 0.7)
"""What P-Net and R-Net let pass; of O-Net it is the setting `min_score`."""
_PROPOSED_PX, _STRIDE, _FACTOR = 12, 2, 0.709
_BATCH = 256


def recognises(networks: Sequence[Network]) -> bool:
    return len(networks) == 3 and sorted(map(_values, networks)) == [(2, 4), (2, 4), (2, 4, 10)] and _stages(networks)


def _values(network: Network) -> tuple[int, ...]:
    """The numbers of values of the outputs: of P-Net's maps, along the channels."""
    return tuple(sorted(shape[axis] for shape, axis in zip(network.shapes, _axes(network), strict=True)))


def _axes(network: Network) -> list[int]:
    """The axis of the values in each output: of maps, whose other axes are long for the picture of the trial."""
    return [1 if len(shape) == 4 and shape[1] in (2, 4) else -1 for shape in network.shapes]


def _stages(networks: Sequence[Network]) -> bool:
    return [len(network.shapes[0]) for network in _in_order(networks)] == [4, 2, 2]


def _in_order(networks: Sequence[Network]) -> list[Network]:
    """P-Net, whose outputs are maps, R-Net, O-Net, which gives points."""
    return sorted(networks, key=lambda network: (len(network.shapes), -len(network.shapes[0])))


def load(networks: Sequence[Network], min_face_px: int, min_score: float, digest: str) -> MTCNN:
    """A finder of the three networks in any order."""
    stages = _in_order(networks)
    is_upright = any(
        list(attribute.ints) == [0, 3, 2, 1]
        for node in stages[1].model.graph.node
        if node.op_type == "Transpose"
        for attribute in node.attribute
    )
    propose, refine, output = (_Stage(network, is_upright) for network in stages)
    return MTCNN(digest, propose, refine, output, min_face_px, min_score)


@dataclass(frozen=True)
class _Stage:
    """One of the networks, which answers by number of values whatever its axes are."""

    network: Network
    is_upright: bool

    def run(self, pictures: NDArray[np.uint8]) -> dict[int, NDArray[np.floating[Any]]]:
        """Outputs [n, values], or [n, h, w, values], for pictures [n, h, w, 3]."""
        import numpy as np

        values = _PIXELS.of(pictures)
        values = values if self.is_upright else values.transpose(0, 2, 1, 3)
        parts = [self.network.run(values[start : start + _BATCH]) for start in range(0, len(values), _BATCH)]
        outputs = {}
        for axis, *same in zip(_axes(self.network), *parts, strict=True):
            last = np.moveaxis(np.concatenate(same), axis, -1)
            outputs[last.shape[-1]] = last if self.is_upright or last.ndim == 2 else last.transpose(0, 2, 1, 3)
        return outputs


@dataclass(frozen=True)
class MTCNN:
    """Three networks, each surer than the one before."""

    digest: str
    propose: _Stage
    refine: _Stage
    output: _Stage
    min_face_px: int
    min_score: float
    NAME: str = "mtcnn"

    def find(self, picture: NDArray[np.uint8]) -> list[Face]:
        """Faces of at least `min_face_px` in uint8 RGB [h, w, 3], the surest first."""
        proposed = self._proposed(picture)
        refined = self._refined(picture, proposed)
        faces = self._output(picture, refined).faces(self.NAME)
        return large_enough(faces, self.min_face_px)

    def _proposed(self, picture: NDArray[np.uint8]) -> Candidates:
        """What P-Net proposes in all pictures of the pyramid, moved as it says, and square."""
        import numpy as np

        levels = list(self._levels(picture))
        if not levels:
            return _nothing()
        boxes, shifts, scores = (np.concatenate(parts) for parts in zip(*levels, strict=True))
        chosen = surest(boxes, scores, 0.7)
        return Candidates(_square(_moved(boxes[chosen], shifts[chosen])), np.zeros((len(chosen), 0, 2)), scores[chosen])

    def _levels(self, picture: NDArray[np.uint8]) -> Iterator[tuple[NDArray[np.floating[Any]], ...]]:
        """Boxes, shifts and scores of each level."""
        import numpy as np

        scale = _PROPOSED_PX / self.min_face_px
        while min(picture.shape[:2]) * scale >= _PROPOSED_PX:
            outputs = self.propose.run(resized(picture, scale)[np.newaxis])
            rows, columns = np.nonzero(outputs[2][0, ..., 1] >= _THRESHOLDS[0])
            corner = np.stack([columns, rows], axis=1) * _STRIDE
            boxes = np.concatenate([corner, corner + _PROPOSED_PX], axis=1) / scale
            scores, shifts = outputs[2][0, rows, columns, 1], outputs[4][0, rows, columns]
            chosen = surest(boxes, scores, 0.5)
            yield boxes[chosen], shifts[chosen], scores[chosen]
            scale *= _FACTOR

    def _refined(self, picture: NDArray[np.uint8], proposed: Candidates) -> Candidates:
        """What R-Net leaves of the proposals, moved and square."""
        if not len(proposed.scores):
            return proposed
        outputs = self.refine.run(_cut(picture, proposed.boxes, 24))
        sure = outputs[2][:, 1] > _THRESHOLDS[1]
        left = replace(proposed, scores=outputs[2][:, 1])[sure]
        chosen = surest(left.boxes, left.scores, 0.7)
        return replace(left[chosen], boxes=_square(_moved(left.boxes[chosen], outputs[4][sure][chosen])))

    def _output(self, picture: NDArray[np.uint8], refined: Candidates) -> Candidates:
        """What O-Net leaves, moved, with points as shares of the square that it saw: five x, then five y."""
        import numpy as np

        if not len(refined.scores):
            return refined
        outputs = self.output.run(_cut(picture, refined.boxes, 48))
        sides = refined.boxes[:, 2:] - refined.boxes[:, :2]
        points = outputs[10].reshape(-1, 2, 5).transpose(0, 2, 1) * sides[:, np.newaxis]
        points = points + refined.boxes[:, np.newaxis, :2]
        judged = Candidates(_moved(refined.boxes, outputs[4]), points, outputs[2][:, 1])
        judged = judged[judged.scores >= self.min_score]
        return judged[surest(judged.boxes, judged.scores, 0.7, of_smaller=True)]


def _nothing() -> Candidates:
    import numpy as np

    return Candidates(np.zeros((0, 4)), np.zeros((0, 5, 2)), np.zeros(0))


def _moved(boxes: NDArray[np.floating[Any]], shifts: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Boxes [n, 4] whose edges are moved by shares [n, 4] of width and height."""
    import numpy as np

    return np.asarray(boxes + shifts * np.tile(boxes[:, 2:] - boxes[:, :2], 2))


def _square(boxes: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Boxes [n, 4] widened to squares around their centres, on whole pixels."""
    import numpy as np

    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) / 2
    return np.asarray(np.rint(np.concatenate([centre - half, centre + half], axis=1)))


def _cut(picture: NDArray[np.uint8], boxes: NDArray[np.floating[Any]], side: int) -> NDArray[np.uint8]:
    """The squares [n, side, side, 3], black where they reach beyond the picture."""
    import cv2
    import numpy as np

    height, width = picture.shape[:2]
    cuts = np.zeros((len(boxes), side, side, 3), np.uint8)
    for cut, box in zip(cuts, boxes.astype(int), strict=True):
        x0, y0, x1, y1 = box
        square = np.zeros((max(1, y1 - y0), max(1, x1 - x0), 3), np.uint8)
        inside = picture[max(0, y0) : min(height, y1), max(0, x0) : min(width, x1)]
        top, left = max(0, -y0), max(0, -x0)
        square[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
        filter_ = cv2.INTER_AREA if square.shape[0] > side else cv2.INTER_LINEAR
        cut[:] = cv2.resize(square, (side, side), interpolation=filter_)
    return cuts
