"""TensorRT's runtime with stand-ins for what only a GPU machine has: options, libraries, and what is refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import runtimes
from bench.artifacts.onnx_files import onnx_file
from bench.errors import UserError
from bench.results.timing.worker import BATCHES
from bench.runtimes import onnxruntime, tensorrt
from tests.conftest import Build


@pytest.mark.parametrize(
    ("chain", "stored", "flag", "computed"),
    [
        ([], "fp32", None, "fp32 (TF32 allowed)"),
        ([{"cast": "fp16"}], "fp16", "trt_fp16_enable", "fp32 (TF32 and fp16 allowed)"),
        ([{"cast": "bf16"}], "bf16", "trt_bf16_enable", "fp32 (TF32 and bf16 allowed)"),
        ([{"quantize": "int8"}], "int8", "trt_int8_enable", "chosen by TensorRT"),
        ([{"quantize": {"weights": "int8"}}], "int8 weights", None, "fp32 (TF32 allowed)"),
        ([{"quantize": {"weights": "int4"}}], "int4 weights", None, "fp32 (TF32 allowed)"),
    ],
)
def test_provider_is_asked_for_what_the_artifact_stores(
    chain: list[object],
    stored: str,
    flag: str | None,
    computed: str,
    common: Build,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []

    def open_session(file: Path, threads: int, providers: list[Any], *, floats: bool) -> Any:
        asked.extend([floats, file, *providers])
        names = [provider if isinstance(provider, str) else provider[0] for provider in providers]
        return SimpleNamespace(get_providers=lambda: [*names, "CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "open_session", open_session)
    artifact = common(*chain)
    executed = tensorrt.load(artifact, "cuda", 1).executed
    floats, file, (name, options), (second, _) = asked
    assert floats == stored.endswith(" weights"), "TensorRT is to see floats where nothing computes with integers"
    assert (name, second) == ("TensorrtExecutionProvider", "CUDAExecutionProvider")
    assert file.suffix == ".onnx"
    engines = Path(options["trt_engine_cache_path"])
    assert engines.is_dir()
    assert not engines.is_relative_to(artifact.file.parent), "native code, which a stranger's folder could bring"
    assert options["trt_profile_max_shapes"] == f"frames:{BATCHES['cuda'][-1]}x3x32x32"
    halves = {
        key for key in options if key in ("trt_fp16_enable", "trt_bf16_enable", "trt_int8_enable") and options[key]
    }
    assert halves == ({flag} if flag else set())
    assert (executed.runtime, executed.stored, executed.computed) == ("tensorrt", stored, computed)
    # What is opaque is neither called native nor simulated.
    assert executed.int8 is None


def test_tf32_is_left_out_by_the_environment_alone(common: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    with pytest.raises(UserError, match="NVIDIA_TF32_OVERRIDE=0, or choose another runtime"):
        tensorrt.load(common(), "cuda", 1, tf32=False)


def test_without_its_libraries_it_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "runs on cuda only, not on cpu" in str(runtimes.unavailable_reason("tensorrt", "cpu"))
    monkeypatch.setattr(tensorrt, "_wheel", lambda: None)
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    assert 'not installed; `pip install "tensorrt-cu13<11"`' in str(tensorrt.unavailable_reason())
    monkeypatch.setattr("ctypes.util.find_library", lambda name: "libnvinfer.so.8" if name == "nvinfer" else None)
    assert "needs TensorRT 10, the system has libnvinfer.so.8" in str(tensorrt.unavailable_reason())
    monkeypatch.setattr("ctypes.util.find_library", lambda name: f"lib{name}.so.10")
    assert tensorrt.unavailable_reason() is None


@pytest.mark.parametrize(
    ("platform", "version", "files"),
    [
        ("linux", 10, ("libnvinfer.so.10", "libnvonnxparser.so.10")),
        ("linux", 11, ("libnvinfer.so.11", "libnvonnxparser.so.11")),
        ("win32", 10, ("nvinfer_10.dll",)),
        ("win32", 11, ("nvinfer_11.dll",)),
    ],
)
def test_only_the_wheel_of_tensorrt_10_will_do(
    platform: str, version: int, files: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tensorrt_libs").mkdir()
    for file in ("__init__.py", *files):
        (tmp_path / "tensorrt_libs" / file).touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    assert (tensorrt.unavailable_reason() is None) == (version == 10)


def test_a_provider_that_did_not_load_is_an_error(
    common: Build,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """onnxruntime lists TensorRT as available and falls back in silence where its libraries are missing."""
    import onnxruntime as library

    file = onnx_file(common())
    providers = ["TensorrtExecutionProvider", "CPUExecutionProvider"]
    if "TensorrtExecutionProvider" in library.get_available_providers():
        if tensorrt.unavailable_reason() is None:
            pytest.skip("TensorRT is installed here")
        with pytest.raises(UserError, match=r"fell back to CPUExecutionProvider.*TensorRT 10"):
            onnxruntime.open_session(file, 1, providers)
    monkeypatch.setattr(library, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(UserError, match="built for CPUExecutionProvider; expected TensorrtExecutionProvider"):
        onnxruntime.open_session(file, 1, providers)
