"""Biases of quantised graphs: on average over the frames, convolutions write what they wrote in float."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bench.variants.steps.quantize import graph_biases

FRAMES = np.random.default_rng(0).integers(0, 256, (6, 3, 5, 5), dtype=np.uint8)


def graph(weight: NDArray[np.float32], groups: int, opset: int, *, rounded: bool, bias: bool) -> onnx.ModelProto:
    """A 1x1 convolution over uint8 frames, its weights in float or as coarse integers."""
    scales = (np.abs(weight).max((1, 2, 3)) / 2.6).astype(np.float32)
    integers = np.rint(weight / scales.reshape(-1, 1, 1, 1)).astype(np.int8)
    constants = {"integers": integers, "scales": scales, "zeros": np.zeros_like(scales, np.int8), "weight": weight}
    constants["bias"] = np.linspace(-1, 1, len(weight), dtype=np.float32)
    names = ["integers", "scales", "zeros"] if rounded else ["weight"]
    read = [helper.make_node("DequantizeLinear", names, ["weight"], axis=0)] if rounded else []
    conv = helper.make_node("Conv", ["x", "weight", *["bias"] * bias], ["y"], name="conv", group=groups)
    nodes = [helper.make_node("Cast", ["frames"], ["x"], to=TensorProto.FLOAT), *read, conv]
    stored = [*names, *["bias"] * bias]
    return helper.make_model(
        helper.make_graph(
            nodes, "g",
            [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["n", 3, 5, 5])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(constants[name], name) for name in stored],
        ),
        opset_imports=[helper.make_opsetid("", opset)], ir_version=8,
    )  # fmt: skip


def outputs(model: onnx.ModelProto) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    written: NDArray[np.float32] = session.run(None, {"frames": FRAMES})[0]
    return written


@pytest.mark.parametrize(("groups", "opset", "bias"), [(1, 13, True), (3, 13, False), (3, 18, True)])
def test_means_are_those_of_the_float_graph(groups: int, opset: int, bias: bool) -> None:
    weight = np.random.default_rng(1).normal(size=(6, 3 // groups, 1, 1)).astype(np.float32)
    original = graph(weight, groups, opset, rounded=False, bias=bias)
    quantised = graph(weight, groups, opset, rounded=True, bias=bias)
    expected = outputs(original).mean((0, 2, 3))
    assert np.abs(outputs(quantised).mean((0, 2, 3)) - expected).max() > 1
    graph_biases.correct(quantised, original, [FRAMES[:4], FRAMES[4:]], 1)
    np.testing.assert_allclose(outputs(quantised).mean((0, 2, 3)), expected, atol=1e-3)
