"""The openvino runtime: the types it computes in, what ran on integers, changing batches, and silence."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from bench import runtimes
from bench.artifacts import safetensors
from bench.commands.doctor import libraries
from bench.errors import UserError
from bench.records import Built
from bench.runtimes import onnxruntime
from bench.runtimes import openvino as runtime
from bench.system import signal_stack
from bench.system.processor import Processor, processor
from tests.support import ROOT, b0
from tests.support.predictions import logits_and_cam
from tests.support.quantised import quantised

needs_openvino = pytest.mark.skipif(
    runtimes.unavailable_reason("openvino", "cpu") is not None,
    reason=str(runtimes.unavailable_reason("openvino", "cpu")),
)


def retold(variant: Built, stored: str) -> Built:
    return Built(**(variant.__dict__ | {"stored": stored}))


@needs_openvino
def test_int8_convolutions_run_on_integers(int8: Built) -> None:
    """Where those are exact; elsewhere in float."""
    executed = runtime.load(int8, "cpu", 2).executed
    counted = onnxruntime.load(int8, "cpu", 2).executed
    exact = processor().exact_with_signed_bytes
    assert (executed.int8, executed.computed) == (("native", "int8") if exact else ("simulated", "fp32"))
    assert executed.stored == "int8"
    assert executed.int8_operators == (counted.int8_operators if exact else 0)
    assert executed.heavy_operators == counted.heavy_operators
    assert runtime.arithmetic(int8, "cpu") == (None if exact else {"weights": "unsigned"})
    assert executed.providers == ("openvino.CPU",)


@pytest.mark.slow
@needs_openvino
def test_int8_scores_are_those_of_onnxruntime(int8: Built) -> None:
    onnxruntime_outputs = logits_and_cam(onnxruntime.load(int8, "cpu", 1).predict(b0.frames(24)))
    openvino_outputs = logits_and_cam(runtime.load(int8, "cpu", 1).predict(b0.frames(24)))
    # What lies between two steps of a range is rounded either way, and the next layers carry that on.
    for openvino_output, onnxruntime_output in zip(openvino_outputs, onnxruntime_outputs, strict=True):
        assert np.corrcoef(openvino_output.ravel(), onnxruntime_output.ravel())[0, 1] > 0.98
    exact = b0.run(b0.model(), b0.frames(24))[0]
    assert np.abs(openvino_outputs[0] - exact).mean() < 1.25 * np.abs(onnxruntime_outputs[0] - exact).mean()


@needs_openvino
def test_int8_computes_in_float_where_integers_saturate(
    int8: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "processor", lambda: Processor("x86_64", "one", frozenset({"avx2"})))
    session = runtime.load(b0.written(tmp_path, quantised(), "int8"), "cpu", 1)
    assert (session.executed.int8, session.executed.int8_operators) == ("simulated", 0)
    assert list(tmp_path.glob("model.unsigned-*.onnx")), "signed weights may saturate"


@needs_openvino
def test_integers_are_simulated_where_the_graph_runs_in_float(float32: Built) -> None:
    executed = runtime.load(retold(float32, "int8"), "cpu", 1).executed
    assert (executed.int8, executed.int8_operators, executed.computed) == ("simulated", 0, "fp32")
    assert executed.heavy_operators is not None
    assert executed.heavy_operators > 0


@needs_openvino
@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_sessions_leave_signals_their_stack(float32: Built) -> None:
    """Each brings one, and the first to end took away what the second gave back: the next signal was the end."""
    before = signal_stack.current()
    first, second = runtime.load(float32, "cpu", 1), runtime.load(float32, "cpu", 1)
    del first
    gc.collect()
    del second
    gc.collect()
    after = signal_stack.current()
    assert (after.address, after.flags, after.size) == (before.address, before.flags, before.size)


@needs_openvino
def test_fp32_is_not_rounded_to_bf16(float32: Built) -> None:
    """Left to itself, OpenVINO computes in bf16 wherever the CPU is fast in it."""
    session = runtime.load(float32, "cpu", 1)
    assert (session.executed.computed, session.executed.int8, session.executed.threads) == ("fp32", None, 1)
    expected_logits, expected_cam = logits_and_cam(onnxruntime.load(float32, "cpu", 1).predict(b0.frames(3)))
    logits, cam = logits_and_cam(session.predict(b0.frames(3)))
    np.testing.assert_allclose(logits, expected_logits, atol=1e-4)
    np.testing.assert_allclose(cam, expected_cam, atol=1e-3)


@needs_openvino
def test_bf16_computes_in_bf16_where_the_cpu_is_fast_in_it(float32: Built) -> None:
    capabilities = runtime.library().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    session = runtime.load(retold(float32, "bf16"), "cpu", 1)
    assert session.executed.computed == ("bf16" if "BF16" in capabilities else "fp32")
    fp32_logits = runtime.load(float32, "cpu", 1).predict(b0.frames(4))[0]
    logits = session.predict(b0.frames(4))[0]
    np.testing.assert_allclose(logits, fp32_logits, atol=0.05 * float(np.ptp(fp32_logits)))
    assert np.array_equal(logits, fp32_logits) == ("BF16" not in capabilities)


@pytest.mark.parametrize(
    ("stored", "capabilities", "precision"),
    [
        ("fp32", ["FP32", "BF16", "FP16"], "f32"),
        ("bf16", ["FP32", "BF16"], "bf16"),
        ("bf16", ["FP32", "INT8"], "f32"),
        ("fp16", ["FP32", "BF16"], "f32"),
        ("fp16", ["FP32", "FP16"], "f16"),
        ("int8", ["FP32", "BF16", "INT8"], "f32"),
    ],
)
def test_only_what_is_stored_in_a_half_type_computes_in_it(
    stored: str, capabilities: list[str], precision: str
) -> None:
    assert runtime._precision(stored, capabilities) == precision


@needs_openvino
def test_batch_sizes_may_change_from_call_to_call(float32: Built) -> None:
    session = runtime.load(float32, "cpu", 2)
    frames = b0.frames(5)
    whole = session.predict(frames)[0]
    whole_copy = whole.copy()
    for low, high in ((0, 1), (1, 4), (4, 5)):
        np.testing.assert_allclose(session.predict(frames[low:high])[0], whole[low:high], atol=1e-4)
    # What a call gave is not written over by the next one.
    np.testing.assert_array_equal(whole, whole_copy)


@pytest.mark.slow
@needs_openvino
def test_torch_artifact_is_exported_once_for_both_runtimes(tmp_path: Path) -> None:
    file = safetensors.save(b0.detector(), tmp_path)
    session = runtime.load(b0.built(file, "torch", "fp32"), "cpu", 2)
    logits, cam = logits_and_cam(session.predict(b0.frames(3)))
    exported = next(tmp_path.glob("*.onnx"))
    onnxruntime.load(b0.built(file, "torch", "fp32"), "cpu", 2)
    assert sorted(tmp_path.iterdir()) == sorted([file, exported, exported.with_suffix(".seal")])
    with torch.inference_mode():
        expected, expected_cam = logits_and_cam(b0.detector()(torch.from_numpy(b0.frames(3))))
    np.testing.assert_allclose(logits, expected.numpy(), atol=1e-4)
    np.testing.assert_allclose(cam, expected_cam.numpy(), atol=1e-3)


def test_cuda_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.touch()
    with pytest.raises(UserError, match=r"device: cuda was asked for.*on CPU only.*device: cpu"):
        runtime.load(b0.built(file, "onnx", "fp32"), "cuda", 1)


@needs_openvino
@pytest.mark.parametrize("message", ["std::bad_alloc", "could not create a memory object: out_of_memory"])
def test_exhausted_memory_is_a_memory_error(float32: Built, monkeypatch: pytest.MonkeyPatch, message: str) -> None:
    session = runtime.load(float32, "cpu", 1)

    class Full:
        def create_infer_request(self) -> None:
            raise RuntimeError(message)

    monkeypatch.setattr(session, "compiled", Full())
    with pytest.raises(MemoryError):
        session.predict(b0.frames(1))


@needs_openvino
@pytest.mark.parametrize("threads", [1, 2])
def test_frames_that_do_not_fit_are_never_answered_with_earlier_ones(float32: Built, threads: int) -> None:
    session = runtime.load(float32, "cpu", threads)
    for wrong in (b0.frames(2)[:, :, :32], b0.frames(2)[:, :2]):
        session.predict(b0.frames(2))
        with pytest.raises(RuntimeError, match=r"answered 0 of 2 frames|incompatible"):
            session.predict(wrong)


@needs_openvino
def test_nothing_is_printed_sent_or_written_at_home(float32: Built, tmp_path: Path) -> None:
    program = f"""
import socket, sys
def refuse(*ignored): raise SystemExit("something was sent")
socket.socket.connect = socket.getaddrinfo = refuse
from pathlib import Path
from bench.records import Built
from bench.runtimes import openvino
openvino.load(Built("id", Path({str(float32.file)!r}), "onnx", "fp32", 1, None, None, 0.0, 0.0), "cpu", 1)
import openvino
assert openvino.convert_model
assert sys.modules["openvino_telemetry"] is None
"""
    home = {"HOME": str(tmp_path), "LOCALAPPDATA": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=os.environ | home, cwd=ROOT
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_doctor_tells_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (finding,) = libraries.openvino(tmp_path)
    assert finding.level == "ok"
    monkeypatch.setattr(libraries, "version", lambda name: "2026.0.0")
    monkeypatch.setattr(libraries, "ask", lambda question: {"version": "2026.0.0", "types": ["FP32"], "right": False})
    (finding,) = libraries.openvino(tmp_path)
    assert (finding.level, finding.observed) == ("note", "2026.0.0, knows FP32 on this CPU; computes wrongly")
    assert 'pip install --force-reinstall "bench[openvino]"' in finding.mend
    monkeypatch.setattr(libraries, "version", lambda name: "absent")
    (finding,) = libraries.openvino(tmp_path)
    assert (finding.level, finding.observed) == ("ok", "not installed; only `runtime: openvino` needs it")
