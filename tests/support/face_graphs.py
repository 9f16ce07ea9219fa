"""ONNX graphs whose outputs hold given faces, encoded as the papers of the face finders write them.

Nothing of `bench` is used here: these encoders are what its decoders are tested against.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Target:
    """A face in pixels of what the network sees: x0, y0, x1, y1, and five points (x, y)."""

    box: tuple[float, float, float, float]
    points: tuple[tuple[float, float], ...]
    score: float

    @property
    def centre(self) -> tuple[float, float]:
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2

    @property
    def sides(self) -> tuple[float, float]:
        return self.box[2] - self.box[0], self.box[3] - self.box[1]


def target(x0: float, y0: float, width: float, height: float, score: float) -> Target:
    """A face with its points where those of faces are."""
    shares = ((0.3, 0.35), (0.7, 0.36), (0.52, 0.6), (0.33, 0.8), (0.68, 0.81))
    points = tuple((x0 + x * width, y0 + y * height) for x, y in shares)
    return Target((x0, y0, x0 + width, y0 + height), points, score)


def write(path: Path, outputs: Mapping[str, Array], shape: Sequence[int | str], softmax: str = "") -> Path:
    """A graph that gives these outputs for every picture; `softmax` names one that passes through a softmax before."""
    nodes, values = [], []
    for name, array in outputs.items():
        values.append(numpy_helper.from_array(array.astype(np.float32), f"value of {name}"))
        if name == softmax:
            nodes.append(helper.make_node("Softmax", [f"value of {name}"], [name], axis=-1))
        else:
            nodes.append(helper.make_node("Identity", [f"value of {name}"], [name]))
    declared = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, list(out.shape)) for name, out in outputs.items()
    ]
    return save(path, nodes, shape, declared, values)


def save(path: Path, nodes: list[Any], shape: Sequence[int | str], outputs: list[Any], values: list[Any]) -> Path:
    """A model with one input `picture`."""
    picture = helper.make_tensor_value_info("picture", TensorProto.FLOAT, list(shape))
    graph = helper.make_graph(nodes, "finder", [picture], outputs, values)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def scrfd(targets: Sequence[Target], side: int, *, points: bool = True, batched: bool = False) -> dict[str, Array]:
    """Distances in strides from the upper left corner of a cell; both anchors of it say the same (Guo et al., 2021)."""
    levels = {}
    for stride in (8, 16, 32):
        cells = side // stride
        levels[stride] = [np.zeros((cells * cells * 2, values), np.float32) for values in (1, 4, 10)]
    for face in targets:
        stride = min((8, 16, 32), key=lambda step: abs(max(face.sides) - 8 * step))
        column, row = (int(position // stride) for position in face.centre)
        x, y = column * stride, row * stride
        scores, boxes, marks = levels[stride]
        for anchor in (0, 1):
            index = (row * (side // stride) + column) * 2 + anchor
            scores[index] = face.score - 0.01 * anchor
            boxes[index] = (x - face.box[0], y - face.box[1], face.box[2] - x, face.box[3] - y)
            boxes[index] /= stride
            marks[index] = [value / stride for px, py in face.points for value in (px - x, py - y)]
    kinds = ((0, "score"), (1, "bbox"), (2, "kps"))[: 3 if points else 2]
    named = {f"{name}_{stride}": parts[kind] for kind, name in kinds for stride, parts in levels.items()}
    return {name: array[np.newaxis] if batched else array for name, array in named.items()}


def retinaface(targets: Sequence[Target], width: int, height: int) -> dict[str, Array]:
    """Offsets from priors with variances .1 and .2, and logits (Deng et al., 2020, as an SSD encodes them)."""
    priors = [
        ((column + 0.5) * step, (row + 0.5) * step, size)
        for step, sizes in ((8, (16, 32)), (16, (64, 128)), (32, (256, 512)))
        for row in range(-(-height // step))
        for column in range(-(-width // step))
        for size in sizes
    ]
    boxes, marks = np.zeros((1, len(priors), 4), np.float32), np.zeros((1, len(priors), 10), np.float32)
    logits = np.tile(np.asarray([4, -4], np.float32), (1, len(priors), 1))
    for face in targets:
        (centre_x, centre_y), (wide, high) = face.centre, face.sides

        def misfit(index: int, wide: float = wide, x: float = centre_x, y: float = centre_y) -> float:
            return abs(math.log(priors[index][2] / wide)) * 50 + abs(priors[index][0] - x) + abs(priors[index][1] - y)

        best = min(range(len(priors)), key=misfit)
        x, y, size = priors[best]
        boxes[0, best, :2] = (centre_x - x) / size / 0.1, (centre_y - y) / size / 0.1
        boxes[0, best, 2:] = np.log(wide / size) / 0.2, np.log(high / size) / 0.2
        marks[0, best] = [value / size / 0.1 for px, py in face.points for value in (px - x, py - y)]
        logits[0, best] = (0, np.log(face.score / (1 - face.score)))
    return {"loc": boxes, "conf": logits, "landms": marks}


def blazeface(targets: Sequence[Target], side: int) -> dict[str, Array]:
    """Pixels from the middle of a cell: centre, size, two eyes, nose, mouth, two ears (Bazarevsky et al., 2019)."""
    grids = {128: ((8, 2), (16, 6)), 256: ((16, 2), (32, 6)), 192: ((4, 1),)}[side]
    anchors = [
        ((column + 0.5) * stride, (row + 0.5) * stride)
        for stride, count in grids
        for row in range(side // stride)
        for column in range(side // stride)
        for _ in range(count)
    ]
    values, logits = np.zeros((1, len(anchors), 16), np.float32), np.full((1, len(anchors), 1), -200, np.float32)
    for face in targets:
        centre_x, centre_y = face.centre
        distances = [abs(x - centre_x) + abs(y - centre_y) for x, y in anchors]
        x, y = anchors[best := int(np.argmin(distances))]
        mouth = np.mean(face.points[3:], axis=0)
        marks = (*face.points[:3], mouth, face.box[:2], face.box[1:3])
        values[0, best] = [centre_x - x, centre_y - y, *face.sides, *(v for px, py in marks for v in (px - x, py - y))]
        logits[0, best] = np.log(face.score / (1 - face.score))
    return {"regressors": values, "classificators": logits}


def mtcnn(folder: Path, *, channels_last: bool, upright: bool, shift: Sequence[float], marks: Sequence[float]) -> Path:
    """Three networks to which a white square on black is a face: scores are the mean of what they see.

    O-Net moves the edges by `shift` and puts the points at `marks`, both in shares of what it sees.
    """
    folder.mkdir()
    for name, side in (("a", 48), ("b", 24), ("c", 12)):
        is_proposing = side == 12
        nodes: list[Any] = []

        def then(kind: str, *inputs: str, nodes: list[Any] = nodes, **attributes: Any) -> str:
            nodes.append(helper.make_node(kind, list(inputs), [f"t{len(nodes)}"], **attributes))
            return f"t{len(nodes) - 1}"

        seen = then("Transpose", "picture", perm=[0, 3, 1, 2]) if channels_last else "picture"
        # A white pixel goes in as 127.5 / 128, a black one as its negative.
        scaled = then("Mul", seen, "half")
        grey = then("ReduceMean", then("Add", scaled, "half"), axes=[1], keepdims=1)
        if is_proposing:
            bright = then("AveragePool", grey, kernel_shape=[12, 12], strides=[2, 2])
        else:
            turned = then("Transpose", grey, perm=[0, 3, 2, 1] if upright else [0, 1, 2, 3])
            bright = then("Flatten", then("ReduceMean", turned, axes=[1, 2, 3], keepdims=1))
        outputs = {2: then("Concat", then("Sub", "one", bright), bright, axis=1)}
        moves = {4: [0.0] * 4} if side < 48 else {4: list(shift), 10: list(marks)}
        for count in moves:
            zeros = then("Concat", *[then("Mul", bright, "zero")] * count, axis=1)
            outputs[count] = then("Add", zeros, f"moves {count}")
        if channels_last and is_proposing:
            outputs = {count: then("Transpose", output, perm=[0, 2, 3, 1]) for count, output in outputs.items()}
        values = [
            numpy_helper.from_array(np.asarray(number, np.float32), title)
            for title, number in (("half", 0.5), ("one", 1), ("zero", 0))
        ]
        values += [
            numpy_helper.from_array(
                np.asarray(numbers, np.float32).reshape((1, -1, 1, 1) if is_proposing else (1, -1)), f"moves {count}"
            )
            for count, numbers in moves.items()
        ]
        sides: list[int | str] = ["h", "w"] if is_proposing else [side, side]
        shape = ["n", *sides, 3] if channels_last else ["n", 3, *sides]
        declared = [helper.make_tensor_value_info(output, TensorProto.FLOAT, None) for output in outputs.values()]
        save(folder / f"{name}.onnx", nodes, shape, declared, values)
    return folder
