"""Compression steps: one file each, named as in `experiments.yaml`.

A step is a module with

- `ACCEPTS`, `PRODUCES`: "torch" (a `Detector`) or "onnx" (an `onnx.ModelProto`);
- `FRAMES`: the splits it reads, with what it does with them;
- `VERSION`: raised whenever the same settings would give another artifact;
- `SEEDED`: whether it draws random numbers, so that the seed belongs into the artifact's id;
- `LIBRARIES`: the distributions whose versions belong into the artifact's id;
- `Settings`: a pydantic model, `MAIN` the name of its one main field or None;
- `apply(model, settings, work)`: the compressed model. It may change `model` in place;
- where it depends on its settings which of `FRAMES` it reads: `frames(settings)`;
- where the result depends on whose frames they are, not on their content alone: `SEES_SOURCES = True`;
- where it has something to tell in `variant.json`: `RECORD`, the JSON file that it leaves in its scratch folder;
- where the clock may end its work early: `may_be_cut(settings)`; its record then says `cut_short`, and such an
  artifact's id is made of its content;
- where there is more to check before work than which splits there are: `check(settings, frames)`;
- where it makes sense once only: `ONCE = True`; after certain steps only: `AFTER`, their names.

The module's top imports nothing heavy: it is also read to check a configuration.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from pydantic import BaseModel, ValidationError

from bench.errors import UserError, nearest
from bench.records import BatchReader, Event, Frame, FrameSet, InputSpec, OnEvent, Split

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

    def batches(self, split: Split, batch_size: int, most: int | None = None) -> Iterator[NDArray[np.uint8]]:
        """uint8 RGB batches [n, 3, size, size] of a split, in its order; `most` frames, evenly spread over it."""
        return self.read(self.spread(split, most), self.spec, batch_size)

    def spread(self, split: Split, most: int | None = None) -> Sequence[Frame]:
        """At most `most` frames of a split, evenly spread over it."""
        frames = self.frames[split]
        return [frames.frames[place] for place in frames.spread(most)]

    def progress(self, done: int, total: int, unit: str, note: str = "") -> None:
        self.on_event(Event(self.title, done, total, unit, note))


class Step(Protocol):
    """The module contract, for type checkers."""

    ACCEPTS: Kind
    PRODUCES: Kind
    FRAMES: Mapping[Split, str]
    VERSION: int
    SEEDED: bool
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


def parse(entry: object) -> Use:
    """Read one entry of a chain: `recover`, `prune: 0.5` or `recover: {steps: 200}`."""
    name, value = _name_and_value(entry)
    step = find(name)
    if isinstance(value, dict):
        fields = value
    elif value is None:
        fields = {}
    elif step.MAIN is None:
        raise UserError(f"step {name!r} has no main value; found {value!r}")
    else:
        fields = {step.MAIN: value}
    unknown = [key for key in fields if key not in step.Settings.model_fields]
    if unknown:
        known = tuple(step.Settings.model_fields)
        raise UserError(
            f"step {name!r} has no setting {unknown[0]!r}{nearest(str(unknown[0]), known)}; it has: {', '.join(known)}"
        )
    try:
        settings = step.Settings.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or step.MAIN
        said = f"{first['msg']}, found {first['input']!r}"
        if first["type"] == "missing":
            said = f"needs a value, as in `{name}: …`" if where == step.MAIN else "needs a value"
        raise UserError(f"step {name!r}, {where}: {said}") from error
    return Use(name, settings, name if value is None else f"{name}: {_spelled(value)}")


def _name_and_value(entry: object) -> tuple[str, object]:
    if isinstance(entry, str):
        return entry, None
    if isinstance(entry, dict) and len(entry) == 1:
        name, value = next(iter(entry.items()))
        return str(name), value
    raise UserError(f"a step is a name or one `name: value`, such as `prune: 0.5`; found {entry!r}")


def _spelled(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_spelled(inner)}" for key, inner in value.items()) + "}"
    return str(value)


def check_order(chain: Sequence[Use]) -> None:
    """Raise `UserError` where the steps of a chain do not follow on one another, whatever the frames."""
    kind: Kind = "torch"
    before = "the detector"
    for place, use in enumerate(chain):
        earlier = [other.name for other in chain[:place]]
        if kind != use.step.ACCEPTS:
            raise UserError(f"{use.text} works on {use.step.ACCEPTS} models, but after {before} the model is {kind}")
        if getattr(use.step, "ONCE", False) and use.name in earlier:
            raise UserError(f"{use.text}: a second {use.name} in one chain; leave one of them out")
        after: tuple[str, ...] = getattr(use.step, "AFTER", ())
        if after and not set(after) & set(earlier):
            raise UserError(f"{use.text} has nothing to do where no {' or '.join(after)} came before; leave it out")
        kind, before = use.step.PRODUCES, use.text


def check(chain: Sequence[Use], frames: Mapping[Split, FrameSet]) -> None:
    """Raise `UserError` where a chain cannot work: an order that does not fit, frames not there or too few."""
    check_order(chain)
    for use in chain:
        for split, purpose in use.frames.items():
            if split not in frames:
                raise UserError(
                    f"{use.text} needs {split} frames ({purpose}), and the frame set has none: "
                    f"give it a `{split}:` folder (labels not needed), or use `split: auto` with more sources"
                )
        if hasattr(use.step, "check"):
            use.step.check(use.settings, frames)
