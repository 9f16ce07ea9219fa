"""NVIDIA TensorRT, through onnxruntime's provider for it: CUDA only, where TensorRT's libraries are installed.

Not yet run on hardware. Engines are built on the first call for the batch sizes 1 to 512 and kept in the
user's own folder. Half precision is allowed where weights are stored in it; which layers compute in it is
TensorRT's choice, and so is which nodes it leaves to CUDA. What TensorRT makes of a graph is
one opaque node, in which integer operators cannot be counted: int8 artifacts run, but whether their
arithmetic was int8 is not told, and no speed-up is printed for them. Weights that alone are integers have become
floats before TensorRT sees them.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any, Literal

from bench import seals
from bench.artifacts import EXPORT_VERSION, onnx_files
from bench.errors import UserError
from bench.provenance import digest, file_digest, versions
from bench.records import Built, Executed
from bench.runtimes import onnxruntime
from bench.runtimes.onnxruntime import Session

ACCEPTS = ("torch", "onnx")
DEVICES = ("cuda",)
LIBRARIES = (*onnx_files.LIBRARIES, "tensorrt-cu12", "tensorrt-cu13")
# The first is raised whenever the same graph would be executed otherwise.
VERSIONS = {"tensorrt": 1, "export": EXPORT_VERSION}
PACKAGE = "onnxruntime"
CUDA_FILES = ("capi/libonnxruntime_providers_tensorrt.so", "capi/onnxruntime_providers_tensorrt.dll")

MOST_FRAMES = 512
"""The largest batch that an engine is built for; a larger one would build another in the midst of a run."""

# In the order in which they need one another.
_LINUX = ("libnvinfer.so.10", "libnvinfer_plugin.so.10", "libnvonnxparser.so.10")
_WINDOWS = ("nvinfer_10.dll", "nvinfer_plugin_10.dll", "nvonnxparser_10.dll")


def unavailable_reason(device: Literal["cpu", "cuda"] = "cuda") -> str | None:
    """Why TensorRT cannot be used, as far as files tell."""
    library = ctypes.util.find_library("nvinfer_10") or ctypes.util.find_library("nvinfer")
    if _wheel() or (library and "10" in library):
        return None
    installed = f"the system has {library}" if library else "which is not installed"
    return (
        f"runtime 'tensorrt' needs TensorRT 10, {installed}; `pip install \"tensorrt-cu13<11\"` (or -cu12, as the "
        "CUDA of onnxruntime), or choose runtime: onnxruntime"
    )


def load(built: Built, device: Literal["cpu", "cuda"], threads: int, *, tf32: bool = True) -> Session:
    """Load an artifact; the engine itself is built on the first call, which may take minutes."""
    if device != "cuda":
        raise UserError("runtime 'tensorrt' runs on CUDA only, not on device: cpu; choose another runtime")
    if not tf32 and os.environ.get("NVIDIA_TF32_OVERRIDE") != "0":
        raise UserError(
            "runtime 'tensorrt' cannot be told to leave TF32 out; with `tf32: false` set the environment variable "
            "NVIDIA_TF32_OVERRIDE=0, or choose another runtime"
        )
    file = onnx_files.onnx_file(built)
    _load_libraries()
    providers = [_provider(built, file), onnxruntime.cuda_provider(tf32=tf32)]
    session = onnxruntime.open_session(file, threads, providers, floats=built.weights_only)
    return Session(
        session,
        Executed(
            runtime="tensorrt",
            device=device,
            device_name=onnxruntime.cuda_name(),
            providers=tuple(session.get_providers()),
            stored=built.stored,
            computed=_computed(built.stored),
        ),
    )


def _computed(stored: str) -> str:
    """What the arithmetic may be in: TensorRT picks the fastest kernel of what is allowed, layer by layer."""
    if stored == "int8":
        return "chosen by TensorRT"
    return f"fp32 (TF32 and {stored} allowed)" if stored in ("fp16", "bf16") else "fp32 (TF32 allowed)"


def _provider(built: Built, file: Path) -> tuple[str, dict[str, Any]]:
    """The provider with its options, as onnxruntime's documentation of its TensorRT provider names them."""
    cache = _cache(built)
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    sides = _input_sides(file)
    return "TensorrtExecutionProvider", {
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(cache),
        "trt_timing_cache_enable": True,
        "trt_timing_cache_path": str(cache),
        "trt_profile_min_shapes": f"frames:1x{sides}",
        "trt_profile_opt_shapes": f"frames:{MOST_FRAMES // 16}x{sides}",
        "trt_profile_max_shapes": f"frames:{MOST_FRAMES}x{sides}",
        "trt_fp16_enable": built.stored == "fp16",
        "trt_bf16_enable": built.stored == "bf16",
        "trt_int8_enable": built.stored == "int8",
    }


def _cache(built: Built) -> Path:
    """Where the engines of an artifact are kept: they are native code, so not where strangers' files may lie."""
    made_of = {"artifact": file_digest(built.file), "libraries": versions(LIBRARIES)}
    try:
        return seals.own_folder() / "tensorrt" / digest(made_of)
    except OSError as error:
        raise UserError(
            f"runtime 'tensorrt' keeps its engines in a folder of this user, and there is none: {error}"
        ) from error


def _input_sides(file: Path) -> str:
    """Channels, height and width of a graph's frames, such as "3x380x380"."""
    import onnx

    (frames,) = onnx.load(file).graph.input
    return "x".join(str(side.dim_value) for side in frames.type.tensor_type.shape.dim[1:])


def _load_libraries() -> None:
    """Load TensorRT from its wheel, where the system would not look for it."""
    folder = _wheel()
    if folder is None:
        return
    for name in _WINDOWS if sys.platform == "win32" else _LINUX:
        if (folder / name).exists():
            ctypes.CDLL(str(folder / name), mode=ctypes.RTLD_GLOBAL)


def _wheel() -> Path | None:
    """The folder of the libraries that pip installed, where they are those of TensorRT 10."""
    spec = importlib.util.find_spec("tensorrt_libs")
    folders = [Path(folder) for folder in (spec and spec.submodule_search_locations) or ()]
    first = (_WINDOWS if sys.platform == "win32" else _LINUX)[0]
    return next((folder for folder in folders if (folder / first).exists()), None)
