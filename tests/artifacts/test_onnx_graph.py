"""Graphs that are written anew: what nodes read is in them, nothing else, and what a graph says of its tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bench.artifacts.onnx_graph import GraphWriter, groups, is_pointwise, shapes


def test_only_constants_that_nodes_read_are_written_in_the_order_of_their_use() -> None:
    """One of a name that is defined again has its last values."""
    before = {"old": 0, "unused": 1, "c": 2}
    writer = GraphWriter(numpy_helper.from_array(np.array(n, np.float32), name) for name, n in before.items())
    writer.constant("new", np.array([3, 4], np.int64))
    writer.constant("c", np.uint8(7))
    assert writer.node("Add", ["x", "new"], "y") == "y"
    writer.node("Mul", ["y", "c"], "z", "product")
    writer.node("Mul", ["z", "old"], "new_z", domain="elsewhere", alpha=1.0)
    assert [(node.name, node.domain) for node in writer.nodes] == [("y", ""), ("product", ""), ("new_z", "elsewhere")]
    constants = {constant.name: numpy_helper.to_array(constant) for constant in writer.initializers()}
    assert list(constants) == ["new", "c", "old"]
    assert constants["c"].dtype == np.uint8
    assert (int(constants["c"]), float(constants["old"])) == (7, 0.0)


@pytest.mark.parametrize(
    ("attributes", "side", "pointwise"),
    [
        ({}, 1, True), ({"strides": [1, 1], "pads": [0, 0, 0, 0], "group": 1}, 1, True), ({}, 3, False),
        ({"strides": [2, 1]}, 1, False), ({"pads": [0, 0, 1, 1]}, 1, False), ({"group": 4}, 1, False),
    ],
)  # fmt: skip
def test_a_convolution_is_pointwise_where_it_is_one_matrix_product(
    attributes: dict[str, Any], side: int, pointwise: bool
) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], **attributes)
    assert groups(node) == attributes.get("group", 1)
    assert is_pointwise(node, (8, 8, side, side)) == pointwise


def test_shapes_are_those_of_inputs_outputs_and_inferred_tensors() -> None:
    value, nodes = helper.make_tensor_value_info, [helper.make_node("Relu", ["x"], ["y"])]
    nodes.append(helper.make_node("Flatten", ["y"], ["z"]))
    made = helper.make_graph(
        nodes, "graph", [value("x", TensorProto.FLOAT, ["n", 3, 2, 2])], [value("z", TensorProto.FLOAT, ["n", 12])]
    )
    model = onnx.shape_inference.infer_shapes(helper.make_model(made))
    assert shapes(model.graph) == {"x": [0, 3, 2, 2], "y": [0, 3, 2, 2], "z": [0, 12]}
