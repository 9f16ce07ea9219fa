"""Networks of face finders in ONNX files, run by onnxruntime on one thread of the CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from bench.errors import UserError, shown
from bench.footage.detection import at_two_scales, fitted, large_enough, scaled, surest
from bench.records import Face

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Outputs: TypeAlias = Sequence[NDArray[np.floating[Any]]]

GRID = 32
"""Sides are multiples of the coarsest stride where a graph takes any size."""
_TRIAL_SIDE = 320
_MOST_SIDE = 8192


class Network:
    """A graph with one input, pictures of three channels, and all its outputs.

    `height` and `width` are None where it takes any. `shapes` are those of the outputs for a black picture.
    """

    def __init__(self, path: Path) -> None:
        """Load the graph and run it once. Raises `UserError` where either fails, or its input is no pictures."""
        from bench.artifacts.imports import file

        self.path = path
        with file.understood(path):
            self.model = file.load(path)
            self._session = _session(path, self.model)
            self._input, self._is_channels_last, sides = _input(path, self._session)
        self.height, self.width = sides
        if max(self.height or 0, self.width or 0) > _MOST_SIDE:
            raise UserError(
                f"{path}: takes pictures of {self.width} × {self.height} pixels; up to {_MOST_SIDE} on a side are "
                "understood"
            )
        self.names = [output.name for output in self._session.get_outputs()]
        self.shapes = [output.shape for output in self._trial()]

    def _trial(self) -> Outputs:
        import numpy as np

        side = _TRIAL_SIDE
        return self.run(np.zeros((1, self.height or side, self.width or side, 3), np.float32))

    def run(self, pictures: NDArray[np.float32]) -> Outputs:
        """All outputs for pictures [n, h, w, 3], as the network wants their values."""
        import numpy as np

        batch = pictures if self._is_channels_last else np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))
        try:
            outputs: Outputs = self._session.run(None, {self._input: batch})
        except Exception as error:  # onnxruntime raises its own kinds
            raise UserError(
                f"{self.path}: can't be run on {pictures.shape[2]} × {pictures.shape[1]} pixels: {_first(error)}"
            ) from error
        return outputs


def _session(path: Path, model: Any) -> Any:
    """onnxruntime's session of a graph."""
    from bench.artifacts.onnx_session import session_options

    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(f"{path}: onnxruntime, which runs it, can't be imported: {error}") from error
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), session_options(1), providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime raises its own kinds
        raise UserError(f"{path}: onnxruntime can't load it: {_first(error)}") from error


def _input(path: Path, session: Any) -> tuple[str, bool, tuple[int | None, int | None]]:
    """The input's name, whether channels come last, and the fixed height and width."""
    inputs = session.get_inputs()
    shapes = [list(entry.shape) for entry in inputs]
    if len(inputs) == 1 and inputs[0].type == "tensor(float)" and len(shapes[0]) == 4 and 3 in shapes[0][1::2]:
        is_channels_last = shapes[0][1] != 3
        sides = shapes[0][1:3] if is_channels_last else shapes[0][2:]
        height, width = (side if isinstance(side, int) and side > 0 else None for side in sides)
        return inputs[0].name, is_channels_last, (height, width)
    actual = "; ".join(f"{entry.name} {entry.type} {shape}" for entry, shape in zip(inputs, shapes, strict=True))
    raise UserError(
        f"{path}: expected one input of float pictures, [n, 3, height, width] or [n, height, width, 3], found "
        f"{shown(actual)}"
    )


def _first(error: Exception) -> str:
    return shown((str(error).strip() or type(error).__name__).splitlines()[0])


@dataclass(frozen=True)
class Pixels:
    """What a network wants of uint8 RGB: `(value - mean) / std` for each RGB channel, then their order."""

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    is_bgr: bool = False

    def of(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Float32 [h, w, 3]."""
        import numpy as np

        mean, std = (np.asarray(values, np.float32) for values in (self.mean, self.std))
        values = np.asarray((picture - mean) / std, np.float32)
        return np.ascontiguousarray(values[..., ::-1]) if self.is_bgr else values


@dataclass(frozen=True)
class Candidates:
    """What a network says of all its positions, in pixels of what it saw.

    `boxes` [n, 4] are x0, y0, x1, y1; `points` [n, 5, 2] in the order of `bench.records.POINTS`, [n, 0, 2] without any;
    `scores` [n].
    """

    boxes: NDArray[np.floating[Any]]
    points: NDArray[np.floating[Any]]
    scores: NDArray[np.floating[Any]]

    def __getitem__(self, chosen: NDArray[Any]) -> Candidates:
        return Candidates(self.boxes[chosen], self.points[chosen], self.scores[chosen])

    def faces(self, network: str) -> list[Face]:
        """As records."""
        rows = zip(self.boxes.tolist(), self.points.tolist(), self.scores.tolist(), strict=True)
        return [
            Face((box[0], box[1], box[2], box[3]), tuple((x, y) for x, y in points), score, network)
            for box, points, score in rows
        ]


Decode: TypeAlias = "Callable[[Outputs, int, int], Candidates]"
"""`decode(outputs, height, width)`: the candidates in a picture of this size."""


def distinct(candidates: Candidates, most: float) -> Candidates:
    """Those that no surer one overlaps by more than `most` (intersection over union), the surest first."""
    return candidates[surest(candidates.boxes, candidates.scores, most)]


@dataclass(frozen=True)
class SingleShot:
    """Finds faces with one network that answers for every position at once.

    A graph of fixed size sees the frame as large as it fits into it; one of any size sees it twice, if need be, as
    `at_two_scales` says.
    """

    NAME: str
    digest: str
    network: Network
    pixels: Pixels
    decode: Decode
    min_face_px: int
    min_score: float
    merge: Callable[[Candidates, float], Candidates] = distinct
    most_overlap: float = 0.4
    gives_points: bool = True

    def find(self, picture: NDArray[np.uint8]) -> list[Face]:
        """Faces of at least `min_face_px` in uint8 RGB [h, w, 3], the surest first."""
        height, width = self.network.height, self.network.width
        if height is None or width is None:
            return at_two_scales(picture, self._at, self.min_face_px)
        seen, scale = fitted(picture, height, width)
        return large_enough((scaled(face, 1 / scale) for face in self._at(seen)), self.min_face_px)

    def _at(self, picture: NDArray[np.uint8]) -> list[Face]:
        """The faces in a picture at its size, whose sides are made multiples of the coarsest stride."""
        import numpy as np

        if self.network.height is None or self.network.width is None:
            missing = [(0, -side % GRID) for side in picture.shape[:2]]
            picture = np.pad(picture, [*missing, (0, 0)])
        height, width = picture.shape[:2]
        outputs = self.network.run(self.pixels.of(picture)[np.newaxis])
        try:
            candidates = self.decode(outputs, height, width)
        except UserError as error:
            raise UserError(f"{self.network.path}: is read as {self.NAME}: {error}") from error
        scores = candidates.scores
        # Rounding may leave a sigmoid a little above 1.
        if len(scores) and not (np.isfinite(scores).all() and scores.min() >= -1e-3 and scores.max() <= 1 + 1e-3):
            raise UserError(
                f"{self.network.path}: is read as {self.NAME}, whose scores lie between 0 and 1; found "
                f"{scores.min():.3g} to {scores.max():.3g}. Export the network with its sigmoid or softmax"
            )
        sure = candidates[scores >= self.min_score]
        return self.merge(sure, self.most_overlap).faces(self.NAME)


def cells(height: int, width: int, stride: int, anchors: int = 1) -> NDArray[np.float32]:
    """Column and row of every position [n, 2] at a stride, row by row, each `anchors` times."""
    import numpy as np

    rows, columns = np.mgrid[: -(-height // stride), : -(-width // stride)]
    grid = np.stack([columns.ravel(), rows.ravel()], axis=1).astype(np.float32)
    return np.repeat(grid, anchors, axis=0)


def flat(output: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """[1, n, values] or [n, values] as [n, values]."""
    return output.reshape(-1, output.shape[-1])


def by_last(outputs: Outputs) -> dict[int, list[NDArray[np.floating[Any]]]]:
    """Outputs as [n, values] by their number of values, those with the most positions first."""
    groups: dict[int, list[NDArray[np.floating[Any]]]] = {}
    for output in sorted(map(flat, outputs), key=len, reverse=True):
        groups.setdefault(output.shape[-1], []).append(output)
    return groups
