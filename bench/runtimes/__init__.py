"""Who executes a variant: one file a runtime, named as in `experiments.yaml`.

A runtime is a module with `ACCEPTS`, the artifact kinds it executes ("torch", "onnx"), and
`load(built, device, threads)`, which gives a `Session`. Nothing heavy is imported at its top.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any, Literal, Protocol

from bench.errors import UserError, nearest
from bench.records import Built, Executed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Device = Literal["cpu", "cuda"]


class Session(Protocol):
    """A loaded variant. `executed` tells what really runs, as the runtime itself reports it."""

    executed: Executed

    def predict(self, frames: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """uint8 RGB [n, 3, H, W] to logits [n, 2] and signed CAMs [n, h, w], on the host.

        The device has finished when this returns. Raises `MemoryError` where the batch is too large.
        """


class Runtime(Protocol):
    """The module contract, for type checkers."""

    ACCEPTS: tuple[str, ...]
    LIBRARIES: tuple[str, ...]

    def load(self, built: Built, device: Device, threads: int) -> Session:
        """Load an artifact. Asked for CUDA and given the CPU is an error."""


def names() -> tuple[str, ...]:
    """The runtimes there are, without importing them."""
    return tuple(module.name for module in pkgutil.iter_modules(__path__))


def find(name: str) -> Runtime:
    """The runtime of this name; a `UserError` names the choices."""
    if name not in names():
        raise UserError(f"unknown runtime {name!r}{nearest(name, names())}; runtimes are: auto, {', '.join(names())}")
    module: Any = importlib.import_module(f"{__name__}.{name}")
    runtime: Runtime = module
    return runtime


def choose(requested: str, kind: str, device: Device) -> str:
    """The runtime for an artifact of this kind: the requested one, or for `auto` the fastest.

    `auto` is pytorch on CUDA (what it cannot execute goes to onnxruntime) and onnxruntime on a
    CPU, where it was measured about three times as fast as pytorch.
    """
    name = requested
    if requested == "auto":
        name = "pytorch" if device == "cuda" and kind in find("pytorch").ACCEPTS else "onnxruntime"
    if kind not in find(name).ACCEPTS:
        fitting = [other for other in names() if kind in find(other).ACCEPTS]
        raise UserError(f"runtime {name!r} does not execute {kind} artifacts; these do: {', '.join(fitting)}")
    return name
