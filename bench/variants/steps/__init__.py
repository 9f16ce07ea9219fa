"""Compression steps: one file each, named as in `experiments.yaml`.

A step is a module with

- `ACCEPTS`, `PRODUCES`: "torch" (a `Detector`) or "onnx" (an `onnx.ModelProto`);
- `NEEDS`: what it must find in a detector, of `bench.detectors.offers`: refused before any work where that is missing;
- `FRAMES`: the splits it reads, with what it does with them;
- `VERSION`: raised whenever the same settings would give another artifact;
- `SEEDED`: whether it draws random numbers, so that the seed belongs into the artifact's id;
- `LIBRARIES`: the distributions whose versions belong into the artifact's id;
- `Settings`: a pydantic model, `MAIN` the name of its one main field or None;
- `apply(model, settings, work)`: the compressed model. It may change `model` in place;
- where it computes on `work.device`, and bits may differ between kinds of device: `ON_DEVICE = True`;
- where it depends on its settings which of `FRAMES` it reads: `frames(settings)`; likewise `needs(settings)`;
- where the result depends on whose frames they are, not on their content alone: `SEES_SOURCES = True`;
- where it has something to tell in `variant.json`: `RECORD`, the JSON file that it leaves in its scratch folder;
- where the clock may end its work early: `may_be_cut(settings)`; its record then says `cut_short`, and such an
  artifact's id is made of its content;
- where there is more to check before work than which splits there are: `check(settings, frames)`;
- where it makes sense once only: `ONCE = True`; after certain steps only: `AFTER`, their names;
- where a reader of the report must know why it took what it took: `remark(settings, before, after)`, of two `Built`;
- where there is more to say against what came before: `why_not_after(settings, earlier)`.

The module's top imports nothing heavy: it is also read to check a configuration.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from pydantic import BaseModel

from bench.errors import UserError, nearest, quoted
from bench.records import BatchReader, Event, Frame, FrameSet, InputSpec, OnEvent, Split

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.detectors.detector import Detector
    from bench.detectors.offers import Offer
    from bench.variants.checkpoints import Part

Kind: TypeAlias = Literal["torch", "onnx"]


@dataclass(frozen=True)
class StepContext:
    """What a step may use besides the model: frames, the unpruned teacher, a device, a folder of its own.

    `title` names the work in progress bars. `teacher()` loads the detector as it was before the
    first `prune` of the chain. `scratch` outlives a killed run and is gone when the step is done.
    `earlier` are the steps of the chain that came before.
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
    earlier: Sequence[Use] = ()

    def batches(
        self, split: Split, batch_size: int, most: int | None = None, skip: int = 0
    ) -> Iterator[NDArray[np.uint8]]:
        """uint8 RGB batches [n, 3, size, size] of a split, in its order; `most` frames, evenly spread over it.

        The first `skip` frames of these, whole batches, are left out, unread.
        """
        return self.read(self.spread(split, most)[skip:], self.spec, batch_size)

    def part(self, name: str) -> Part:
        """What this step, or a killed run of it, has done of a part of it, such as a pass over the frames."""
        from bench.variants.checkpoints import Part

        return Part(self, name)

    def spread(self, split: Split, most: int | None = None) -> Sequence[Frame]:
        """At most `most` frames of a split, evenly spread over it."""
        frames = self.frames[split]
        return [frames.frames[place] for place in frames.spread(most)]

    def progress(self, done: int, total: int, unit: str, note: str = "") -> None:
        """Tell how far a part of the step is; `bench.phases.begin` says what is done where nothing can be counted."""
        self.on_event(Event(self.title, done, total, unit, note))


class Step(Protocol):
    """The module contract, for type checkers."""

    ACCEPTS: Kind
    PRODUCES: Kind
    NEEDS: frozenset[Offer]
    FRAMES: Mapping[Split, str]
    VERSION: int
    SEEDED: bool
    LIBRARIES: tuple[str, ...]
    MAIN: str | None
    Settings: type[BaseModel]

    def apply(self, model: Any, settings: Any, work: StepContext) -> Any: ...


def names() -> tuple[str, ...]:
    """The steps there are, without importing them."""
    return tuple(module.name for module in pkgutil.iter_modules(__path__))


def find(name: str) -> Step:
    """The step of this name; a `UserError` names the choices."""
    if name not in names():
        raise UserError(f"unknown step {quoted(name)}{nearest(name, names())}; steps are: {', '.join(names())}")
    module: Any = importlib.import_module(f"{__name__}.{name}")
    step: Step = module
    return step


@dataclass(frozen=True)
class Use:
    """A step with its settings, as an experiment uses it. `text` is its YAML spelling."""

    name: str
    settings: BaseModel
    text: str

    @property
    def step(self) -> Step:
        return find(self.name)

    @property
    def frames(self) -> Mapping[Split, str]:
        """The splits that the step reads under these settings, with what it does with them."""
        chosen: Callable[[BaseModel], Mapping[Split, str]] | None = getattr(self.step, "frames", None)
        return chosen(self.settings) if chosen else self.step.FRAMES

    @property
    def needs(self) -> frozenset[Offer]:
        """What the step needs of a detector under these settings."""
        chosen: Callable[[BaseModel], frozenset[Offer]] | None = getattr(self.step, "needs", None)
        return chosen(self.settings) if chosen else self.step.NEEDS
