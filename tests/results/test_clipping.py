"""What a quantised graph clips: against NumPy on tiny graphs, in any graph that has fixed ranges."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bench.artifacts.unclipped import UnreadableRangesError, unclipped
from bench.records import CalibrationShift, Clipping
from bench.results import clipping
from bench.runtimes import onnxruntime
from bench.runtimes.onnxruntime.clipping import load_clipping
from tests.support import b0

SIDE = 4
WEIGHT = np.array([[0.5, -1.0], [-0.25, 2.0], [1.0, 0.125]], np.float32)
NODES: list[tuple[str, list[str], list[str], dict[str, Any]]] = [
    ("Cast", ["frames"], ["floats"], {"to": TensorProto.FLOAT}),
    ("QuantizeLinear", ["floats", "scale", "zero"], ["integers"], {}),
    ("DequantizeLinear", ["integers", "scale", "zero"], ["read"], {}),
    ("ReduceMean", ["read", "sides"], ["pooled"], {"keepdims": 0}),
    ("QuantizeLinear", ["pooled", "pooled_scale", "pooled_zero"], ["pooled_integers"], {}),
    ("DequantizeLinear", ["pooled_integers", "pooled_scale", "pooled_zero"], ["pooled_read"], {}),
    ("MatMul", ["pooled_read", "weight"], ["logits"], {}),
]
CONSTANTS: dict[str, Any] = {
    "scale": np.float32(0.75), "zero": np.uint8(0), "sides": np.array([2, 3]), "weight": WEIGHT,
    "pooled_scale": np.float32(0.5), "pooled_zero": np.int8(-100),
}  # fmt: skip


def model(nodes: Sequence[Any] = NODES, **constants: Any) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node(kind, inputs, outputs, outputs[0], **rest) for kind, inputs, outputs, rest in nodes],
        "tiny",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in {**CONSTANTS, **constants}.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(made)
    return made


def frames(count: int = 12, brightest: int = 255) -> NDArray[np.uint8]:
    """Frames from dark to bright."""
    limits = np.linspace(40, brightest, count)[:, None, None, None]
    return np.random.default_rng(3).uniform(0, limits, (count, 3, SIDE, SIDE)).astype(np.uint8)


def measured(folder: Path, graph: onnx.ModelProto, pixels: NDArray[np.uint8]) -> Clipping:
    session = load_clipping(b0.written(folder, graph, "int8"), 1)
    assert session is not None
    return clipping.measure(session, [pixels[:5], pixels[5:]])


def integers(values: NDArray[Any], scale: Any, zero: Any, limits: tuple[int, int] | None) -> NDArray[Any]:
    rounded: NDArray[Any] = np.rint(values / scale) + zero
    limited: NDArray[Any] = rounded if limits is None else np.clip(rounded, *limits)
    return limited


def in_numpy(pixels: NDArray[np.uint8], scale: Any = 0.75) -> tuple[float, list[float]]:
    """The noise, and the share of values that both activations clip, of the graph that `NODES` are."""
    shares: list[float] = []

    def answers(first: tuple[int, int] | None, second: tuple[int, int] | None) -> NDArray[Any]:
        values = pixels.astype(np.float64)
        read = (integers(values, scale, 0, first)) * scale
        pooled = read.mean((2, 3))
        logits = (integers(pooled, 0.5, -100, second) + 100) * 0.5 @ WEIGHT.astype(np.float64)
        if first is not None:
            free, free_pooled = integers(values, scale, 0, None), integers(pooled, 0.5, -100, None)
            shares.extend([float((free > 255).mean()), float((free_pooled > 127).mean())])
        return logits[:, 1] - logits[:, 0]

    limited, free = answers((0, 255), (-128, 127)), answers(None, None)
    return float(np.square(limited - free).mean() / free.var()), shares


def test_noise_and_shares_are_those_of_numpy(tmp_path: Path) -> None:
    noise, shares = in_numpy(frames())
    of_graph = measured(tmp_path, model(), frames())
    assert noise > 0.05
    assert 0 < min(shares) < max(shares) < 1
    assert of_graph.noise == pytest.approx(noise, rel=1e-4)
    assert of_graph.layers == pytest.approx({"integers": shares[0], "pooled_integers": shares[1]})
    assert of_graph.frames == 12


def test_with_limits_it_computes_what_the_artifact_says(tmp_path: Path) -> None:
    built = b0.written(tmp_path, model(), "int8")
    session, reference = load_clipping(built, 1), onnxruntime.load_reference(built, 1)
    assert session is not None
    logits = reference.predict(frames()).logits
    computed = [session.limited(frame) for frame in frames()]
    np.testing.assert_allclose(computed, logits[:, 1] - logits[:, 0], rtol=1e-6)


def test_where_nothing_is_clipped_there_is_no_noise_at_all(tmp_path: Path) -> None:
    of_graph = measured(tmp_path, model(), frames(brightest=100))
    assert (of_graph.noise, set(of_graph.layers.values())) == (0.0, {0.0})


@pytest.mark.parametrize("axis", [1, -3])
def test_scales_by_channel(axis: int, tmp_path: Path) -> None:
    scales = np.array([0.5, 0.75, 0.9], np.float32)
    nodes = [(kind, inputs, outputs, {**rest, "axis": axis} if "scale" in inputs else rest) for
             kind, inputs, outputs, rest in NODES]  # fmt: skip
    graph = model(nodes, scale=scales, zero=np.zeros(3, np.uint8))
    noise, shares = in_numpy(frames(), scales[:, None, None])
    of_graph = measured(tmp_path, graph, frames())
    assert of_graph.noise == pytest.approx(noise, rel=1e-4)
    assert of_graph.layers["integers"] == pytest.approx(shares[0])


def test_integers_that_are_only_moved_are_followed(tmp_path: Path) -> None:
    turned = [*NODES[:2], ("Transpose", ["integers"], ["turned"], {"perm": [0, 1, 3, 2]}),
              ("DequantizeLinear", ["turned", "scale", "zero"], ["read"], {}), *NODES[3:]]  # fmt: skip
    assert measured(tmp_path, model(turned), frames()) == measured(tmp_path, model(), frames())


def test_weights_that_the_graph_itself_rounds_are_no_activations(tmp_path: Path) -> None:
    of_weight = [("QuantizeLinear", ["weight", "fine", "signed"], ["weight_integers"], {}),
                 ("DequantizeLinear", ["weight_integers", "fine", "signed"], ["weight_read"], {}),
                 *NODES[:6], ("MatMul", ["pooled_read", "weight_read"], ["logits"], {})]  # fmt: skip
    graph = model(of_weight, fine=np.float32(1 / 64), signed=np.int8(0))
    assert list(measured(tmp_path, graph, frames()).layers) == ["integers", "pooled_integers"]


def test_what_lies_in_a_loop_is_counted_too(tmp_path: Path) -> None:
    """As a graph of a fixed batch is run."""
    body = helper.make_graph(
        [helper.make_node(kind, inputs, outputs, outputs[0], **rest) for kind, inputs, outputs, rest in NODES[1:]],
        "block",
        [helper.make_tensor_value_info("floats", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)],
    )
    looped = [
        NODES[0],
        ("Reshape", ["floats", "blocks"], ["stacked"], {}),
        ("Scan", ["stacked"], ["answers"], {"body": body, "num_scan_inputs": 1}),
        ("Reshape", ["answers", "flat"], ["logits"], {}),
    ]
    graph = model(looped, blocks=np.array([-1, 1, 3, SIDE, SIDE]), flat=np.array([-1, 2]))
    of_loop, plain = measured(tmp_path, graph, frames()), measured(tmp_path, model(), frames())
    assert of_loop.noise == pytest.approx(plain.noise)
    assert of_loop.layers == pytest.approx(plain.layers)


def test_ranges_that_are_not_fixed_or_not_to_be_read() -> None:
    floats = [NODES[0], ("ReduceMean", ["floats", "sides"], ["pooled"], {"keepdims": 0}),
              ("MatMul", ["pooled", "weight"], ["logits"], {})]  # fmt: skip
    assert unclipped(model(floats)) is None
    dynamic = [*floats[:2], ("DynamicQuantizeLinear", ["pooled"], ["bytes", "step", "middle"], {}),
               ("DequantizeLinear", ["bytes", "step", "middle"], ["back"], {}),
               ("MatMul", ["back", "weight"], ["logits"], {})]  # fmt: skip
    assert unclipped(model(dynamic)) is None
    inside = [*NODES[:5], ("MatMulInteger", ["pooled_integers", "bytes", "pooled_zero"], ["sums"], {}),
              ("Cast", ["sums"], ["logits"], {"to": TensorProto.FLOAT})]  # fmt: skip
    with pytest.raises(UnreadableRangesError, match="MatMulInteger computes with integers"):
        unclipped(model(inside, bytes=np.ones((3, 2), np.int8)))


def test_answers_that_are_alike_or_no_numbers_have_no_noise() -> None:
    assert clipping.noise(np.ones(4), np.ones(4)) == (None, None)
    assert clipping.noise(np.array([1.0, np.nan]), np.array([1.0, 2.0])) == (None, None)
    assert clipping.noise(np.array([1.0, 3.0]), np.array([1.0, 2.0])) == pytest.approx((0.5 / 0.25, 0.5))


def of_set(noise: float | None, deviation: float | None = 5.0) -> Clipping:
    return Clipping(noise, deviation, 48, {"first": 0.01, "second": 0.03})


NOISY = clipping.NOISE_BOUND * 3


@pytest.mark.parametrize(
    ("test", "calibration", "warned"),
    [
        (of_set(NOISY), of_set(0.0), True),
        (of_set(NOISY), None, True),
        (of_set(clipping.NOISE_BOUND / 2), of_set(0.0), False),
        (of_set(NOISY), of_set(NOISY / 2), False),  # a tail that calibration leaves out itself is no shift
        (of_set(NOISY, 0.5), of_set(0.0), False),  # all test frames look nearly the same to the detector
        (of_set(300 * NOISY, 0.5), of_set(0.0), True),
        (of_set(NOISY, 50.0), of_set(0.0), True),
        (of_set(None, None), None, None),
    ],
)
def test_what_is_warned_of(test: Clipping, calibration: Clipping | None, warned: bool | None) -> None:
    assert clipping.shift(test, calibration).warned is warned


def test_what_is_said_of_a_set() -> None:
    shift = clipping.shift(of_set(NOISY, 4.0), of_set(0.001, 5.0))
    assert shift == CalibrationShift(NOISY, 4.0, 0.001, 5.0, 0.02, "second", 0.03, 48, True)


def test_what_was_written_is_read_and_what_was_damaged_is_not(tmp_path: Path) -> None:
    file = tmp_path / "model.clipping-1.json"
    for clipped in (Clipping(0.01, 5.0, 48, {"first": 0.5}), Clipping(None, None, 0, {}, "no range")):
        clipping.write(file, clipped)
        assert clipping.read(file) == clipped
    for damaged in (Clipping(-1.0, 5.0, 48, {}), Clipping(0.1, 5.0, 48, {"first": 1.5}), Clipping(0.1, -5.0, 48, {})):
        clipping.write(file, damaged)
        assert clipping.read(file) is None
    assert clipping.read(tmp_path / "absent") is None
