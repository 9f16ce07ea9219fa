"""Quantised graphs with unsigned bytes as weights, whose sums are exact on every processor."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

VERSION = 2
"""Raised whenever the same graph would become another."""


def unsigned(model: onnx.ModelProto) -> onnx.ModelProto:
    """A quantised graph that computes the same with unsigned bytes as weights, in standard operators."""
    import numpy as np
    import onnx
    from onnx import numpy_helper

    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    constants = {constant.name: constant for constant in changed.graph.initializer}
    signed = {name for name, constant in constants.items() if constant.data_type == onnx.TensorProto.INT8}
    for node in changed.graph.node:
        if node.op_type != "DequantizeLinear" or node.input[0] not in signed:
            continue
        if len(node.input) > 2:
            raise ValueError(f"{node.name}: signed weights with a zero point; bench writes none")
        zeros = np.full(numpy_helper.to_array(constants[node.input[1]]).shape, 128, np.uint8)
        changed.graph.initializer.append(numpy_helper.from_array(zeros, f"{node.output[0]}.zero_point"))
        node.input.append(f"{node.output[0]}.zero_point")
    for name in signed:
        weight = numpy_helper.to_array(constants[name]).astype(np.int16) + 128
        constants[name].CopyFrom(numpy_helper.from_array(weight.astype(np.uint8), name))
    return changed
