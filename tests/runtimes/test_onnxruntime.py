"""The onnxruntime runtime: the file's scores, what really ran, and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from bench import runtimes
from bench.artifacts import safetensors
from bench.errors import UserError
from bench.records import Built, Preprocessing
from bench.runtimes import onnxruntime as runtime
from bench.runtimes.onnxruntime import lowering
from bench.variants.steps import quantize
from tests.support import b0, tiny
from tests.support.predictions import logits_and_cam
from tests.support.quantised import calibration, quantised


def test_int8_is_native_on_a_cpu(int8: Built) -> None:
    session = runtime.load(int8, "cpu", 2)
    executed = session.executed
    convolutions = sum(node.op_type == "Conv" for node in b0.model().graph.node)
    assert executed.int8 == "native"
    assert executed.heavy_operators == convolutions + 1  # and the head
    layers = json.loads(b0.facts(onnx.load(int8.file))["layers"])
    assert executed.int8_operators == sum(read == 8 for _, read, _ in layers.values())
    assert (executed.stored, executed.computed) == ("int8", "int8")
    assert executed.providers == ("CPUExecutionProvider",)


def test_reloaded_file_gives_the_same_scores(int8: Built) -> None:
    expected_logits, expected_cam = b0.run(lowering.lower(quantised()), b0.frames(3))
    logits, cam = logits_and_cam(runtime.load(int8, "cpu", 2).predict(b0.frames(3)))
    np.testing.assert_allclose(logits, expected_logits, atol=1e-4)
    np.testing.assert_allclose(cam, expected_cam, atol=1e-4)


def test_float_has_no_int8_to_tell_of(float32: Built) -> None:
    executed = runtime.load(float32, "cpu", 1).executed
    assert (executed.int8, executed.int8_operators, executed.heavy_operators) == (None, None, None)
    assert (executed.runtime, executed.device, executed.threads) == ("onnxruntime", "cpu", 1)
    assert executed.computed == "fp32"


def test_integers_are_simulated_where_the_graph_runs_in_float(float32: Built) -> None:
    mislabelled = Built(**(float32.__dict__ | {"stored": "int8"}))
    executed = runtime.load(mislabelled, "cpu", 1).executed
    assert executed.int8 == "simulated"
    assert executed.int8_operators == 0
    assert executed.computed == "fp32"


@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_weights_alone_become_floats_at_loading_and_not_at_every_call(
    weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = tiny.lively(tiny.build("tiny", "tiny", Preprocessing(size=b0.SIZE)))
    graph = quantize.apply(detector, quantize.Settings.model_validate({"weights": weights}), calibration())
    built = b0.written(tmp_path, graph, f"{weights} weights")
    assert any(node.op_type == "DequantizeLinear" for node in graph.graph.node)
    open_session, asked = runtime.open_session, []

    def listening(file: Path, threads: int, providers: list[str], **further: bool) -> Any:
        asked.append(further)
        return open_session(file, threads, providers, tmp_path / "optimised.onnx", **further)

    monkeypatch.setattr(runtime, "open_session", listening)
    executed = runtime.load(built, "cpu", 1).executed
    assert len(asked) == 1
    kinds = {node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node}
    assert "DequantizeLinear" not in kinds
    assert kinds & {"Conv", "FusedConv"}
    assert (executed.stored, executed.computed, executed.int8) == (f"{weights} weights", "fp32", None)


@pytest.mark.slow
def test_torch_artifact_is_exported_once_and_kept_beside_it(tmp_path: Path) -> None:
    file = safetensors.save(b0.detector(), tmp_path)
    stored = b0.built(file, "torch", "fp32")
    logits, cam = logits_and_cam(runtime.load(stored, "cpu", 2).predict(b0.frames(3)))
    exported = next(tmp_path.glob("*.onnx"))
    written = exported.stat().st_mtime_ns
    runtime.load(stored, "cpu", 2)
    assert exported.stat().st_mtime_ns == written
    assert sorted(tmp_path.iterdir()) == sorted([file, exported, exported.with_suffix(".seal")])
    with torch.inference_mode():
        expected, expected_cam = logits_and_cam(b0.detector()(torch.from_numpy(b0.frames(3))))
    np.testing.assert_allclose(logits, expected.numpy(), atol=1e-4)
    np.testing.assert_allclose(cam, expected_cam.numpy(), atol=1e-4)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_cuda_is_refused(float32: Built, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"device: cuda was asked for.*CUDAExecutionProvider.*device: cpu"):
        runtime.load(float32, "cuda", 1)
    assert capfd.readouterr() == ("", "")


def test_tf32_is_what_its_provider_is_told() -> None:
    assert [runtime.cuda_provider(tf32=tf32)[1]["use_tf32"] for tf32 in (True, False)] == ["1", "0"]


@pytest.mark.cuda
def test_int8_is_simulated_on_cuda(int8: Built) -> None:
    if trouble := runtimes.unavailable_reason("onnxruntime", "cuda"):
        pytest.skip(trouble)
    session = runtime.load(int8, "cuda", 1)
    assert session.executed.providers[0] == "CUDAExecutionProvider"
    assert session.executed.int8 == "simulated"
    np.testing.assert_allclose(session.predict(b0.frames(3))[0], b0.run(quantised(), b0.frames(3))[0], atol=0.05)


@pytest.mark.parametrize(
    "message",
    [
        "bfc_arena.cc:359 Available memory of 1024 is smaller than requested bytes of 4096",
        "Failed to allocate memory for requested buffer of size 7213154304",
        "CUDA failure 2: out of memory ; GPU=0",
        "Exception during initialization: std::bad_alloc",
    ],
)
def test_exhausted_memory_is_a_memory_error(float32: Built, monkeypatch: pytest.MonkeyPatch, message: str) -> None:
    session = runtime.load(float32, "cpu", 1)

    class Full:
        def run(self, *ignored: object) -> None:
            raise RuntimeError(message)

    monkeypatch.setattr(session, "session", Full())
    with pytest.raises(MemoryError):
        session.predict(b0.frames(1))


def test_other_failures_stay_what_they_are(float32: Built) -> None:
    session = runtime.load(float32, "cpu", 1)
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument):
        session.predict(b0.frames(1)[:, :, :32])
