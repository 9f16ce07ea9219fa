"""Compression steps: one file or folder each, named as in `experiments.yaml`.

A step is a module with

- `ACCEPTS`, `PRODUCES`: "torch" (a `Detector`) or "onnx" (an `onnx.ModelProto`); `ACCEPTS` is None where it takes
  nothing of what was before: it is then its chain's only entry, and its id depends on no weights;
- `NEEDS`: what it must find in a detector, of `bench.detectors.offers`: refused before any work where that is missing;
- `FRAMES`: the splits it reads, with what it does with them;
- `VERSION`: raised whenever the same settings would give another artifact; where it was raised for some networks
  or settings alone, `version_for(settings, architecture)`: the version of what it makes of those;
- `SEEDED`: whether it draws random numbers, so that the seed belongs into the artifact's id;
- `LIBRARIES`: the distributions whose versions belong into the artifact's id;
- `Settings`: a pydantic model, `MAIN` the name of its one main field or None;
- `apply(model, settings, work)`: the compressed model. It may change `model` in place;
- where it also works on a detector of which there is an ONNX file alone: `apply_onnx(model, settings, work)`, another
  graph, `ONNX_VERSION`, raised as `VERSION`, `ONNX_LIBRARIES`, `why_not_onnx(settings)`, what it can't do there, and
  where it reads other frames there than `frames` says, `onnx_frames(settings)`;
- where it also works on the graph that an earlier step made of a detector: `apply_quantised(graph, settings, work)`,
  another graph; `work.detector()` is the detector that the graph was made of;
- where it reads a file: `FILE`, the setting that names it, `check_file(path)` by its first bytes, `content(path)`, a
  digest, and `reading(settings, path, preprocessing)`, a `bench.records.Reading` for plan and report; `work.file`;
- where it computes on `work.device`, and bits may differ between kinds of device: `ON_DEVICE = True`;
- where it depends on its settings which of `FRAMES` it reads: `frames(settings)`; likewise `needs(settings)`;
- where the result depends on whose frames they are, not on their content alone: `SEES_SOURCES = True`;
- where it records what it did in `variant.json`: `RECORD`, the JSON file that it leaves in its scratch folder, and
  `Record`, the type of what that holds; a property `recovery` of it is a `bench.records.Recovery` for the report, and
  `foretold` a `bench.records.Foretold`, of the noise that the step adds; `proposal(settings, foretold, size_bytes)`
  then is a `bench.records.Proposal` for less of it, or None;
- where its settings may name layers of the detector, or ask for more than every network allows:
  `depends_on_network(settings, earlier)`, whether they do, so that they are held against the detector before work, and
  `refuse_unfit(settings, model)`, which refuses what does not fit it;
- where the clock may end its work early: `may_be_cut(settings)`; its record then says `cut_short`, and such an
  artifact's id is made of its content;
- where there is more to check before work than which splits there are: `check(settings, frames)`;
- where it makes sense once only: `ONCE = True`; after certain steps only: `AFTER`, their names;
- where there is more to say against what came before: `why_not_after(settings, earlier)`;
- where steps after it may learn from the detector as it was before: `PARENT_TEACHES = True`;
- how long it takes, for `bench plan`: `cost(settings, counts, earlier)`, a `Cost`; without it that is unknown;
- how much it leaves of the network and of its file: `leaves(settings)`, a `Leaves`; without it, everything;
- what a reader of the report must know: `remarks(uses, baseline, built)`, sentences without their full stop. `uses`
  are the settings of each time that it stands in the variant's chain; the rest are `bench.records.Built`;
- where a search may try it: `TRIED`, the values that it tries, as YAML has them (None for the name alone), and `TURN`,
  when it comes in a chain: it has at most one step of each of `TURNS`;
- where one look at a network foretells what many settings would leave of it: `foretell(model, tried, work)`, a
  `StepForecast` for each, None for those that can't be; without it, `leaves` is what is foretold. `SHARED_PARTS` are
  the parts of that work which `apply` does alike;
- where its main field has no default: `EXAMPLE`, a value of it, for messages and for the contract test;
- what others call it: `SYNONYMS`, words for the hint on an unknown name.

The module's top imports nothing heavy: it is also read to check a configuration.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from pydantic import BaseModel

from bench.errors import UserError, nearest, quoted
from bench.records import BatchReader, Event, Frame, FrameSet, InputSpec, OnEvent, Preprocessing, Split

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.detectors.detector import Detector
    from bench.detectors.offers import Offer
    from bench.variants.checkpoints import Part, State

Kind: TypeAlias = Literal["torch", "onnx"]

# Pixels that pass through a network at once where every activation is looked at: more would take memory, not save time.
CALIBRATION_PIXELS = 8 * 160 * 160


RECORD_FILE = "record.json"
"""What steps that record what they did call it, in their scratch folder."""


@dataclass(frozen=True)
class Cost:
    """Processor time of a step: `once_s` seconds, `network_s` for the weights, `frame_s` for each of `frames` frames.

    All are of the machine that rough rates come from (`bench/pipeline/estimates.py`), `network_s` of an EfficientNet-B5
    and `frame_s` of that at 380 px. Threads share the part `parallel`. Where a look at the frames decides how much
    there is to do, `most_frames` is the most of them. `note` is a line for `bench plan`, where its reader must know
    what is taken for granted.
    """

    once_s: float
    frames: int = 0
    frame_s: float = 0.0
    parallel: float = 0.1
    note: str = ""
    network_s: float = 0.0
    most_frames: int = 0

    @property
    def at_most(self) -> Cost:
        """The cost where there is all to do that there may be."""
        return replace(self, frames=self.most_frames, most_frames=0) if self.most_frames else self


@dataclass(frozen=True)
class Leaves:
    """What a step leaves of its parent, as shares: `operations`, the `time` that each of them takes, stored `numbers`.

    `stored` is the bytes that a number takes afterwards, as a share of float32's; None where that stays as it was.
    `noise` is what is left of the noise of the steps before, `adds` what comes on top: the mean square of what it
    changes the logit difference by, as a share of that difference's variance.
    """

    operations: float = 1.0
    time: float = 1.0
    numbers: float = 1.0
    stored: float | None = None
    noise: float = 1.0
    adds: float = 0.0


@dataclass(frozen=True)
class StepForecast:
    """What a look at a network foretells of a step: `numbers` and `time` that are left, as shares, and `noise`, as
    `Leaves.adds`.
    """

    numbers: float
    time: float
    noise: float


Turn: TypeAlias = Literal["narrow", "train", "round"]
TURNS: tuple[Turn, ...] = ("narrow", "train", "round")
"""In which order a search puts steps into a chain."""


def no_detector() -> Detector:
    """Only of a chain's links is it known."""
    raise LookupError("no detector is known that the graph was made of")


@dataclass(frozen=True)
class StepContext:
    """What a step may use besides the model: frames, the teacher, a device, a folder of its own.

    `title` names the work in progress bars. `teacher()` loads the detector as it was before the chain's first step
    whose parent teaches, the whole detector where there is none; `detector()` the last before the step that still was
    one. `scratch` outlives a killed run and is gone when the
    step is done. `earlier` are the steps of the chain that came before. `file` is what the step's `FILE`
    names, `preprocessing` that of the detector.
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
    file: Path | None = None
    preprocessing: Preprocessing | None = None
    detector: Callable[[], Detector] = no_detector

    def batches(
        self, split: Split, batch_size: int, most: int | None = None, skip: int = 0
    ) -> Iterator[NDArray[np.uint8]]:
        """uint8 RGB batches [n, 3, size, size] of at most `most` frames of a split, evenly sampled, in its order.

        The first `skip` of these, whole batches, are left out, unread.
        """
        return self.read(self.sample_evenly(split, most)[skip:], self.spec, batch_size)

    def calibration_batches(self, most: int, skip: int = 0) -> Iterator[NDArray[np.uint8]]:
        """`batches` of calibration frames, small enough for every activation of the network to be looked at."""
        return self.batches("calibration", max(1, CALIBRATION_PIXELS // self.spec.size**2), most, skip)

    def calibrate(
        self,
        part: Part,
        most: int,
        note: str,
        observe: Callable[[NDArray[np.uint8], int], None],
        state: Callable[[], State],
    ) -> None:
        """Give at most `most` calibration frames to `observe(batch, first)`; `first` is the index of a batch's first.

        The pass goes on where `part` was, and saves there what `state()` has gathered by then. `note` names it in
        progress bars.
        """
        done, total = part.done, len(self.sample_evenly("calibration", most))
        for batch in self.calibration_batches(most, done):
            observe(batch, done)
            done += len(batch)
            part.keep(done, total, state)
            self.progress(done, total, "frames", note)

    def part(self, name: str) -> Part:
        """What this step, or a killed run of it, has done of a part of it, such as a pass over the frames."""
        from bench.variants.checkpoints import Part

        return Part(self, name)

    def sample_evenly(self, split: Split, most: int | None = None) -> Sequence[Frame]:
        """At most `most` frames of a split, evenly distributed over it."""
        frames = self.frames[split]
        return [frames.frames[index] for index in frames.sample_evenly(most)]

    def progress(self, done: int, total: int, unit: str, note: str = "") -> None:
        """Tell how far a part of the step is; `bench.phases.begin` says what is done where nothing can be counted."""
        self.on_event(Event(self.title, done, total, unit, note))


class Step(Protocol):
    """The module contract, for type checkers."""

    ACCEPTS: Kind | None
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
    return _names_in(tuple(__path__))


@cache
def _names_in(folders: tuple[str, ...]) -> tuple[str, ...]:
    """Listed once: a run asks hundreds of times."""
    return tuple(module.name for module in pkgutil.iter_modules(folders))


def find(name: str) -> Step:
    """The step of this name; a `UserError` names the choices."""
    if name not in names():
        if name == "find":
            raise UserError(
                "a search stands in place of the list of steps: write `{find: smallest}` without `[` and `]`"
            )
        synonyms = {step: getattr(_module(step), "SYNONYMS", "") for step in names()}
        hint = nearest(name, names(), synonyms)
        raise UserError(f"unknown step {quoted(name)}{hint}; steps are: {', '.join(names())}")
    return _module(name)


def _module(name: str) -> Step:
    module: Any = importlib.import_module(f"{__name__}.{name}")
    step: Step = module
    return step


@dataclass(frozen=True)
class UsedFile:
    """A file that a step reads, and a digest of its content."""

    path: Path
    digest: str


@dataclass(frozen=True)
class Use:
    """A step with its settings, as an experiment uses it.

    `text` is its YAML spelling. `file` is what it reads, where it reads a file and that was looked for.
    """

    name: str
    settings: BaseModel
    text: str
    file: UsedFile | None = None

    @property
    def step(self) -> Step:
        return find(self.name)

    @property
    def turn(self) -> Turn | None:
        """When the step comes in a chain that a search tries; None where no search tries it."""
        turn: Turn | None = getattr(self.step, "TURN", None)
        return turn

    @property
    def is_foretold(self) -> bool:
        """Whether a look at the network tells what the step comes to with each of its settings."""
        return hasattr(self.step, "foretell")

    def frames(self, start: Kind = "torch") -> Mapping[Split, str]:
        """The splits that the step reads under these settings, with what it does with them.

        `start` is the kind of the detector that the chain starts from.
        """
        chosen: Callable[[BaseModel], Mapping[Split, str]] | None = getattr(self.step, "frames", None)
        if start == "onnx":
            chosen = getattr(self.step, "onnx_frames", chosen)
        return chosen(self.settings) if chosen else self.step.FRAMES

    @property
    def needs(self) -> frozenset[Offer]:
        """What the step needs of a detector under these settings."""
        chosen: Callable[[BaseModel], frozenset[Offer]] | None = getattr(self.step, "needs", None)
        return chosen(self.settings) if chosen else self.step.NEEDS

    def accepts(self, kind: Kind) -> bool:
        """Whether the step works on what is of this kind, made by the steps before it."""
        return kind == self.step.ACCEPTS or (kind == "onnx" and hasattr(self.step, "apply_quantised"))

    def makes(self, kind: Kind) -> Kind:
        """The kind of what the step makes of this kind."""
        return self.step.PRODUCES if self.step.ACCEPTS in (kind, None) else kind

    @property
    def file_name(self) -> str | None:
        """The file that the step reads, as the experiment file spells it; None where it reads none."""
        setting: str | None = getattr(self.step, "FILE", None)
        return None if setting is None else str(getattr(self.settings, setting))

    @property
    def why_not_onnx(self) -> str | None:
        """Why the step can't work on a detector of which there is an ONNX file alone; None where it can."""
        if not hasattr(self.step, "apply_onnx"):
            return (
                "works on a network's layers, and of this detector there is an ONNX file alone, a graph that can be "
                "neither trained nor cut: give the checkpoint that it was exported from, or leave"
                f" {self.name} out of this variant"
            )
        why_not: Callable[[BaseModel], str | None] | None = getattr(self.step, "why_not_onnx", None)
        return why_not(self.settings) if why_not else None

    @property
    def leaves(self) -> Leaves:
        """What the step leaves of its parent under these settings."""
        declared: Callable[[BaseModel], Leaves] | None = getattr(self.step, "leaves", None)
        return declared(self.settings) if declared else Leaves()

    def cost(self, counts: Mapping[Split, int], earlier: Sequence[Use]) -> Cost | None:
        """How long the step takes after `earlier` ones, with so many frames in each split; None where unknown."""
        declared: Callable[[BaseModel, Mapping[Split, int], Sequence[Use]], Cost] | None
        declared = getattr(self.step, "cost", None)
        return declared(self.settings, counts, earlier) if declared else None
