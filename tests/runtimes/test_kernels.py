"""The kernels that execute int8 on a processor: exact ones, operator by operator, the fastest, always the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bench.artifacts.onnx_session import session_options
from bench.artifacts.unsigned_weights import unsigned
from bench.runtimes import onnxruntime as runtime
from bench.runtimes.onnxruntime import kernels, lowering, single_layers
from bench.runtimes.onnxruntime.kernels import Times
from bench.runtimes.onnxruntime.lowering import EVERYWHERE, Kernels
from bench.system import processor
from bench.system.processor import Processor
from tests.support import b0
from tests.support.quantised import quantised

AVX2 = Processor("x86_64", "one", frozenset({"avx2"}))
AVX_VNNI = Processor("x86_64", "two", frozenset({"avx2", "avx_vnni"}))
AVX512_VNNI = Processor("x86_64", "three", frozenset({"avx2", "avx512f", "avx512_vnni"}))
AMX = Processor("x86_64", "four", frozenset({"avx2", "avx512f", "avx512_vnni", "amx_int8"}))
NOTHING = Processor("x86_64", "", frozenset())
ARM = Processor("arm64", "", frozenset())


def convolution(groups: int, side: int, largest: int = 127) -> onnx.ModelProto:
    """A graph of one quantised convolution, 32 channels to 32, whose weights reach `largest`; 8-bit out unless 1x1."""
    rng = np.random.default_rng(groups + side)
    weight = rng.integers(-largest, largest + 1, (32, 32 // groups, side, side)).astype(np.int8)
    constants = {
        "x_scale": np.float32(0.02), "x_zero": np.uint8(30), "w": weight,
        "w_scale": rng.uniform(0.001, 0.002, 32).astype(np.float32), "b": rng.normal(size=32).astype(np.float32),
        "y_scale": np.float32(0.05 * np.sqrt(32 / groups) * side), "y_zero": np.uint8(120),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["frames", "x_scale", "x_zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "x_scale", "x_zero"], ["x"]),
        helper.make_node("DequantizeLinear", ["w", "w_scale"], ["weight"], axis=0),
        helper.make_node("Conv", ["x", "weight", "b"], ["c"], name="conv", group=groups, pads=[side // 2] * 4),
    ]
    last = "c"
    if side > 1:
        nodes.append(helper.make_node("QuantizeLinear", ["c", "y_scale", "y_zero"], ["p"]))
        nodes.append(helper.make_node("DequantizeLinear", ["p", "y_scale", "y_zero"], ["d"]))
        last = "d"
    graph = helper.make_graph(
        nodes, "one",
        [helper.make_tensor_value_info("frames", TensorProto.FLOAT, ["n", 32, 9, 9])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["n", 32, 9, 9])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def run(model: onnx.ModelProto, feed: dict[str, Any], names: list[str] | None = None, exact: bool = False) -> list[Any]:
    options = session_options(1, floats=True)
    if exact:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    answers: list[Any] = session.run(names, feed)
    return answers


def wide(count: int = 4) -> NDArray[np.float32]:
    """Inputs that use the whole range of unsigned bytes."""
    return np.random.default_rng(0).uniform(-0.6, 4.5, (count, 32, 9, 9)).astype(np.float32)


SHAPES = [(1, 1), (1, 3), (8, 3), (32, 3), (32, 5)]
"""Groups and side: a matrix product, a dense, a grouped and two depthwise convolutions."""


@pytest.mark.parametrize(("groups", "side"), SHAPES)
@pytest.mark.parametrize("as_floats", [False, True])
def test_every_operator_is_exact_but_for_borders_between_integers(groups: int, side: int, as_floats: bool) -> None:
    """Fed with the reference's own inputs, at most 1 % of values differ, by one step."""
    model = convolution(groups, side)
    chosen = Kernels(floats=frozenset({"conv"})) if as_floats else EVERYWHERE
    (expected,) = run(model, {"frames": wide()}, exact=True)
    (answer,) = run(lowering.lower(model, chosen), {"frames": wide()})
    if side == 1:
        np.testing.assert_allclose(answer, expected, atol=1e-5 * float(np.abs(expected).max()))
        return
    steps = np.rint(np.abs(answer - expected) / (0.05 * np.sqrt(32 / groups) * side))
    assert steps.max() <= 1
    assert (steps > 0).mean() <= 0.01


@pytest.mark.slow
def test_every_operator_of_a_network_is_exact_on_the_references_own_inputs() -> None:
    """By itself, on what it reads in the unoptimised graph: but for borders between integers, as above."""
    graph = onnx.shape_inference.infer_shapes(quantised())
    names = list(single_layers.layer_shapes(graph))
    nodes = {node.name: node for node in graph.graph.node}
    producers = {output: node for node in graph.graph.node for output in node.output}
    parts = {name: single_layers.alone(graph, name, EVERYWHERE) for name in names}
    read = {name: producers[nodes[name].input[0]].input[0] for name in names}
    written = {name: part.graph.output[0].name.removesuffix("/last") for name, part in parts.items()}
    watched = onnx.ModelProto()
    watched.CopyFrom(quantised())
    tensors = list(dict.fromkeys([*read.values(), *written.values()]))
    watched.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in tensors)
    values = dict(zip(tensors, run(watched, {"frames": b0.frames(1)}, tensors, exact=True), strict=True))
    for name, part in parts.items():
        (answer,) = run(part, {read[name]: values[read[name]].transpose(0, 2, 3, 1)})
        expected = values[written[name]].transpose(0, 2, 3, 1)
        if answer.dtype == np.uint8:
            differences = np.abs(answer.astype(int) - expected)
            assert differences.max() <= 1, name
            assert (differences > 0).mean() <= 0.01, name
        else:
            np.testing.assert_allclose(answer, expected, atol=1e-4 * float(np.abs(expected).max()), err_msg=name)


@pytest.mark.parametrize(("groups", "side"), SHAPES)
def test_weights_are_unsigned_where_signed_ones_may_saturate(groups: int, side: int) -> None:
    """Depthwise convolutions have exact kernels for signed weights, and small weights fit anyway."""

    def kinds(model: onnx.ModelProto, chosen: Kernels = EVERYWHERE) -> set[int]:
        graph = lowering.lower(model, chosen).graph
        weights = {"QLinearConv": 3, "MatMulIntegerToFloat": 1}
        types = {constant.name: constant.data_type for constant in graph.initializer}
        return {types[node.input[weights[node.op_type]]] for node in graph.node if node.op_type in weights}

    depthwise = groups == 32
    assert kinds(convolution(groups, side)) == {TensorProto.INT8 if depthwise else TensorProto.UINT8}
    assert kinds(convolution(groups, side, largest=64)) == {TensorProto.INT8}
    assert kinds(convolution(groups, side), Kernels(signed=True)) == {TensorProto.INT8}
    assert kinds(convolution(groups, side), Kernels(floats=frozenset({"conv"}))) == set()


@pytest.mark.parametrize(
    ("weights", "saturates"),
    [
        ([[64, 64, -127]], False), ([[65, 64]], True), ([[-64, 3, -64]], False), ([[-65, 0, -64]], True),
        ([[127], [127]], False), ([[127, 1], [1, 127]], False), ([[127, 2], [1, 1]], True),
    ],
)  # fmt: skip
def test_pairs_of_one_output_and_one_sign_may_saturate(weights: list[list[int]], saturates: bool) -> None:
    assert lowering.can_saturate(np.array(weights, np.int8)) == saturates


@pytest.mark.slow
@pytest.mark.skipif(not processor.processor().exact_with_signed_bytes, reason="signed weights saturate here")
def test_signed_weights_give_the_same_bits_where_they_are_exact() -> None:
    signed, unsigned = (
        b0.run(lowering.lower(quantised(), Kernels(signed=signed)), b0.frames(3))[0] for signed in (True, False)
    )
    np.testing.assert_array_equal(signed, unsigned)


@pytest.mark.slow
def test_unsigned_twin_of_a_standard_graph_computes_the_same() -> None:
    twin = unsigned(quantised())
    onnx.checker.check_model(twin, full_check=True)
    assert TensorProto.INT8 not in {constant.data_type for constant in twin.graph.initializer}
    np.testing.assert_array_equal(b0.run(twin, b0.frames(3))[0], b0.run(quantised(), b0.frames(3))[0])


# ---------------------------------------------------------------------------------------- the choice
@pytest.mark.parametrize(
    ("on", "timed"),
    [
        (NOTHING, {"unsigned", "float"}), (AVX2, {"unsigned", "float"}), (AVX_VNNI, {"unsigned", "signed", "float"}),
        (AVX512_VNNI, {"unsigned", "signed", "float"}), (AMX, {"unsigned", "signed", "float"}),
        (ARM, {"unsigned", "signed", "float"}),
    ],
)  # fmt: skip
def test_only_exact_kernels_are_timed(on: Processor, timed: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Signed bytes where the processor adds them exactly; unsigned ones and float everywhere."""
    written = set()

    def alone(model: object, name: str, chosen: Kernels) -> str:
        written.add("signed" if chosen.signed else "float" if chosen.floats else "unsigned")
        return name

    monkeypatch.setattr(single_layers, "alone", alone)
    monkeypatch.setattr(kernels, "_least_ms", lambda models, _: [1.0] * len(models))
    times = kernels.measure(onnx.shape_inference.infer_shapes(convolution(1, 3)), on, 1)
    assert written == timed
    assert set(times) == {"conv"}


@pytest.mark.parametrize(
    ("times", "chosen"),
    [
        ({"a": Times(1.0, 2.0, None), "b": Times(1.0, 1.0, None)}, Kernels()),
        ({"a": Times(1.0, 2.0, 0.8), "b": Times(1.0, 1.0, 1.1)}, Kernels(signed=True)),
        ({"a": Times(1.0, 2.0, 1.2), "b": Times(1.0, 1.0, 1.1)}, Kernels()),
        ({"a": Times(1.0, 2.0, None), "b": Times(3.0, 1.0, None)}, Kernels(floats=frozenset({"b"}))),
        ({"a": Times(1.0, 2.0, 0.9), "b": Times(3.0, 1.0, 3.0)}, Kernels(signed=True, floats=frozenset({"b"}))),
        # A little faster by itself is no reason to leave the integers, nor is a layer that takes no time.
        ({"a": Times(1.0, 2.0, None), "b": Times(1.1, 1.0, None)}, Kernels()),
        ({"a": Times(1.0, 2.0, None), "b": Times(0.03, 0.001, None)}, Kernels()),
        ({"a": Times(0.02, 0.05, None), "b": Times(0.09, 0.01, None)}, Kernels()),
        ({}, Kernels()),
    ],
)
def test_the_fastest_are_chosen(times: dict[str, Times], chosen: Kernels) -> None:
    assert kernels.fastest(times) == chosen


def test_layers_of_one_shape_are_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """All layers get times, from as many measurements as there are shapes."""
    count = 0

    def least_ms(models: Sequence[object], _: int) -> list[float]:
        nonlocal count
        count += len(models)
        return [1.0] * len(models)

    monkeypatch.setattr(kernels, "_least_ms", least_ms)
    graph = onnx.shape_inference.infer_shapes(quantised())
    shapes = single_layers.layer_shapes(graph)
    assert set(kernels.measure(graph, AVX2, 1)) == set(shapes)
    assert count == 2 * len(set(shapes.values())) < 2 * len(shapes)


def test_what_was_chosen_is_kept_for_this_processor_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And decides what runs, what is counted, and under which key scores are kept."""
    built = b0.written(tmp_path, quantised(), "int8")
    names = list(single_layers.layer_shapes(onnx.shape_inference.infer_shapes(quantised())))
    assert not runtime.is_settled(built, "cpu")
    assert runtime.is_settled(built, "cuda")
    assert runtime.arithmetic(built, "cpu") == {"signed": None, "floats": None}
    on_integers = runtime.load(built, "cpu", 1).executed.int8_operators

    times = {name: Times(1.0, 2.0, None) for name in names} | {names[0]: Times(9.0, 1.0, None)}
    monkeypatch.setattr(kernels, "measure", lambda *_: times)
    runtime.settle(built, "cpu", 1)
    assert runtime.is_settled(built, "cpu")
    assert runtime.arithmetic(built, "cpu") == {"signed": False, "floats": [names[0]]}
    assert on_integers is not None
    assert runtime.load(built, "cpu", 1).executed.int8_operators == on_integers - 1
    monkeypatch.setattr(kernels, "measure", lambda *_: pytest.fail("it is kept"))
    runtime.settle(built, "cpu", 1)

    monkeypatch.setattr(kernels, "processor", lambda: AMX)
    assert not runtime.is_settled(built, "cpu")


def test_a_choice_that_was_damaged_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off, of other types, or a folder in place of the file."""
    built = b0.written(tmp_path, quantised(), "int8")
    monkeypatch.setattr(kernels, "measure", lambda *_: {"a": Times(1.0, 2.0, None)})
    runtime.settle(built, "cpu", 1)
    (file,) = tmp_path.glob("*.kernels-*.json")
    assert json.loads(file.read_text())["processor"] == processor.processor().identity
    whole = file.read_text()
    for damaged in (whole[:20], whole.replace("[]", '"abc"'), "[]"):
        file.write_text(damaged)
        assert not runtime.is_settled(built, "cpu"), damaged
    file.unlink()
    file.mkdir()
    runtime.settle(built, "cpu", 1)
    assert runtime.is_settled(built, "cpu")


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["flipped", "cut", "garbage", "folder", "another"])
def test_a_derived_graph_that_was_damaged_is_made_again(damage: str, tmp_path: Path) -> None:
    """Otherwise it would fail for ever, or give other scores in silence."""
    built = b0.written(tmp_path, quantised(), "int8")
    file = runtime.lowered_file(built)
    whole = file.read_bytes()
    middle = len(whole) // 2
    if damage == "folder":
        file.unlink()
        file.mkdir()
    else:
        flipped = whole[:middle] + bytes(byte ^ 1 for byte in whole[middle : middle + 1000]) + whole[middle + 1000 :]
        other = b0.model().SerializeToString()
        file.write_bytes({"flipped": flipped, "cut": whole[:middle], "garbage": b"garbage", "another": other}[damage])
    assert runtime.lowered_file(built) == file
    assert file.read_bytes() == whole
