"""What int8 gains on this processor: a small network of convolutions in onnxruntime, in fp32 and in integers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.artifacts.onnx_session import session_options
from bench.system.processor import processor

if TYPE_CHECKING:
    from numpy.typing import NDArray

SECONDS, LEAST_TURNS, MOST_TURNS = 1.0, 10, 200
_SIDE = 28
# Input and output channels, side of the kernel: what an EfficientNet spends its time on, but for depthwise layers.
_LAYERS = ((64, 256, 1), (256, 64, 1), (64, 64, 3), (64, 256, 1), (256, 64, 1))
_MOST = 4.0
"""What values of these layers hardly ever exceed."""
_PARTS = ("bytes", "byte_scale", "byte_zero")
_NEAR = 0.99
"""The least correlation of what both compute; rounding leaves it above 0.999."""


def measure(seconds: float = SECONDS) -> dict[str, Any]:
    """The ratio of the times of neighbouring calls: its median and quartiles; and whether both compute the same."""
    frames = np.random.default_rng(0).random((1, _LAYERS[0][0], _SIDE, _SIDE), np.float32)
    floats, integers = (_session(quantised) for quantised in (False, True))
    answers = [session.run(None, {"x": frames})[0] for session in (floats, integers)]
    ratios: list[float] = []
    began = time.perf_counter()
    while len(ratios) < LEAST_TURNS or (time.perf_counter() - began < seconds and len(ratios) < MOST_TURNS):
        # In turns, so that what else the machine does slows both alike.
        ratios.append(_seconds(floats, frames) / _seconds(integers, frames))
    low, ratio, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    return {
        "ratio": float(ratio),
        "low": float(low),
        "high": float(high),
        "seconds": time.perf_counter() - began,
        "right": bool(np.corrcoef(answers[0].ravel(), answers[1].ravel())[0, 1] > _NEAR),
    }


def _seconds(session: Any, frames: NDArray[np.float32]) -> float:
    """Of this thread's processor time, which others cannot take; of the clock's where a system counts it coarsely."""
    clock = time.thread_time if time.get_clock_info("thread_time").resolution < 1e-5 else time.perf_counter
    began = clock()
    session.run(None, {"x": frames})
    return max(clock() - began, 1e-9)


def _session(quantised: bool) -> Any:
    import onnxruntime

    # More threads would wait for each other wherever others compute too.
    options = session_options(1)
    return onnxruntime.InferenceSession(network(quantised), options, providers=["CPUExecutionProvider"])


def network(quantised: bool) -> bytes:
    """The network as ONNX: convolutions with ReLU, whose weights and inputs have 8 bits if `quantised`."""
    from onnx import TensorProto, helper, numpy_helper

    generator = np.random.default_rng(1)
    constants: dict[str, Any] = {"scale": np.float32(_MOST / 255), "zero": np.uint8(0)}
    nodes, values = [], "x"
    for index, (channels, filters, side) in enumerate(_LAYERS):
        weights = generator.normal(0, (2 / (channels * side * side)) ** 0.5, (filters, channels, side, side))
        names = [values, f"weights{index}"]
        if quantised:
            constants |= _rounded(weights, index)
            nodes += [
                helper.make_node("QuantizeLinear", [values, "scale", "zero"], [f"rounded{index}"]),
                helper.make_node("DequantizeLinear", [f"rounded{index}", "scale", "zero"], [f"inputs{index}"]),
                helper.make_node("DequantizeLinear", [f"{part}{index}" for part in _PARTS], [f"weights{index}"]),
            ]
            names[0] = f"inputs{index}"
        else:
            constants[f"weights{index}"] = weights.astype(np.float32)
        nodes.append(helper.make_node("Conv", names, [f"sums{index}"], pads=[side // 2] * 4))
        values = f"values{index}"
        nodes.append(helper.make_node("Relu", [f"sums{index}"], [values]))
    end = {True: ("QuantizeLinear", "DequantizeLinear"), False: ("Identity", "Identity")}[quantised]
    extra = ["scale", "zero"] * quantised
    nodes += [helper.make_node(end[0], [values, *extra], ["last"]), helper.make_node(end[1], ["last", *extra], ["y"])]
    shapes = [("x", _LAYERS[0][0]), ("y", _LAYERS[-1][1])]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, width, _SIDE, _SIDE]) for n, width in shapes]
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "int8", ends[:1], ends[1:], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    serialised: bytes = model.SerializeToString()
    return serialised


def _rounded(weights: NDArray[np.float64], index: int) -> dict[str, Any]:
    """Weights in 8 bits, with their scale and zero: unsigned where sums of signed ones could be cut off."""
    scale = np.abs(weights).max() / 127
    kind, zero = (np.int8, 0) if processor().exact_with_signed_bytes else (np.uint8, 128)
    rounded = (np.rint(weights / scale) + zero).astype(kind)
    return {
        f"{part}{index}": value for part, value in zip(_PARTS, (rounded, np.float32(scale), kind(zero)), strict=True)
    }
