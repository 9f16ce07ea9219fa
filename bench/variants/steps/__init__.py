"""Compression steps: one file each, named as in `experiments.yaml`.

A step is a module with

- `ACCEPTS`, `PRODUCES`: "torch" (a `Detector`) or "onnx" (an `onnx.ModelProto`);
- `FRAMES`: the splits it reads, with what it does with them;
- `VERSION`: raised whenever the same settings would give another artifact;
- `LIBRARIES`: the distributions whose versions belong into the artifact's id;
- `Settings`: a pydantic model, `MAIN` the name of its one main field or None;
- `apply(model, settings, work)`: the compressed model. It may change `model` in place.

The module's top imports nothing heavy: it is also read to check a configuration.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from pydantic import BaseModel

from bench.errors import UserError, nearest
from bench.records import BatchReader, Event, FrameSet, InputSpec, OnEvent, Split

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.detectors.detector import Detector

Kind: TypeAlias = Literal["torch", "onnx"]


@dataclass(frozen=True)
class Work:
    """What a step may use besides the model: frames, the unpruned teacher, a device, a folder of its own.

    `title` names the work in progress bars. `teacher()` loads the detector as it was before the
    first `prune` of the chain. `scratch` outlives a killed run and is gone when the step is done.
    """

    title: str
    spec: InputSpec
    frames: Mapping[Split, FrameSet]
    read: BatchReader
    teacher: Callable[[], Detector]
    device: str
    threads: int
    seed: int
    scratch: Path
    on_event: OnEvent

    def batches(self, split: Split, batch_size: int) -> Iterator[NDArray[np.uint8]]:
        """uint8 RGB batches [n, 3, size, size] of a split, in its order."""
        return self.read(self.frames[split].frames, self.spec, batch_size)

    def progress(self, done: int, total: int, unit: str, note: str = "") -> None:
        self.on_event(Event(self.title, done, total, unit, note))


class Step(Protocol):
    """The module contract, for type checkers."""

    ACCEPTS: Kind
    PRODUCES: Kind
    FRAMES: Mapping[Split, str]
    VERSION: int
    LIBRARIES: tuple[str, ...]
    MAIN: str | None
    Settings: type[BaseModel]

    def apply(self, model: Any, settings: Any, work: Work) -> Any: ...


def names() -> tuple[str, ...]:
    """The steps there are, without importing them."""
    return tuple(module.name for module in pkgutil.iter_modules(__path__))


def find(name: str) -> Step:
    """The step of this name; a `UserError` names the choices."""
    if name not in names():
        raise UserError(f"unknown step {name!r}{nearest(name, names())}; steps are: {', '.join(names())}")
    module: Any = importlib.import_module(f"{__name__}.{name}")
    step: Step = module
    return step
