"""Where a number comes from: digests, library versions, the machine. Free of heavy imports."""

from __future__ import annotations

import ctypes
import hashlib
import json
import math
import os
import platform
import shlex
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.files import write_text
from bench.system.control_groups import cpu_quota, total_memory
from bench.system.processor import allowed_cores, cpuinfo, flags, processor

_NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE
_called: ContextVar[str] = ContextVar("called", default="")


def command() -> str:
    """What started the work: the call from Python, or the command line."""
    name = Path(sys.argv[0]).name
    return _called.get() or shlex.join(["bench" if name == "__main__.py" else name, *sys.argv[1:]])


@contextmanager
def called_as(call: str) -> Iterator[None]:
    """Inside, and in this thread, `command` is this call: a notebook's command line says nothing of what it does."""
    before = _called.set(call)
    try:
        yield
    finally:
        _called.reset(before)


def provenance(details: Mapping[str, str], libraries: Iterable[str]) -> dict[str, str]:
    """Where results come from, for their record: command, date, bench's version, details, versions of libraries."""
    return {
        "command": command(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "bench": version("bench"),
        **details,
        "libraries": ", ".join(f"{library} {number}" for library, number in versions(libraries).items()),
    }


def digest(value: Any) -> str:
    """A short, stable identifier of a JSON value: 16 hexadecimal digits of its SHA-256."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# Where a distribution's module has another name than itself.
_MODULES = {
    "opencv-python-headless": "cv2", "pillow": "PIL", "scikit-learn": "sklearn", "pyyaml": "yaml",
    "onnxruntime-gpu": "onnxruntime", "nvidia-ml-py": "pynvml",
}  # fmt: skip


@cache
def version(distribution: str) -> str:
    """The version of a library that runs here, without importing it; "absent" where there is none.

    Of a module that is imported it is what is written beside it, or else what it says itself: another copy of it may
    come first where packages are listed. Of what is not imported it is that of the first place on Python's path.
    """
    module = sys.modules.get(_MODULES.get(distribution, distribution.replace("-", "_")))
    # onnxruntime is one library under several distribution names.
    names = ("onnxruntime", "onnxruntime-gpu") if distribution == "onnxruntime" else (distribution,)
    if module is not None and getattr(module, "__file__", None):
        folder = str(Path(str(module.__file__)).parents[1])
        beside = [installed.version for name in names for installed in metadata.distributions(name=name, path=[folder])]
        says = str(getattr(module, "__version__", ""))
        if beside:
            # Of two that have written over each other, the one whose files are left.
            return next((written for written in beside if len(beside) > 1 and _agree(says, written)), beside[0])
        # Its module says it of one of several distributions, and whoever did not import it would not know.
        if says and distribution != "onnxruntime-gpu":
            return says
    # Another copy of bench may be installed where this one runs from its source tree.
    if distribution == "bench" and (of_source := source_tree().get("version")):
        return str(of_source)
    for name in names:
        with suppress(metadata.PackageNotFoundError):
            return metadata.version(name)
    return "absent"


def _agree(says: str, written: str) -> bool:
    """Whether one begins with the other, but for what marks a build: "2.9.0+cu128" and "2.9.0"."""
    imported, listed = says.partition("+")[0], written.partition("+")[0]
    return bool(imported) and (imported.startswith(listed) or listed.startswith(imported))


def source_tree() -> Mapping[str, Any]:
    """What pyproject.toml says of bench where it runs from its source tree, uninstalled; empty elsewhere."""
    try:
        text = (Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8")
    except OSError:
        return {}
    project: Mapping[str, Any] = tomllib.loads(text).get("project", {})
    return project if project.get("name") == "bench" else {}


def versions(distributions: Iterable[str]) -> dict[str, str]:
    return {name: version(name) for name in sorted(distributions)}


@cache
def cuda_devices() -> tuple[str, ...]:
    """The names of the CUDA devices that the driver shows to this process; asked of the driver, without torch."""
    driver = _cuda_driver()
    count = ctypes.c_int()
    if driver is None or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return ()
    return tuple(_device_text(driver.cuDeviceGetName, index) for index in range(count.value))


def cuda_bus_id() -> str | None:
    """Where the first CUDA device sits, such as "0000:1b:00.0": its name wherever devices are counted otherwise."""
    return _device_text(_cuda_driver().cuDeviceGetPCIBusId, 0) if cuda_devices() else None


@contextmanager
def nvml_device() -> Iterator[tuple[Any, Any]]:
    """NVIDIA's management library, started, and its handle of the first CUDA device; OSError where it refuses."""
    import pynvml

    try:
        pynvml.nvmlInit()
        try:
            yield pynvml, pynvml.nvmlDeviceGetHandleByPciBusId((cuda_bus_id() or "").encode())
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        raise OSError(str(error)) from error


@cache
def cuda_device_name() -> str:
    """What the CUDA device that is used is called, and where the machine has several, which of them it is.

    "NVIDIA H100, GPU 1 of 4 at 0000:1b:00.0, CUDA_VISIBLE_DEVICES=1": counted from 0, as `nvidia-smi` does. What is
    measured is kept under the names of `cuda_devices`: GPUs of one model are alike.
    """
    names, visible, position = cuda_devices(), os.environ.get("CUDA_VISIBLE_DEVICES"), _nvml_position()
    if not names:
        return "CUDA device 0"
    if position == (0, 1) or (position is None and len(names) == 1 and visible is None):
        return names[0]
    number = f"GPU {position[0]} of {position[1]} at " if position else ""
    return f"{names[0]}, {number}{cuda_bus_id()}" + ("" if visible is None else f", CUDA_VISIBLE_DEVICES={visible}")


def _nvml_position() -> tuple[int, int] | None:
    """The CUDA device's index, from 0, and how many GPUs there are, hidden ones too; None where it is not told."""
    with suppress(OSError), nvml_device() as (nvml, handle):
        return nvml.nvmlDeviceGetIndex(handle), nvml.nvmlDeviceGetCount()
    return None


def text(value: object) -> str:
    """What a native library answers; some versions of its binding leave strings as bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def cuda_version() -> tuple[int, int] | None:
    """The latest CUDA that the driver knows; None where there is no driver that starts."""
    driver, number = _cuda_driver(), ctypes.c_int()
    if driver is None or driver.cuDriverGetVersion(ctypes.byref(number)) != 0:
        return None
    return number.value // 1000, number.value % 1000 // 10


def why_no_cuda() -> str:
    """Why `cuda_devices` is empty, in words."""
    driver = _cuda_library()
    if driver is None:
        return "there is no NVIDIA driver"
    code = driver.cuInit(0)
    if code not in (0, _NO_DEVICE):
        return f"the NVIDIA driver does not start (error {code} of cuInit); `nvidia-smi` may say why"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    hidden = "" if visible is None else f" (CUDA_VISIBLE_DEVICES is {visible!r})"
    return f"the NVIDIA driver shows no device{hidden}"


def _cuda_library() -> Any:
    try:
        return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None


def _cuda_driver() -> Any:
    """The driver's library, or None where it is not there or does not start."""
    driver = _cuda_library()
    return driver if driver is not None and driver.cuInit(0) == 0 else None


def _device_text(question: Any, index: int) -> str:
    device, answer = ctypes.c_int(), ctypes.create_string_buffer(256)
    _cuda_driver().cuDeviceGet(ctypes.byref(device), index)
    question(answer, len(answer), device)
    return answer.value.decode(errors="replace")


def cpu_name() -> str:
    """The processor's own name where the system tells it."""
    return cpuinfo().get("model name") or platform.processor() or platform.machine()


def cpu_cores() -> int:
    """The cores that this process may use: its affinity, and at most a container's quota of processor time.

    It never depends on what else runs: it is part of what timings are kept under.
    """
    allowed, quota = len(allowed_cores()), cpu_quota()
    # Threads beyond the quota would only wait for its next period.
    return allowed if quota is None else max(1, min(allowed, math.floor(quota)))


def _cores() -> str:
    allowed, quota = len(allowed_cores()), cpu_quota()
    return f"{allowed} cores" if quota is None or quota >= allowed else f"{quota:g} of {allowed} cores allowed"


def _memory() -> str:
    import psutil

    total, allowed = psutil.virtual_memory().total, total_memory()
    text = f"{total / 2**30:.0f} GiB"
    return text if allowed >= total else f"{allowed / 2**30:.1f} of {text} allowed"


def machine() -> dict[str, str]:
    """What the numbers were measured on."""
    asked = processor()
    sets = flags(asked.features)
    model = f" ({asked.model}{f'; {sets}' if sets else ''})" if asked.model else ""
    return {
        "cpu": f"{cpu_name()}{model}, {_cores()}",
        "memory": _memory(),
        "CUDA devices": ", ".join(cuda_devices()) or "none",
        "system": f"{platform.system()} {platform.release()} ({platform.machine()})",
        "python": platform.python_version(),
    }


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")
