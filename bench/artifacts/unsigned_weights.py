"""Quantised graphs with unsigned bytes as weights, whose sums are exact on every processor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.artifacts.onnx_graph import graphs

if TYPE_CHECKING:
    import onnx

VERSION = 2
"""Raised whenever the same graph would become another."""


def unsigned(model: onnx.ModelProto) -> onnx.ModelProto:
    """A quantised graph that computes the same with unsigned bytes as weights, in standard operators.

    Weights are the signed constants that a DequantizeLinear reads. Constants of other operators, and activations, stay.
    """
    import onnx

    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for graph in graphs(changed.graph):
        _make_unsigned(graph)
    return changed


def _make_unsigned(graph: onnx.GraphProto) -> None:
    """The same for one graph, in place."""
    import numpy as np
    import onnx
    from onnx import numpy_helper

    constants = {constant.name: constant for constant in graph.initializer}
    signed = {name for name, constant in constants.items() if constant.data_type == onnx.TensorProto.INT8}
    others = {
        name
        for node in graph.node
        for index, name in enumerate(node.input)
        if index or node.op_type != "DequantizeLinear"
    }
    for node in graph.node:
        if node.op_type != "DequantizeLinear" or node.input[0] not in signed - others:
            continue
        name = f"{node.output[0]}.zero_point"
        if len(node.input) > 2 and node.input[2]:
            zeros = (numpy_helper.to_array(constants[node.input[2]]).astype(np.int16) + 128).astype(np.uint8)
            node.input[2] = name
        else:
            zeros = np.full(numpy_helper.to_array(constants[node.input[1]]).shape, 128, np.uint8)
            node.input[2:] = [name]
        graph.initializer.append(numpy_helper.from_array(zeros, name))
    for name in signed - others:
        weight = numpy_helper.to_array(constants[name]).astype(np.int16) + 128
        constants[name].CopyFrom(numpy_helper.from_array(weight.astype(np.uint8), name))
