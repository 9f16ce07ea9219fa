"""Limits such as those of ReLU6 in a quantised graph: left out where rounding implies them, and never elsewhere."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from bench.artifacts.onnx_session import session_options
from bench.runtimes.onnxruntime import islands, lowering, single_layers
from bench.runtimes.onnxruntime.lowering import EVERYWHERE, Kernels


def two_layers(limit: str, last_range: tuple[float, int], *, bias: float = 1.0) -> onnx.ModelProto:
    """1x1, limits, depthwise 3x3, limits, 1x1, as MobileNets have them; `last_range` is the second limits' scale."""
    rng = np.random.default_rng(7)
    constants: dict[str, Any] = {
        "scale0": np.float32(0.02), "zero0": np.uint8(128), "scale1": np.float32(6 / 255), "zero1": np.uint8(0),
        "scale2": np.float32(0.09), "zero2": np.uint8(110),
        "scale3": np.float32(last_range[0]), "zero3": np.uint8(last_range[1]),
        "lowest": np.float32(0), "highest": np.float32(6),
    }  # fmt: skip
    shapes = {"expand": (32, 16, 1, 1), "depthwise": (32, 1, 3, 3), "project": (16, 32, 1, 1)}
    for name, shape in shapes.items():
        constants[f"{name}.w"] = rng.integers(-60, 61, shape).astype(np.int8)
        constants[f"{name}.s"] = rng.uniform(0.01, 0.03, shape[0]).astype(np.float32)
        constants[f"{name}.b"] = (bias * rng.normal(size=shape[0])).astype(np.float32)
    nodes = []

    def through(source: str, number: int, written: str) -> None:
        scale = [f"scale{number}", f"zero{number}"]
        nodes.append(helper.make_node("QuantizeLinear", [source, *scale], [f"{written}.q"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{written}.q", *scale], [written]))

    def layer(name: str, source: str, **attributes: Any) -> None:
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}.w", f"{name}.s"], [f"{name}.f"], axis=0))
        inputs = [source, f"{name}.f", f"{name}.b"]
        nodes.append(helper.make_node("Conv", inputs, [f"{name}.out"], name=name, **attributes))

    def clamp(source: str, written: str) -> None:
        ends = ["lowest", "highest"] if limit == "Clip" else []
        nodes.append(helper.make_node(limit, [source, *ends], [written]))

    through("frames", 0, "a")
    layer("expand", "a")
    clamp("expand.out", "b")
    through("b", 1, "c")
    layer("depthwise", "c", group=32, pads=[1] * 4)
    through("depthwise.out", 2, "d")
    clamp("d", "e")
    through("e", 3, "f")
    layer("project", "f")
    graph = helper.make_graph(
        nodes, "two",
        [helper.make_tensor_value_info("frames", TensorProto.FLOAT, ["n", 16, 9, 9])],
        [helper.make_tensor_value_info("project.out", TensorProto.FLOAT, ["n", 16, 9, 9])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def answers(model: onnx.ModelProto, *, as_written: bool = False) -> Any:
    options = session_options(1, floats=True)
    if as_written:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    frames = np.random.default_rng(0).uniform(-2.5, 2.5, (2, 16, 9, 9)).astype(np.float32)
    return session.run(None, {"frames": frames})[0]


def kinds(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


IMPLIED, WIDER = (6 / 255, 0), (7 / 255, 0)
"""Scales with which the second limits' bytes end at 6, and beyond it."""


@pytest.mark.parametrize(
    ("limit", "scale"),
    [
        ("Clip", IMPLIED), ("Clip", (5 / 255, 0)), ("Clip", WIDER), ("Clip", (6 / 200, 55)),
        ("Relu", WIDER), ("Relu", (0.03, 20)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("chosen", [EVERYWHERE, Kernels(floats=frozenset({"expand"}))])
def test_limits_are_what_they_were(limit: str, scale: tuple[float, int], chosen: Kernels) -> None:
    """But for borders between integers, of which a weight makes at most so much."""
    model = two_layers(limit, scale)
    expected, answer = answers(model, as_written=True), answers(lowering.lower(model, chosen))
    step = float(np.abs(expected).max()) / 100
    assert (np.abs(answer - expected) > step).mean() < 0.01
    assert np.abs(answer - expected).mean() < step / 20


def test_padding_that_is_worked_out_stays() -> None:
    """As networks from Keras and TensorFlow have it: `auto_pad` in the place of numbers."""
    model = two_layers("Clip", IMPLIED)
    expected = answers(lowering.lower(model))
    (node,) = [node for node in model.graph.node if node.name == "depthwise"]
    (pads,) = [attribute for attribute in node.attribute if attribute.name == "pads"]
    node.attribute.remove(pads)
    node.attribute.append(helper.make_attribute("auto_pad", "SAME_UPPER"))
    np.testing.assert_array_equal(answers(lowering.lower(model)), expected)


def test_what_rounding_implies_is_left_out() -> None:
    lowered = kinds(lowering.lower(two_layers("Clip", IMPLIED)))
    assert (lowered["Clip"], lowered["QLinearConv"], lowered["QLinearLeakyRelu"]) == (0, 2, 1)
    assert lowered["MatMulIntegerToFloat"] == 1, "what writes floats stays a product"
    assert lowered["QuantizeLinear"] == 1, "only the frames are rounded in a pass of their own"


def test_a_limit_below_the_largest_byte_stays() -> None:
    lowered = kinds(lowering.lower(two_layers("Clip", WIDER)))
    assert (lowered["Clip"], lowered["QLinearLeakyRelu"]) == (1, 0)


def test_a_lower_limit_counts_too() -> None:
    """With a zero point, bytes reach below 0, where ReLU does not."""
    model = two_layers("Relu", IMPLIED)
    for constant in model.graph.initializer:
        if constant.name == "zero1":
            constant.CopyFrom(numpy_helper.from_array(np.array(40, np.uint8), "zero1"))
    lowered = kinds(lowering.lower(model))
    assert (lowered["Relu"], lowered["QLinearConv"], lowered["MatMulIntegerToFloat"]) == (1, 1, 2)
    expected, answer = answers(model, as_written=True), answers(lowering.lower(model))
    assert np.abs(answer - expected).mean() < float(np.abs(expected).max()) / 2000


def test_a_bias_beyond_32_bits_keeps_its_product() -> None:
    lowered = kinds(lowering.lower(two_layers("Clip", IMPLIED, bias=1e7)))
    assert lowered["QLinearConv"] == 1


def test_a_channel_that_is_switched_off_keeps_nothing_from_being_bytes() -> None:
    """Its weights are next to nothing, so that its bias is far beyond 32 bits in units of their scale."""
    model = two_layers("Clip", IMPLIED)
    for constant in model.graph.initializer:
        if constant.name == "expand.s":
            scales = numpy_helper.to_array(constant).copy()
            scales[3] = 1e-14
            constant.CopyFrom(numpy_helper.from_array(scales, "expand.s"))
    lowered = lowering.lower(model)
    assert kinds(lowered)["QLinearConv"] == 2
    expected = answers(model, as_written=True)
    assert np.abs(answers(lowered) - expected).mean() < float(np.abs(expected).max()) / 2000


def test_factors_of_channels_go_into_the_layer_before() -> None:
    model = two_layers("Clip", IMPLIED)
    rng = np.random.default_rng(1)
    factors = rng.uniform(1, 2, (1, 32, 1, 1)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(factors, "factors"))
    quantise = next(node for node in model.graph.node if node.op_type == "QuantizeLinear" and node.input[0] == "b")
    quantise.input[0] = "scaled"
    position = list(model.graph.node).index(quantise)
    model.graph.node.insert(position, helper.make_node("Mul", ["b", "factors"], ["scaled"]))
    lowered = lowering.lower(model)
    assert (kinds(lowered)["Mul"], kinds(lowered)["QLinearConv"]) == (0, 2)
    expected, answer = answers(model, as_written=True), answers(lowered)
    assert np.abs(answer - expected).mean() < float(np.abs(expected).max()) / 2000


def test_layers_are_timed_up_to_their_bytes() -> None:
    model = onnx.shape_inference.infer_shapes(two_layers("Clip", IMPLIED))
    names = single_layers.layer_shapes(model)
    assert {name: shape[-1] for name, shape in names.items()} == {"expand": True, "depthwise": True, "project": False}
    alone = kinds(single_layers.alone(model, "expand", EVERYWHERE))
    assert (alone["QLinearConv"], alone["Clip"]) == (1, 0)
    in_float = kinds(single_layers.alone(model, "expand", Kernels(floats=frozenset({"expand"}))))
    assert (in_float["Conv"], in_float["Clip"], in_float["QuantizeLinear"]) == (1, 1, 1)


def test_a_layer_on_integers_among_layers_in_float_computes_in_float() -> None:
    model = onnx.shape_inference.infer_shapes(two_layers("Clip", IMPLIED))
    around = Kernels(signed=True, floats=frozenset({"expand", "project"}))
    assert islands.without_islands(model, around) == Kernels(signed=True, floats=around.floats | {"depthwise"})
    for floats in (frozenset({"expand"}), frozenset({"project"}), frozenset[str]()):
        assert islands.without_islands(model, Kernels(floats=floats)).floats == floats
