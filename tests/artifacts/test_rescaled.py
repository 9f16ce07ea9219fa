"""Scaled logits: of detectors with every kind of head, and of graphs, as stored and as executed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from bench.artifacts import safetensors
from bench.artifacts.onnx_export import to_onnx
from bench.artifacts.rescaled import Rescaling, rescale_detector, rescale_file
from bench.detectors.detector import Detector
from bench.detectors.heads.pool_mlp import PoolMlp
from bench.errors import UserError
from tests.support import other_heads, tiny, tokens, upstream_families

RESCALINGS = (Rescaling(1 / 2.7), Rescaling(3.25, -1.75))
DETECTORS: dict[str, Any] = {
    "average pooling": lambda: tiny.lively(tiny.build("tiny", "tensorflow", tiny.PREPROCESSING)),
    "hidden layers": lambda: upstream_families.build(upstream_families.GAN),
    "class token": tokens.lively,
    "no map": lambda: other_heads.lively(other_heads.no_map),
    "two branches": lambda: other_heads.lively(other_heads.two_branches),
}


def frames(detector: Detector) -> NDArray[np.uint8]:
    size = detector.preprocessing.size
    return np.random.default_rng(0).integers(0, 256, (3, 3, size, size), dtype=np.uint8)


def answers(detector: Detector, pictures: NDArray[np.uint8]) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """The logit difference [n] and the map [n, h, w]."""
    with torch.no_grad():
        prediction = detector(torch.from_numpy(pictures))
    logits = prediction.logits.double().numpy()
    return logits[:, 1] - logits[:, 0], None if prediction.cam is None else prediction.cam.double().numpy()


def executed(model: onnx.ModelProto, pictures: NDArray[np.uint8]) -> tuple[NDArray[Any], NDArray[Any] | None]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    by_name = dict(
        zip([each.name for each in session.get_outputs()], session.run(None, {"frames": pictures}), strict=True)
    )
    logits = by_name["logits"].astype(np.float64)
    return logits[:, 1] - logits[:, 0], by_name.get("cam")


def assert_scaled(before: Any, after: Any, rescaling: Rescaling) -> None:
    size = np.abs(before[0]).max() + 1
    np.testing.assert_allclose(
        after[0], rescaling.slope * before[0] + rescaling.shift, atol=2e-6 * size * max(rescaling.slope, 1)
    )
    assert (before[1] is None) == (after[1] is None)
    if before[1] is not None:
        largest = np.abs(rescaling.slope * before[1]).max()
        np.testing.assert_allclose(after[1], rescaling.slope * before[1], atol=2e-6 * largest)


@pytest.mark.parametrize("rescaling", RESCALINGS)
@pytest.mark.parametrize("name", DETECTORS)
def test_of_every_kind_of_head(name: str, rescaling: Rescaling) -> None:
    """Logits and maps are scaled alike, and the map's mean stays what it lacks a constant to be."""
    detector = DETECTORS[name]()
    pictures, bias = frames(detector), detector.margin_bias
    before = answers(detector, pictures)
    rescale_detector(detector, rescaling)
    after = answers(detector, pictures)
    assert_scaled(before, after, rescaling)
    if bias is not None and after[1] is not None:
        assert detector.margin_bias == pytest.approx(rescaling.margin_bias(bias), abs=1e-6)
        np.testing.assert_allclose(after[1].mean((1, 2)) + detector.margin_bias, after[0], atol=1e-4)


@pytest.mark.slow
def test_of_a_graph(tmp_path: Path) -> None:
    """As executed, and as its metadata say."""
    detector = DETECTORS["average pooling"]()
    pictures, graph = frames(detector), to_onnx(detector)
    for rescaling in RESCALINGS:
        onnx.save(graph, tmp_path / "model.onnx")
        rescale_file(tmp_path / "model.onnx", rescaling)
        model = onnx.load(tmp_path / "model.onnx")
        onnx.checker.check_model(model)
        logit_diff, cam = executed(model, pictures)
        assert_scaled(executed(graph, pictures), (logit_diff, cam), rescaling)
        facts = {entry.key: entry.value for entry in model.metadata_props}
        assert facts["architecture"] == "tiny"
        assert json.loads(facts["calibration"])["slope"] == pytest.approx(rescaling.slope)
        assert cam is not None
        np.testing.assert_allclose(cam.mean((1, 2)) + float(facts["margin_bias"]), logit_diff, atol=1e-4)


def test_halves_are_not_rounded_anew(tiny_family: Any, tmp_path: Path) -> None:
    """The head becomes float32, the rest stays, and the file is read back."""
    detector = DETECTORS["average pooling"]()
    detector.cast(torch.float16)
    pictures, rescaling = frames(detector), Rescaling(1 / 3, 0.123)
    before = answers(detector.float(), pictures)
    detector.cast(torch.float16)
    safetensors.save(detector, tmp_path)
    rescale_file(tmp_path / "model.safetensors", rescaling)
    read = safetensors.load_torch(tmp_path / "model.safetensors")
    assert (read.dtype, next(read.head.parameters()).dtype) == (torch.float16, torch.float32)
    assert_scaled(before, answers(read.float(), pictures), rescaling)


def test_names_within_loops_follow(tmp_path: Path) -> None:
    """A body that reads `logits` of the graph around it reads the same values as before."""
    helper = onnx.helper
    value = helper.make_tensor_value_info
    then = helper.make_graph(
        [helper.make_node("Identity", ["logits"], ["inside"])], "then", [], [value("inside", 1, None)]
    )
    other = helper.make_graph(
        [helper.make_node("Neg", ["logits"], ["outside"])], "other", [], [value("outside", 1, None)]
    )
    nodes = [
        helper.make_node("Cast", ["frames"], ["logits"], "logits", to=1),
        helper.make_node("If", ["yes"], ["cam"], then_branch=then, else_branch=other),
    ]
    yes = onnx.numpy_helper.from_array(np.array(True), "yes")
    outputs = [value("logits", 1, ["n", 2]), value("cam", 1, None)]
    graph = helper.make_graph(nodes, "g", [value("frames", 2, ["n", 2])], outputs, [yes])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), tmp_path / "model.onnx"
    )
    rescale_file(tmp_path / "model.onnx", Rescaling(0.5, 1.0))
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    logits, cam = session.run(["logits", "cam"], {"frames": np.array([[2, 6]], np.uint8)})
    assert (logits.tolist(), cam.tolist()) == ([[1.0, 4.0]], [[1.0, 3.0]])


def test_a_layer_without_bias_cannot_be_shifted() -> None:
    head = PoolMlp(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2, bias=False)))
    detector = Detector("none", "", tiny.PREPROCESSING, nn.Identity(), head)
    with pytest.raises(UserError, match="no bias to shift; export ONNX, or scale by temperature"):
        rescale_detector(detector, Rescaling(2.0, 1.0))
    rescale_detector(detector, Rescaling(2.0))
