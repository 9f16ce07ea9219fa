"""Who executes a variant: one file a runtime, named as in `experiments.yaml`.

A runtime is a module with

- `ACCEPTS`: the artifact kinds that it executes, "torch" or "onnx";
- `load(built, device, threads, tf32=…)`: a `Session`. `tf32` is whether float32 networks may round what they multiply
  to ten bits of mantissa on CUDA;
- `PACKAGE`: what it imports; `CUDA_FILES`: files that only its builds for CUDA have, one for each system;
- `LIBRARIES`: distributions, and `VERSIONS`: bench's own parts, whose versions belong into the keys of its results;
- where it does not run on both devices: `DEVICES`; where only an extra of bench installs its package: `EXTRA`;
- where more can be missing: `unavailable_reason(device)`;
- where the processor decides how it executes an artifact: `arithmetic(built, device)`, what of that changes scores, for
  their keys; where timing decides: `is_settled(built, device)`, and `settle(built, device, threads)`, which times once
  and saves the choice beside the artifact;
- where it compiles each artifact once, and saves the result beside it as `<file>.<name>-….pt2`: `COMPILE_SECONDS`.

A session whose device computes while its caller goes on also has `submit(frames)`: it begins to compute, and returns a
function without arguments that waits and returns what `predict` would. At most two calls may be under way; their
predictions are asked for in the order of submission. `MemoryError` may come from either call. A session that can do
without some of the device's memory while it idles has `rest(from_all=…)`.

Nothing heavy is imported at a runtime's top.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

from bench.errors import UserError, nearest, quoted
from bench.provenance import cuda_version
from bench.records import Built, Session

Device = Literal["cpu", "cuda"]


class Runtime(Protocol):
    """The module contract, for type checkers."""

    ACCEPTS: tuple[str, ...]
    LIBRARIES: tuple[str, ...]
    VERSIONS: Mapping[str, int]
    PACKAGE: str
    CUDA_FILES: tuple[str, ...]

    def load(self, built: Built, device: Device, threads: int, *, tf32: bool = True) -> Session:
        """Load an artifact. Asked for CUDA and given the CPU is an error."""


def names() -> tuple[str, ...]:
    """The runtimes there are, without importing them."""
    return tuple(module.name for module in pkgutil.iter_modules(__path__))


def find(name: str) -> Runtime:
    """The runtime of this name; a `UserError` names the choices."""
    if name not in names():
        raise UserError(
            f"unknown runtime {quoted(name)}{nearest(name, names())}; runtimes are: auto, {', '.join(names())}"
        )
    module: Any = importlib.import_module(f"{__name__}.{name}")
    runtime: Runtime = module
    return runtime


def choose(requested: str, kind: str, device: Device) -> str:
    """The runtime for an artifact of this kind: the requested one, or for `auto` the fastest.

    `auto` is pytorch on CUDA (what it cannot execute goes to onnxruntime) and onnxruntime on a
    CPU: a B5 was measured 2.9 times as fast there as in pytorch at batch 1, 1.1 to 1.6 times at larger batches.
    OpenVINO was no faster in fp32, which the baseline is, and is never chosen: what an experiment measures
    must not depend on which extras are installed. It is to be asked for, above all for bf16.
    """
    name = requested
    if requested == "auto":
        name = "pytorch" if device == "cuda" and kind in find("pytorch").ACCEPTS else "onnxruntime"
    if kind not in find(name).ACCEPTS:
        fitting = [other for other in names() if kind in find(other).ACCEPTS]
        raise UserError(f"runtime {name!r} does not execute {kind} artifacts; these do: {', '.join(fitting)}")
    return name


def unavailable_reason(name: str, device: Device) -> str | None:
    """Why this Python cannot execute anything with a runtime on a device; None where nothing is known against it.

    Only files are looked at, nothing is imported.
    """
    runtime = find(name)
    spec = importlib.util.find_spec(runtime.PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        extra: str | None = getattr(runtime, "EXTRA", None)
        mend = f'`python -m pip install "bench[{extra}]"`' if extra else "install bench again with pip"
        return (
            f"runtime {name!r} needs the package {runtime.PACKAGE}, which this Python does not have; "
            f"{mend}, or choose another `runtime:`"
        )
    if device not in devices(name):
        return f"runtime {name!r} runs on {' or '.join(devices(name))} only, not on {device}; choose another `runtime:`"
    if device == "cuda" and (reason := _cuda_reason(name, runtime, Path(next(iter(spec.submodule_search_locations))))):
        return reason
    further: Callable[[Device], str | None] | None = getattr(runtime, "unavailable_reason", None)
    return further(device) if further else None


def _cuda_reason(name: str, runtime: Runtime, folder: Path) -> str | None:
    """Why a runtime, whose package lies in this folder, cannot use the driver's CUDA."""
    if not any((folder / file).exists() for file in runtime.CUDA_FILES):
        return (
            f"runtime {name!r}: the {runtime.PACKAGE} in this Python is built without CUDA; "
            "install its build for CUDA, or use device: cpu"
        )
    built_for, driver = _cuda_of(folder), cuda_version()
    if built_for is not None and driver is not None and built_for > driver[0]:
        return (
            f"runtime {name!r}: {runtime.PACKAGE} is built for CUDA {built_for}, the NVIDIA driver only knows CUDA "
            f"{driver[0]}.{driver[1]}; update the driver, install a build for CUDA {driver[0]}, or use device: cpu"
        )
    return None


def devices(name: str) -> tuple[Device, ...]:
    """Where a runtime can execute anything at all."""
    supported: tuple[Device, ...] = getattr(find(name), "DEVICES", ("cpu", "cuda"))
    return supported


def _cuda_of(folder: Path) -> int | None:
    """The major version of CUDA that a package says it is built for, where PyTorch or onnxruntime says it."""
    for name in ("version.py", "capi/build_and_package_info.py"):
        try:
            text = (folder / name).read_text(encoding="utf-8")
        except OSError:
            continue
        if match := re.search(r"^cuda(?:_version)?\b.*?['\"](\d+)", text, re.MULTILINE):
            return int(match[1])
    return None


@contextmanager
def memory_errors(signs: Sequence[str]) -> Iterator[None]:
    """Raise `MemoryError` where the text of a library's error, in small letters, holds one of its signs of that.

    For libraries that have no exception of their own for exhausted memory.
    """
    try:
        yield
    except Exception as error:
        if any(sign in str(error).lower() for sign in signs):
            raise MemoryError(str(error)) from error
        raise
