"""ONNX files from elsewhere: read as the detector that they are, or refused."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bench.artifacts import footprint, imports, unsigned_weights
from bench.artifacts.imports import file
from bench.detectors.detector import Detector
from bench.detectors.preprocessing import Preprocess
from bench.errors import UserError
from bench.records import Conventions, GraphInput, Preprocessing, Reading
from tests.support import foreign, tiny
from tests.support.step_work import frames as pictures

FRAMES = pictures(7, foreign.SIZE, seed=3).numpy()


@pytest.fixture(scope="module")
def detector() -> Detector:
    """Whose scores of the frames lie between the classes, and apart."""
    torch.manual_seed(0)
    detector = tiny.lively(tiny.build("tiny", "tiny", tiny.PREPROCESSING))
    with torch.no_grad():
        for _ in range(2):
            logits = detector(torch.from_numpy(FRAMES)).logits
            margin = logits[:, 1] - logits[:, 0]
            detector.head.bias[1] -= margin.mean()
            detector.head.weight.div_(margin.std())
    return detector


@pytest.fixture(scope="module")
def p_fake(detector: Detector) -> NDArray[np.float64]:
    with torch.no_grad():
        expected: NDArray[np.float64] = detector(torch.from_numpy(FRAMES)).logits.double().softmax(1)[:, 1].numpy()
    assert np.ptp(expected) > 0.2, "frames that all look the same prove nothing"
    return expected


def answered(model: onnx.ModelProto, frames: NDArray[np.uint8] = FRAMES) -> NDArray[np.float64]:
    """P(fake) by onnxruntime."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert [value.name for value in session.get_inputs()] == ["frames"]
    (logits,) = session.run(["logits"], {"frames": frames})
    assert logits.shape == (len(frames), 2)
    assert logits.dtype == np.float32
    chances: NDArray[np.float64] = 1 / (1 + np.exp(logits[:, 0].astype(np.float64) - logits[:, 1]))
    return chances


def read(
    folder: Path, model: onnx.ModelProto, preprocessing: Preprocessing = tiny.PREPROCESSING, **given: Any
) -> tuple[onnx.ModelProto, Reading]:
    onnx.save(model, folder / "x.onnx")
    return imports.read(folder / "x.onnx", preprocessing, Conventions(**given))


KINDS: dict[str, tuple[Callable[[Detector], onnx.ModelProto], dict[str, Any], str]] = {
    "float logits": (foreign.network, {}, "two logits, by its last operator, Gemm, of real, fake"),
    "our own export": (foreign.whole, {}, "frames as bytes, RGB"),
    "uint8 channels last": (foreign.channels_last, {"positive": "fake"}, "input 'given' [n, h, w, 3]: frames as bytes"),
    "channels last of open sides": (
        foreign.channels_last_of_open_sides, {"input": GraphInput(layout="nhwc")}, "'given' [n, h, w, 3], float32",
    ),
    "softmax": (foreign.softmax, {}, "two probabilities, by its last operator, Softmax"),
    "one logit": (foreign.one_logit, {"positive": "fake"}, "one logit, by its last operator, MatMul, of fake"),
    "swapped classes": (foreign.swapped, {"classes": ("fake", "real")}, "of fake, real"),
    "floats up to 255": (
        foreign.in_rgb_of_bytes,
        {"input": GraphInput(scale=1.0, channels="rgb", wavelet="none")},
        "times 1, RGB, as given",
    ),
    "a batch of 1": (lambda detector: foreign.of_batch(detector, 1), {}, "its fixed batch of 1 set free"),
    "a batch of 3": (lambda detector: foreign.of_batch(detector, 3), {}, "its fixed batch of 3 set free"),
    "a batch of 1 for good": (
        lambda detector: foreign.of_batch_for_good(detector, 1), {"output": "logits"}, "run frame by frame, since its",
    ),
    "a batch of 3 for good": (
        lambda detector: foreign.of_batch_for_good(detector, 3), {"output": "logits"}, "run in blocks of 3 frames",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_gives_the_scores_of_its_detector(
    kind: str, detector: Detector, p_fake: NDArray[np.float64], tmp_path: Path
) -> None:
    make, given, words = KINDS[kind]
    model, reading = read(tmp_path, make(detector), **given)
    np.testing.assert_allclose(answered(model), p_fake, atol=1e-4)
    np.testing.assert_allclose(answered(model, FRAMES[:1]), p_fake[:1], atol=1e-4)
    assert words in reading.sentence
    onnx.checker.check_model(model)


def test_one_probability_of_real(detector: Detector, p_fake: NDArray[np.float64], tmp_path: Path) -> None:
    """Whose fake is told by `positive` alone."""
    model, _ = read(tmp_path, foreign.channels_last(detector), positive="real")
    np.testing.assert_allclose(answered(model), 1 - p_fake, atol=1e-4)


def test_half_precision(detector: Detector, p_fake: NDArray[np.float64], tmp_path: Path) -> None:
    """float16 input and output as well."""
    model, reading = read(tmp_path, foreign.half(detector))
    np.testing.assert_allclose(answered(model), p_fake, atol=5e-3)
    assert "fp16" in reading.names
    assert "float16" in reading.arithmetic


def test_static_int8_is_executed_as_it_stands(detector: Detector, tmp_path: Path) -> None:
    """Against the same file under onnxruntime with inputs made by the detector's own preprocessing."""
    with torch.no_grad():
        inputs = Preprocess(tiny.PREPROCESSING)(torch.from_numpy(FRAMES)).numpy()
    given = foreign.static_int8(detector, tmp_path, inputs)
    session = onnxruntime.InferenceSession(str(given), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"x": inputs})
    model, reading = imports.read(given, tiny.PREPROCESSING, Conventions())
    np.testing.assert_allclose(answered(model), 1 / (1 + np.exp(logits[:, 0] - logits[:, 1])), atol=1e-4)
    assert "int8" in reading.names
    assert next(entry.value for entry in model.metadata_props if entry.key == "stored") == "int8"


def test_scores_that_depend_on_the_batch_are_those_of_single_frames(detector: Detector, tmp_path: Path) -> None:
    """Dynamic quantisation takes the range of a whole batch."""
    given = foreign.dynamic_int8(detector, tmp_path)
    model, reading = imports.read(given, tiny.PREPROCESSING, Conventions())
    assert "run frame by frame, since its answer to a frame depends on those beside it" in reading.names
    single = np.concatenate([answered(model, FRAMES[i : i + 1]) for i in range(len(FRAMES))])
    np.testing.assert_allclose(answered(model), single, atol=1e-6)


def test_what_a_file_holds(detector: Detector, tmp_path: Path) -> None:
    """As of the detector itself; batch norms are folded, so each becomes a bias."""
    model, _ = read(tmp_path, foreign.network(detector))
    parameters, macs = imports.facts(model)
    of_detector, macs_of_detector = footprint.footprint_of(detector)
    assert macs == macs_of_detector
    norms = [module for module in detector.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert parameters == of_detector - sum(norm.num_features for norm in norms)


@pytest.mark.parametrize("wavelet", ["none", "sym2"])
@pytest.mark.parametrize("size", [32, 45])
def test_our_input_is_the_preprocessing_of_detectors(wavelet: Any, size: int, tmp_path: Path) -> None:
    """All of a preset's fields, for even and odd sides; read from a graph that gives two of its input's numbers."""
    preprocessing = Preprocessing(size, channels="bgr", mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7), wavelet=wavelet)
    corner = [numpy_helper.from_array(np.array(values, np.int64), name) for name, values in
              (("begins", [0, 0, 5]), ("ends", [1, size, 7]), ("axes", [1, 2, 3]), ("middle", [1, 3]))]  # fmt: skip
    nodes = [
        helper.make_node("Slice", ["x", "begins", "ends", "axes"], ["cut"]),
        helper.make_node("GlobalAveragePool", ["x"], ["unused"]),
        helper.make_node("ReduceMean", ["cut"], ["y"], axes=[1, 2], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes, "corner",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, size, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])], corner[:3],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    wrapped, _ = read(tmp_path, model, preprocessing, output="logits")
    frames = np.random.default_rng(0).integers(0, 256, (3, 3, size, size), dtype=np.uint8)
    (logits,) = onnxruntime.InferenceSession(wrapped.SerializeToString()).run(None, {"frames": frames})
    expected = Preprocess(preprocessing)(torch.from_numpy(frames))[:, 0, :, 5:7].mean(1).numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_what_the_owner_says_takes_the_place_of_the_preset(tmp_path: Path) -> None:
    """A scale stands for the preset's mean and std too; what is not given stays the preset's."""
    preset = Preprocessing(32, channels="bgr", mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), dtype=np.uint8)
    first = frames[:, ::-1].astype(np.float32)  # what a network sees of BGR
    expected = {
        None: (first / 255 - 0.5) / 0.2,
        GraphInput(scale=1.0): first,
        GraphInput(scale=1.0, mean=(100.0, 110.0, 120.0), std=(50.0, 50.0, 50.0), channels="rgb"):
            (frames - np.array([100, 110, 120]).reshape(1, 3, 1, 1)) / 50,
        GraphInput(std=(1.0, 1.0, 1.0)): first / 255 - 0.5,
    }  # fmt: skip
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["x"], ["pooled"]),
            helper.make_node("Slice", ["pooled", "a", "b"], ["y"]),
        ],
        "means",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 32, 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2, 1, 1])],
        [numpy_helper.from_array(np.array(values, np.int64), name) for name, values in (("a", [0, 0]), ("b", [9, 2]))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    for given, seen in expected.items():
        wrapped, _ = read(tmp_path, model, preset, input=given)
        (logits,) = onnxruntime.InferenceSession(wrapped.SerializeToString()).run(None, {"frames": frames})
        np.testing.assert_allclose(logits, seen.mean((2, 3))[:, :2], rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------------------------ weights beside the file
def save_apart(model: onnx.ModelProto, path: Path, location: str = "x.data") -> None:
    onnx.save(model, path, save_as_external_data=True, location=location, size_threshold=0)


def test_weights_beside_the_file_are_folded_in(detector: Detector, p_fake: NDArray[np.float64], tmp_path: Path) -> None:
    """And count in its digest."""
    save_apart(foreign.network(detector), tmp_path / "x.onnx")
    before = file.content(tmp_path / "x.onnx")
    model, _ = imports.read(tmp_path / "x.onnx", tiny.PREPROCESSING, Conventions())
    (tmp_path / "x.data").rename(tmp_path / "gone")
    np.testing.assert_allclose(answered(model), p_fake, atol=1e-4)
    with pytest.raises(UserError, match=r"'x\.data' beside it, and that file is missing"):
        file.content(tmp_path / "x.onnx")
    data = bytearray((tmp_path / "gone").read_bytes())
    data[0] ^= 1
    (tmp_path / "x.data").write_bytes(data)
    assert file.content(tmp_path / "x.onnx") != before


@pytest.mark.parametrize("location", ["../x.data", "/etc/hostname", "inner/../../x.data"])
def test_weights_elsewhere_are_never_read(location: str, detector: Detector, tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    save_apart(foreign.network(detector), tmp_path / "x.onnx")
    model = onnx.load(tmp_path / "x.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    (folder / "x.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match="only files beside it are read"):
        imports.read(folder / "x.onnx", tiny.PREPROCESSING, Conventions())


def test_weights_behind_a_link_that_leads_elsewhere(detector: Detector, tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    save_apart(foreign.network(detector), folder / "x.onnx")
    (folder / "x.data").rename(tmp_path / "x.data")
    (folder / "x.data").symlink_to(tmp_path / "x.data")
    with pytest.raises(UserError, match="a link that leads elsewhere"):
        imports.read(folder / "x.onnx", tiny.PREPROCESSING, Conventions())


# ------------------------------------------------------------------------------------ refused
def two_inputs(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["n", 1]))


def of_sides(*sides: Any) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, sides))

    return change


def half_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.BFLOAT16


def integer_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64


def labels(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("ArgMax", ["y"], ["label"], axis=1, keepdims=0))
    model.graph.ClearField("output")
    model.graph.output.append(helper.make_tensor_value_info("label", TensorProto.INT64, ["n"]))


def two_outputs(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Identity", ["y"], ["again"]))
    model.graph.output.append(helper.make_tensor_value_info("again", TensorProto.FLOAT, ["n", 2]))


def custom_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "ai.vendor"
    model.opset_import.append(helper.make_opsetid("ai.vendor", 1))


def unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "Sharpen"


def new_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 99


def nan(model: onnx.ModelProto) -> None:
    for tensor in model.graph.initializer:
        if tensor.name == "head.weight":
            array = numpy_helper.to_array(tensor).copy()
            array.flat[0] = np.nan
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def scaled(model: onnx.ModelProto) -> None:
    """As temperature scaling leaves it."""
    foreign.with_output(
        model, [helper.make_node("Mul", ["y", foreign.constant(model, "t", np.float32(2))], ["scores"])], ["n", 2]
    )


REFUSED: dict[str, tuple[Callable[[onnx.ModelProto], None], dict[str, Any], str]] = {
    "two inputs": (two_inputs, {}, r"has 2 inputs \(x, mask\)"),
    "another size": (
        of_sides("n", 3, 224, 224),
        {},
        "its input 'x' is 224×224 pixels, and .* gives 32×32",
    ),
    "one channel": (of_sides("n", 1, 32, 32), {}, "and 1 channels if it is nchw"),
    "another layout": (of_sides("n", 3, 32, 32), {"input": GraphInput(layout="nhwc")}, "and 32 channels if it is nhwc"),
    "no batch axis": (of_sides(3, 32, 32), {}, "has 3 axes; expected four"),
    "integers in": (integer_input, {}, "is int64; expected uint8, float32"),
    "bfloat16 in": (half_input, {}, "is bfloat16; expected uint8, float32, float16, float64"),
    "labels out": (labels, {}, "is int64 .* expected one or two floats a frame"),
    "two outputs": (two_outputs, {}, "several outputs, and 2 of them could hold scores.*output_name"),
    "no such output": (two_outputs, {"output_name": "agian"}, "no output 'agian'.*did you mean 'again'"),
    "a custom operator": (custom_operator, {}, "operators that onnxruntime does not have: ai.vendor::"),
    "an unknown operator": (unknown_operator, {}, "onnxruntime .* cannot run it.*Sharpen"),
    "a new opset": (new_opset, {}, "onnxruntime .* cannot run it"),
    "NaN": (nan, {}, r"is not finite \(NaN or infinite\) for 4 of 4 frames"),
    "unknown output": (scaled, {}, "nothing tells whether its output 'scores' is logits or probabilities"),
    "no probabilities": (scaled, {"output": "probability"}, "said to be probabilities, and it has values from"),
    "positive for two columns": (lambda model: None, {"positive": "fake"}, "has two columns, and `positive:` is for"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused(kind: str, detector: Detector, tmp_path: Path) -> None:
    change, given, message = REFUSED[kind]
    model = foreign.network(detector)
    change(model)
    with pytest.raises(UserError, match=message) as refused:
        read(tmp_path, model, **given)
    assert str(refused.value).startswith(f"{tmp_path / 'x.onnx'}: ")
    assert "network/" not in str(refused.value)


def test_damaged_graphs_are_read_or_refused(
    detector: Detector, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Bytes changed at random, most where names and attributes lie: a message in every case, and nothing else."""
    whole, rng, refused = foreign.network(detector).SerializeToString(), random.Random(4), 0
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(rng.choice([1, 2, 5])):
            data[rng.choice([rng.randrange(len(data)), rng.randrange(6000), len(data) - 1 - rng.randrange(2000)])] = (
                rng.randrange(256)
            )
        (tmp_path / "x.onnx").write_bytes(data)
        try:
            imports.read(tmp_path / "x.onnx", tiny.PREPROCESSING, Conventions(output="logits"))
        except UserError:
            refused += 1
    assert 0 < refused < 60
    assert capfd.readouterr().out == ""


def test_refused_of_one_column(detector: Detector, tmp_path: Path) -> None:
    """What a high value speaks for is asked; columns that are not there are not."""
    with pytest.raises(UserError, match="nothing tells what a high value speaks for"):
        read(tmp_path, foreign.one_logit(detector))
    with pytest.raises(UserError, match="has one column, and `classes:` is for two"):
        read(tmp_path, foreign.one_logit(detector), classes=("fake", "real"))
    with pytest.raises(UserError, match="that of Softmax, so it is `output: probability`, not logits"):
        read(tmp_path, foreign.softmax(detector), output="logits")


def test_a_softmax_of_one_column_is_refused_and_one_of_two_is_not(detector: Detector, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a Softmax of one column, which is the same for every frame"):
        read(tmp_path, foreign.softmax_of_one(detector), positive="fake")
    read(tmp_path, foreign.channels_last(detector), positive="fake")


def test_axes_without_sizes_are_asked_for_where_a_guess_fails(detector: Detector, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"if these are \[n, h, w, 3\], write `input: \{layout: nhwc\}`"):
        read(tmp_path, foreign.channels_last_of_open_sides(detector))


def test_bytes_take_no_scale(detector: Detector, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match="is uint8, which takes frames as they are: leave out input: scale, input: mean"
    ):
        read(tmp_path, foreign.whole(detector), input=GraphInput(scale=1.0, mean=(0.0, 0.0, 0.0)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is an empty file"),
        (b"PK\x03\x04....", "it is a PyTorch checkpoint"),
        (b"\x08\x00\x00\x00ORTM....", "onnxruntime's own format"),
        (b"<?xml version", "OpenVINO's format"),
        (b"hello", "is no ONNX file"),
        (b"version https://git-lfs", "Git LFS pointer"),
        (b"\x08\x07\x12\xff\xff\xff\xff\x7f", "is no ONNX file, or damaged"),
        (b"\x08\x07", "holds no network"),
    ],
)
def test_files_that_are_no_onnx_files(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(UserError, match=message):
        imports.read(tmp_path / "x.onnx", tiny.PREPROCESSING, Conventions())


def test_a_file_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, detector: Detector) -> None:
    """With the weights beside it."""
    save_apart(foreign.network(detector), tmp_path / "x.onnx")
    monkeypatch.setattr(file, "MOST_BYTES", (tmp_path / "x.onnx").stat().st_size + 1)
    file.check(tmp_path / "x.onnx")
    with pytest.raises(UserError, match="one ONNX file cannot hold 2 GiB"):
        file.load(tmp_path / "x.onnx")


def test_unsigned_weights_of_graphs_from_elsewhere(detector: Detector, tmp_path: Path) -> None:
    """With zero points, and signed activations, which stay: operator by operator the same."""
    with torch.no_grad():
        inputs = Preprocess(tiny.PREPROCESSING)(torch.from_numpy(FRAMES)).numpy()
    given = onnx.load(foreign.static_int8(detector, tmp_path, inputs))
    twin = unsigned_weights.unsigned(given)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    logits = [
        onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, {"x": inputs})[0]
        for model in (given, twin)
    ]
    np.testing.assert_allclose(logits[0], logits[1], atol=1e-5)
    kinds = {tensor.data_type for tensor in twin.graph.initializer if len(tensor.dims) > 1}
    assert TensorProto.INT8 not in kinds
