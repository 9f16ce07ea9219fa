"""Shapes of a graph's tensors. Those that inference leaves open are read off two runs, of one frame and of two.

Inference gives up behind operators whose result depends on the number of frames, as where a class token is expanded
to every frame. A side that two runs agree about is fixed.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from bench.artifacts.onnx_graph import shapes
from bench.artifacts.onnx_session import session_options
from bench.detectors.layer_names import is_in_backbone


def inferred(model: onnx.ModelProto, threads: int) -> onnx.ModelProto:
    """A copy of `model` with inferred shapes, and with those of all that its layers read and write.

    Layers are the convolutions and linear layers of the backbone, in float or quantised. Sides that follow the number
    of frames stay open.
    """
    model = onnx.shape_inference.infer_shapes(model)
    measured = _measured(model, _open(model.graph), threads)
    others = [value for value in model.graph.value_info if value.name not in measured]
    del model.graph.value_info[:]
    model.graph.value_info.extend(others)
    model.graph.value_info.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, sides) for name, sides in measured.items()
    )
    return model


def _open(graph: onnx.GraphProto) -> list[str]:
    """The tensors that layers read or write, of which more than the first side may be open."""
    sides = shapes(graph)
    weights = {constant.name for constant in graph.initializer}
    weights.update(node.output[0] for node in graph.node if node.op_type == "DequantizeLinear")
    layers = (
        node
        for node in graph.node
        if is_in_backbone(node.name)
        and (node.op_type == "Conv" or (node.op_type == "MatMul" and node.input[1] in weights))
    )
    tensors = dict.fromkeys(name for layer in layers for name in (layer.input[0], layer.output[0]))
    return [name for name in tensors if not all(sides.get(name, [0])[1:] or [0])]


def _measured(model: onnx.ModelProto, tensors: Collection[str], threads: int) -> dict[str, list[str | int]]:
    """By name of a tensor its sides; one that follows the number of frames is "n"."""
    if not tensors:
        return {}
    observed = copy.deepcopy(model)
    graph = observed.graph
    del graph.output[:]
    for tensor in tensors:
        graph.node.append(helper.make_node("Shape", [tensor], [f"{tensor}/shape"], name=f"{tensor}/shape"))
        graph.output.append(helper.make_tensor_value_info(f"{tensor}/shape", TensorProto.INT64, [None]))
    session: Any = onnxruntime.InferenceSession(
        observed.SerializeToString(), session_options(threads), providers=["CPUExecutionProvider"]
    )
    (frames,) = model.graph.input
    sides = shapes(model.graph)[frames.name][1:]
    of_one, of_two = (session.run(None, {frames.name: np.zeros((count, *sides), np.uint8)}) for count in (1, 2))
    return {
        tensor: [int(side) if side == other else "n" for side, other in zip(first, second, strict=True)]
        for tensor, first, second in zip(tensors, of_one, of_two, strict=True)
    }
