"""What inductor needs beside PyTorch, as far as files tell: a C++ compiler, and for CUDA Triton and CUDA's headers."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

from bench.provenance import version

# Its interfaces were read and tried in this version and later ones.
_OLDEST = (2, 11)
_HEADERS = ("cuda.h", "cuda_runtime.h", "cuda_bf16.h", "cuda_fp16.h", "cuda_fp8.h")


def missing(device: Literal["cpu", "cuda"]) -> str | None:
    """Why nothing can be compiled for a device, and what to do; None where nothing is known against it."""
    numbers = re.match(r"(\d+)\.(\d+)", version("torch"))
    if numbers and (int(numbers[1]), int(numbers[2])) < _OLDEST:
        return f"needs PyTorch 2.11 or later, this is {version('torch')}: update PyTorch"
    if compiler() is None:
        return _no_compiler()
    if device == "cpu":
        return None
    if importlib.util.find_spec("triton") is None:
        return "needs the package triton on CUDA, which this Python does not have: install it"
    if toolkit() is None:
        return (
            f"needs the headers of the CUDA toolkit ({', '.join(_HEADERS)}), which are neither below $CUDA_HOME, nor "
            "beside nvcc, nor in pip's packages: install the toolkit, or set CUDA_HOME to its folder"
        )
    return None


def compiler() -> str | None:
    """The C++ compiler that inductor would start: `$CXX`, otherwise the system's own; None where it is not there."""
    usual = {"win32": "cl", "darwin": "clang++"}.get(sys.platform, "g++")
    try:
        # It may have a program before it, such as ccache, and arguments behind it.
        command = shlex.split(os.environ.get("CXX") or usual, posix=sys.platform != "win32")
    except ValueError:
        return None
    return shutil.which(command[0]) if command else None


def _no_compiler() -> str:
    if named := os.environ.get("CXX"):
        return f"needs a C++ compiler, and CXX={named} is not there: set CXX to one that is"
    if sys.platform == "win32":
        return "needs a C++ compiler, and there is no cl: start from a Developer Command Prompt of Visual Studio"
    if sys.platform == "darwin":
        return "needs a C++ compiler, and there is no clang++: `xcode-select --install`"
    other = shutil.which("clang++")
    mend = f"set CXX={other}" if other else "install it (`apt install g++`, or your system's way)"
    return f"needs a C++ compiler, and there is no g++: {mend}"


def toolkit() -> Path | None:
    """A folder with CUDA's headers; inductor itself would only ask where nvcc is, which may be a script elsewhere."""
    return next((home for home in _toolkits() if all((home / "include" / name).exists() for name in _HEADERS)), None)


def driver_library(maps: Path = Path("/proc/self/maps")) -> Path | None:
    """The CUDA driver's library as Linux tells where this process has loaded it from."""
    with suppress(OSError):
        for line in maps.read_text(encoding="utf-8", errors="replace").splitlines():
            path = Path(line[line.find("/") :])
            if path.name.startswith("libcuda.so"):
                return path
    return None


def _toolkits() -> Iterator[Path]:
    for name in ("CUDA_HOME", "CUDA_PATH"):
        if value := os.environ.get(name):
            yield Path(value)
    if nvcc := shutil.which("nvcc"):
        yield Path(nvcc).resolve().parents[1]
    yield Path("/usr/local/cuda")
    spec = importlib.util.find_spec("nvidia")
    for folder in (spec and spec.submodule_search_locations) or ():
        yield from sorted(Path(folder).glob("cu[0-9]*"), reverse=True)
