"""Convolutions between which limits such as those of ReLU6 lie alone share one rounding, and ids tell of it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bench.variants.steps import quantize
from bench.variants.steps.quantize import candidates
from bench.variants.steps.quantize.behind_limits import with_limits
from bench.variants.steps.quantize.observe import ChannelStatistics, Convolution

WEIGHT = np.random.default_rng(0).normal(size=(8, 8, 1, 1)).astype(np.float32)


def layer(name: str, read: str, **further: Any) -> Convolution:
    return Convolution(name, read, f"{name}.out", WEIGHT, np.zeros(8, np.float32), 1, True, None, **further)


def graph(limit: str, *, lowest: float = 0.0, read_twice: bool = False, given_out: bool = False) -> onnx.GraphProto:
    """first → limits → second; what the limits leave may be read by an Add too, or be an output."""
    ends = ["lowest", "highest"] if limit == "Clip" else []
    nodes = [
        helper.make_node("Conv", ["frames", "w"], ["first.out"], name="first"),
        helper.make_node(limit, ["first.out", *ends], ["limited"]),
        helper.make_node("Conv", ["limited", "w"], ["second.out"], name="second"),
        helper.make_node("Add", ["second.out", "limited" if read_twice else "second.out"], ["sum"]),
    ]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ["sum", *["limited"] * given_out]
    ]
    constants = {"w": WEIGHT, "lowest": np.float32(lowest), "highest": np.float32(6)}
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    read = [helper.make_tensor_value_info("frames", TensorProto.FLOAT, None)]
    return helper.make_graph(nodes, "limits", read, outputs, initializers)


def both(of: onnx.GraphProto) -> list[Convolution]:
    return with_limits(of, [layer("first", "frames"), layer("second", "limited")])


@pytest.mark.parametrize(("limit", "highest"), [("Clip", 6.0), ("Relu", math.inf)])
def test_limits_between_two_convolutions(limit: str, highest: float) -> None:
    first, second = both(graph(limit))
    assert (first.before_limits, first.behind, second.before_limits) == (True, None, False)
    assert second.behind is not None
    assert (second.behind.lowest, second.behind.highest) == (0, highest)


@pytest.mark.parametrize(
    "of",
    [graph("Relu", read_twice=True), graph("Clip", lowest=-1.0), graph("Relu", given_out=True), graph("Sigmoid")],
    ids=["read twice", "not from 0 on", "given out", "no limits"],
)
def test_what_is_read_otherwise_is_rounded_for_itself(of: onnx.GraphProto) -> None:
    assert not any(convolution.before_limits or convolution.behind for convolution in both(of))


def test_bytes_end_where_the_limit_is() -> None:
    """Whatever the channels' ranges, and for channels that are silent on calibration frames."""
    highest = np.array([[6, 6, 0.5, 2, 0, 6, 1e-3, 3]] * 10, np.float32)
    entering = ChannelStatistics(np.zeros_like(highest), highest, highest.mean(0), np.square(highest).mean(0))
    depthwise = replace(layer("first", "frames"), pointwise=False)
    first, second = both(graph("Clip"))
    assert first.behind is None
    *on_integers, spare = candidates.for_convolution(second, {"limited": entering}, None)
    assert spare.input is None
    for tried in on_integers:
        assert tried.input is not None
        factors = np.ones(8) if tried.channel_scales is None else tried.channel_scales
        assert tried.input.zero_point == 0
        assert (np.rint(np.float32(6) * factors / tried.input.scale) >= 255).all()
        assert tried.extra_scales == 0, "the convolution before takes them into its weights"
    written = {"frames": entering, "first.out": entering}
    assert all(tried.output for tried in candidates.for_convolution(depthwise, written, None)[:-1])
    shared = replace(depthwise, before_limits=True)
    assert not any(tried.output for tried in candidates.for_convolution(shared, {"frames": entering}, None))


def test_weights_alone_keep_their_ids() -> None:
    """Versions from 9 on are of what `dtype` makes, 8 of networks with limits."""
    weights, both_sides = quantize.Settings(weights="int8"), quantize.Settings(dtype="int8")
    for architecture in ("efficientnet_b5", "efficientnet_b0"):
        assert quantize.version_for(weights, architecture) == 7
        assert quantize.version_for(both_sides, architecture) == quantize.VERSION == 11
    for architecture in ("timm:tf_efficientnet_lite0", "timm:test_nfnet", "ganfingerprint", "timm:coat_tiny"):
        assert quantize.version_for(weights, architecture) == 8
        assert quantize.version_for(both_sides, architecture) == quantize.VERSION
