"""One contract over every runtime there is, on every artifact that it accepts."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from bench import runtimes
from bench.errors import UserError
from bench.records import Built
from bench.runtimes import onnxruntime
from bench.system.processor import processor
from tests.conftest import Build
from tests.support import ROOT
from tests.support.batches import frames
from tests.support.pace import limit
from tests.support.predictions import logits_and_cam

CHAINS: dict[str, list[object]] = {
    "fp32": [],
    "fp16": [{"cast": "fp16"}],
    "bf16": [{"cast": "bf16"}],
    "pruned": [{"prune": 0.5}],
    "int8": [{"quantize": "int8"}],
    "int8 weights": [{"quantize": {"weights": "int8"}}],
    "int4 weights": [{"quantize": {"weights": "int4"}}],
}
# Compiling takes a quarter of a minute each.
SLOW = {(chain, "inductor") for chain in ("fp32", "fp16", "bf16", "pruned")}
EXECUTABLES = [
    pytest.param(chain, name, marks=pytest.mark.slow if (chain, name) in SLOW else ())
    for chain in CHAINS
    for name in runtimes.names()
]
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


@pytest.fixture
def built(request: pytest.FixtureRequest, common: Build) -> Built:
    return common(*CHAINS[request.param])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("built", "name"), EXECUTABLES, indirect=["built"])
def test_every_runtime_on_every_artifact(name: str, device: Any, built: Built) -> None:
    runtime = runtimes.find(name)
    if device not in runtimes.devices(name):
        supported = runtimes.devices(name)[0].upper()
        with pytest.raises(UserError, match=f"on {supported} only, not on device: {device}"):
            runtime.load(built, device, 1)
        return
    if trouble := runtimes.unavailable_reason(name, device):
        pytest.skip(trouble)
    if built.kind not in runtime.ACCEPTS:
        with pytest.raises(UserError, match="does not execute"):
            runtimes.choose(name, built.kind, device)
        return
    session = runtime.load(built, device, 1)
    logits, cam = logits_and_cam(session.predict(frames(5)))
    assert logits.shape == (5, 2)
    assert cam.shape == (5, 8, 8)
    assert logits.dtype == cam.dtype == np.float32
    margin = logits[:, 1] - logits[:, 0]
    executed = session.executed
    half = executed.computed in ("bf16", "fp16") or (device == "cuda" and built.stored != "fp32")
    # Batches of different sizes may take kernels that round and such that do not.
    loose = 2e-2 if half else 5e-3 if "TF32" in executed.computed else 1e-4
    np.testing.assert_allclose(cam.mean((1, 2)) + built.margin_bias, margin, atol=loose, rtol=loose)
    alone = np.concatenate([session.predict(frames(5)[i : i + 1])[0] for i in range(5)])
    np.testing.assert_allclose(alone, logits, atol=loose, rtol=loose)

    assert (executed.runtime, executed.device, executed.stored) == (name, device, built.stored)
    assert executed.providers
    assert executed.device_name
    if device == "cpu" and built.kind == "torch":
        types = {"fp32", built.stored} if name == "openvino" else {"fp32"}
        assert executed.computed in types
        assert executed.int8 is None
    if built.weights_only:
        assert built.stored == executed.stored
        assert executed.int8 is None, "nothing computes with them"
        assert device != "cpu" or executed.computed == "fp32"
    if built.stored == "int8" and name != "tensorrt":
        exact = name != "openvino" or processor().exact_with_signed_bytes
        assert executed.int8 == ("native" if device == "cpu" and exact else "simulated")
        assert executed.int8_operators is not None
        assert executed.heavy_operators is not None
        assert executed.int8_operators <= executed.heavy_operators


@pytest.mark.parametrize("built", ["fp32", "fp16", "pruned", "int8 weights", "int4 weights"], indirect=True)
def test_runtimes_agree(built: Built, request: pytest.FixtureRequest) -> None:
    on_cpu = [
        name
        for name in runtimes.names()
        if (request.node.callspec.params["built"], name) not in SLOW
        and runtimes.unavailable_reason(name, "cpu") is None
        and built.kind in runtimes.find(name).ACCEPTS
    ]
    sessions = [runtimes.find(name).load(built, "cpu", 1) for name in on_cpu]
    first = sessions[0].predict(frames(4))[0]
    for session in sessions[1:]:
        # Scales in half precision are multiplied in that by some, and as floats by others; OpenVINO computes in halves
        # where the processor has them.
        exact = built.stored != "int4 weights" and session.executed.computed != "fp16"
        np.testing.assert_allclose(session.predict(frames(4))[0], first, atol=1e-4 if exact else 5e-3)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name == "inductor" else []) for name in runtimes.names()],
)
@pytest.mark.parametrize("built", ["fp32"], indirect=True)
def test_timed_calls_answer_as_others_do_and_tell_the_devices_time(name: str, device: Any, built: Built) -> None:
    if trouble := runtimes.unavailable_reason(name, device):
        pytest.skip(trouble)
    session = runtimes.find(name).load(built, device, 1)
    expected = logits_and_cam(session.predict(frames(4)))
    began = time.perf_counter()
    prediction, device_ms = session.predict_timed(frames(4))
    wall_ms = (time.perf_counter() - began) * 1000
    logits, cam = logits_and_cam(prediction)
    np.testing.assert_allclose(logits, expected[0], atol=1e-5)
    np.testing.assert_allclose(cam, expected[1], atol=1e-5)
    if device == "cpu":
        assert device_ms is None
    else:
        assert device_ms is not None
        assert 0 < device_ms <= wall_ms


@pytest.mark.parametrize("built", ["fp32"], indirect=True)
def test_calls_bound_to_a_device_answer_as_others_do(built: Built) -> None:
    """How onnxruntime is timed on CUDA, here on the one device that is always there."""
    session = onnxruntime.load(built, "cpu", 1)
    prediction, milliseconds = onnxruntime.predict_bound(session.session, frames(3), "cpu")
    logits, cam = logits_and_cam(prediction)
    expected, expected_cam = logits_and_cam(session.predict(frames(3)))
    np.testing.assert_array_equal(logits, expected)
    np.testing.assert_array_equal(cam, expected_cam)
    assert milliseconds is not None
    assert 0 < milliseconds < 1000 * limit(10)


@pytest.mark.parametrize("name", runtimes.names())
@pytest.mark.parametrize("built", ["fp32"], indirect=True)
def test_cuda_asked_for_and_not_there_is_an_error(name: str, built: Built) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(UserError, match="device: cuda was asked for"):
        runtimes.find(name).load(built, "cuda", 1)


@pytest.mark.parametrize("name", runtimes.names())
def test_what_is_not_installed_is_named_with_how_to_install_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    extra = getattr(runtimes.find(name), "EXTRA", None)
    reason = runtimes.unavailable_reason(name, runtimes.devices(name)[0])
    assert reason is not None
    assert runtimes.find(name).PACKAGE in reason
    assert (f'pip install "bench[{extra}]"' if extra else "install bench again") in reason


def test_auto_takes_pytorch_on_cuda_and_onnxruntime_on_a_cpu() -> None:
    assert runtimes.choose("auto", "torch", "cuda") == "pytorch"
    assert runtimes.choose("auto", "onnx", "cuda") == "onnxruntime"
    assert runtimes.choose("auto", "torch", "cpu") == "onnxruntime"
    with pytest.raises(UserError, match="did you mean 'pytorch'"):
        runtimes.find("pytroch")


@pytest.mark.parametrize("name", runtimes.names())
def test_runtime_files_import_nothing_heavy(name: str) -> None:
    import subprocess
    import sys

    program = f"import sys, bench.runtimes.{name}; print({{'torch', 'onnxruntime', 'openvino'}} & set(sys.modules))"
    root = ROOT
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "set()"
