"""Xception, F3Net, GANFingerprint and Effort in full size, once: stored, cast, exported, in int8, and half of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor

from bench import detectors
from bench.artifacts import footprint, safetensors
from bench.artifacts.onnx_export import to_onnx
from bench.detectors.detector import Detector
from bench.detectors.presets import PRESETS
from bench.records import Conventions, Prediction
from bench.variants import steps
from tests.detectors import test_effort, test_f3net, test_ganfingerprint, test_xception
from tests.support import upstream
from tests.support.step_work import work

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
NAMES = ("xception", "f3net", "edges", "ganfingerprint", "effort")
PRESET_OF = {"ganfingerprint": "ganfingerprint", "effort": "effort"}


def detector_of(name: str, folder: Path) -> Detector:
    """With random weights, as its project saves them."""
    file, conventions = folder / "weights.pth", Conventions()
    preset = PRESETS[PRESET_OF.get(name, "deepfakebench")]
    if name == "ganfingerprint":
        test_ganfingerprint.checkpoint(file)
    elif name == "effort":
        torch.save(calmed(upstream.weights(test_effort.shapes(1024, 24, 224), seed=3, gain=1.0)), file)
    elif name == "xception":
        torch.save(upstream.weights(test_xception.shapes(), seed=1, gain=1.25), file)
    else:
        torch.save(test_f3net.checkpoint(), file)
    if name == "edges":
        conventions, name = Conventions(flavour="edges"), "f3net"
    return detectors.load(name, file, preset, conventions)


def calmed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Queries, keys and values of the size of their inputs.

    As they are drawn, attention over 1024 channels looks at one token or another by what is rounded: noise of 1e-6 in
    the frames changed the logits by 0.3, and so much do the kernels of two runtimes differ.
    """
    return {name: tensor * (0.3 if name.endswith("weight_main") else 1) for name, tensor in state.items()}


def predicted(graph: Any, frames: Tensor) -> list[Any]:
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    answers: list[Any] = session.run(["logits", "cam"], {"frames": frames.numpy()})
    return answers


@pytest.mark.parametrize("name", NAMES)
def test_in_full_size(name: str, tmp_path: Path) -> None:
    detector = detector_of(name, tmp_path)
    frames = upstream.frames(4, detector.preprocessing.size)
    with torch.inference_mode():
        expected = detector(frames)
    assert torch.equal(answers_of(detector, frames, tmp_path).logits, expected.logits)
    for ours, exported in zip(expected, predicted(to_onnx(detector), frames), strict=True):
        np.testing.assert_allclose(exported, ours, atol=1e-3 * float(ours.abs().max()))
    parameters = sum(parameter.numel() for parameter in detector.parameters())

    quantize: Any = steps.find("quantize")
    int8 = quantize.apply(detector, quantize.Settings(), work(tmp_path, detector, count=16))
    heavy = [node for node in int8.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    integers = {node.output[0] for node in int8.graph.node if node.op_type == "DequantizeLinear"}
    weights = integers | {tensor.name for tensor in int8.graph.initializer}
    layers = [node for node in heavy if node.input[1] in weights]  # attention multiplies what it has computed
    assert sum(node.input[1] in integers for node in layers) > 0.6 * len(layers)
    assert len(int8.SerializeToString()) < 0.35 * 4 * parameters
    logits, cam = predicted(int8, frames)
    assert np.isfinite(logits).all()
    assert np.isfinite(cam).all()


@pytest.mark.parametrize("name", NAMES)
def test_in_half_precision(name: str, tmp_path: Path) -> None:
    detector = detector_of(name, tmp_path)
    frames = upstream.frames(2, detector.preprocessing.size)[1:]
    with torch.inference_mode():
        expected = detector(frames).logits
    cast: Any = steps.find("cast")
    half = cast.apply(detector, cast.Settings(dtype="fp16"), work(tmp_path, detector))
    logits = answers_of(half, frames, tmp_path).logits
    assert (logits - expected).abs().max() < 0.02 * float(expected.abs().max())


def answers_of(detector: Detector, frames: Tensor, folder: Path) -> Prediction[Tensor]:
    """What a detector says once it was stored and loaded again."""
    stored = safetensors.load_torch(safetensors.save(detector, folder / "stored"))
    with torch.inference_mode():
        prediction: Prediction[Tensor] = stored(frames)
    return prediction


@pytest.mark.parametrize("name", ["xception", "f3net"])
def test_half_of_the_full_size(name: str, tmp_path: Path) -> None:
    """By the size of weights, which reads no frames."""
    detector = detector_of(name, tmp_path)
    before = footprint.footprint_of(detector)
    prune: Any = steps.find("prune")
    settings = prune.Settings(amount=0.5, ranking="magnitude", repair=False)
    after = footprint.footprint_of(prune.apply(detector, settings, work(tmp_path, detector)))
    assert all(0.3 * whole < left <= 0.5 * whole for left, whole in zip(after, before, strict=True))
    with torch.inference_mode():
        assert detector(upstream.frames(2, 256)).logits.isfinite().all()
