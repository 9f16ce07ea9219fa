"""Compression steps: one file each, named as in `experiments.yaml`.

A step is a module with

- `ACCEPTS`, `PRODUCES`: "torch" (a `Detector`) or "onnx" (an `onnx.ModelProto`);
- `FRAMES`: the splits it reads, with what it does with them;
- `VERSION`: raised whenever the same settings would give another artifact;
- `SEEDED`: whether it draws random numbers, so that the seed belongs into the artifact's id;
- `LIBRARIES`: the distributions whose versions belong into the artifact's id;
- `Settings`: a pydantic model, `MAIN` the name of its one main field or None;
- `apply(model, settings, work)`: the compressed model. It may change `model` in place;
- where it computes on `work.device`, and bits may differ between kinds of device: `ON_DEVICE = True`;
- where it depends on its settings which of `FRAMES` it reads: `frames(settings)`;
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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from pydantic import BaseModel, ValidationError

from bench.errors import UserError, in_yaml, nearest, quoted, said
from bench.records import BatchReader, Event, Frame, FrameSet, InputSpec, OnEvent, Split

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.detectors.detector import Detector
    from bench.variants.checkpoints import Part

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


class EntryError(UserError):
    """What is wrong with one entry of a chain: `problems`, each with its keys below the entry."""

    def __init__(self, *problems: tuple[tuple[str, ...], str]) -> None:
        super().__init__(*(": ".join(filter(None, (".".join(keys), what))) for keys, what in problems))
        self.problems = problems


def parse(entry: object) -> Use:
    """Read one entry of a chain: `recover`, `prune: 0.5` or `recover: {steps: 200}`; else `EntryError`."""
    name, value = _name_and_value(entry)
    try:
        step = find(name)
    except UserError as error:
        raise EntryError(((name,), str(error))) from error
    if value is None or isinstance(value, dict):
        fields = value or {}
    elif step.MAIN is None:
        raise EntryError(((name,), f"has no main value; found {in_yaml(value)}"))
    else:
        fields = {step.MAIN: value}
    problems: list[tuple[tuple[str, ...], str]]
    problems = [((name, str(key)), _unknown(name, key)) for key in fields if key not in step.Settings.model_fields]
    known = {key: value for key, value in fields.items() if key in step.Settings.model_fields}
    try:
        settings = step.Settings.model_validate(known)
    except ValidationError as error:
        # A mistyped key is why another is missing.
        problems += [_problem(name, one) for one in error.errors() if not (problems and one["type"] == "missing")]
    if problems:
        raise EntryError(*problems)
    return Use(name, settings, name if value is None else f"{name}: {_spelled(value)}")


def _name_and_value(entry: object) -> tuple[str, object]:
    if isinstance(entry, str):
        name, colon, value = entry.partition(":")
        if colon and name in names():
            raise EntryError(((), f"{quoted(entry)} lacks a space after the colon: write `{name}: {value.strip()}`"))
        return entry, None
    if isinstance(entry, dict) and len(entry) == 1:
        name, value = next(iter(entry.items()))
        return str(name), value
    comma = " (decimals take a point, not a comma)" if type(entry) is int else ""
    message = f"a step is a name or one `name: value`, such as `prune: 0.5`; found {in_yaml(entry)}"
    raise EntryError(((), f"{message[:400]}{comma}"))


def _unknown(name: str, key: object) -> str:
    if type(key) is int:
        return f"{key} is no setting (decimals take a point, not a comma)"
    known = tuple(find(name).Settings.model_fields)
    return f"step {quoted(name)} has no setting {quoted(key)}{nearest(str(key), known)}; it has: {', '.join(known)}"


def _problem(name: str, problem: Any) -> tuple[tuple[str, ...], str]:
    """What is wrong with a setting; a main one that is missing is a matter of the step."""
    keys = (name, *map(str, problem["loc"]))
    if problem["type"] != "missing":
        return keys, said(problem)
    return keys, f"needs a value{f', as in `{name}: …`' if keys[1:] == (find(name).MAIN,) else ''}"


def _spelled(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_spelled(inner)}" for key, inner in value.items()) + "}"
    return value if isinstance(value, str) else in_yaml(value)


def order_problems(chain: Sequence[Use]) -> Iterator[tuple[int, str]]:
    """Where the steps of a chain do not follow on one another, whatever the frames: the place of a step, and why."""
    kind: Kind = "torch"
    before = "the detector"
    for place, use in enumerate(chain):
        if kind != use.step.ACCEPTS:
            # What would be said of further steps follows from this.
            yield place, f"{use.text} works on {use.step.ACCEPTS} models, but after {before} the model is {kind}"
            return
        if why := _why_not_after(use, chain[:place]):
            yield place, f"{use.text}{why}"
        kind, before = use.step.PRODUCES, use.text


def _why_not_after(use: Use, earlier: Sequence[Use]) -> str | None:
    """What the step's own declarations say against the steps before it."""
    names = {other.name for other in earlier}
    if getattr(use.step, "ONCE", False) and use.name in names:
        return f": a second {use.name} in one chain; leave one of them out"
    after: tuple[str, ...] = getattr(use.step, "AFTER", ())
    if after and not names & set(after):
        return f" has nothing to do where no {' or '.join(after)} came before; leave it out"
    own: Callable[[BaseModel, Sequence[Use]], str | None] | None = getattr(use.step, "why_not_after", None)
    why = own(use.settings, earlier) if own else None
    return f": {why}" if why else None


def frame_problems(chain: Sequence[Use], frames: Mapping[Split, FrameSet]) -> Iterator[tuple[int, str]]:
    """Frames that steps of a chain need and that are not there or too few: the place of a step, and what it lacks."""
    for place, use in enumerate(chain):
        missing = [(split, purpose) for split, purpose in use.frames.items() if split not in frames]
        for split, purpose in missing:
            yield (
                place,
                f"{use.text} needs {split} frames ({purpose}), and the frame set has none: "
                f"give it a `{split}:` folder (labels not needed), or use `split: auto` with more sources",
            )
        if not missing and hasattr(use.step, "check"):
            try:
                use.step.check(use.settings, frames)
            except UserError as error:
                yield place, str(error)


def check_order(chain: Sequence[Use]) -> None:
    """Raise `UserError` with all `order_problems`, a line each."""
    _refuse(order_problems(chain))


def check(chain: Sequence[Use], frames: Mapping[Split, FrameSet]) -> None:
    """Raise `UserError` where a chain cannot work, with all `order_problems` and `frame_problems`, a line each."""
    _refuse([*order_problems(chain), *frame_problems(chain, frames)])


def _refuse(problems: Iterable[tuple[int, str]]) -> None:
    if lines := [problem for _, problem in problems]:
        raise UserError(*lines)
