"""What an ONNX file takes and gives: names, types and sides of its inputs and outputs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.records import TensorShape


def read(file: Path) -> Any:
    """The model in an ONNX file, as the package onnx holds it."""
    import onnx

    return onnx.load(file)


def inputs_and_outputs(file: Path) -> tuple[dict[str, TensorShape], dict[str, TensorShape]]:
    """Both by name, in the file's order. A side that is not fixed, such as the number of frames, is -1."""
    import onnx

    graph = onnx.load(file, load_external_data=False).graph
    constants = {constant.name for constant in graph.initializer}
    return _shapes(value for value in graph.input if value.name not in constants), _shapes(graph.output)


def _shapes(values: Iterable[Any]) -> dict[str, TensorShape]:
    from onnx import helper

    shapes = {}
    for value in values:
        tensor = value.type.tensor_type
        sides = tuple(side.dim_value if side.HasField("dim_value") else -1 for side in tensor.shape.dim)
        shapes[value.name] = (helper.tensor_dtype_to_np_dtype(tensor.elem_type).name, sides)
    return shapes
