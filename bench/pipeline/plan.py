"""First stage: an experiment with everything that it refers to, resolved and checked before any work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from bench import datasets, detectors, runtimes, yaml_file
from bench.datasets import demo
from bench.detectors import weights_file
from bench.errors import DEVICES, Keys, UserError, listed, nearest, no_device, problems_of, quoted, refuse_together
from bench.experiment import DetectorSettings, Experiments, ExperimentSettings, select
from bench.provenance import cpu_cores, cuda_devices, cuda_trouble, file_digest
from bench.records import FrameSet, InputSpec, OnEvent, Split, silent
from bench.variants import build, steps

if TYPE_CHECKING:
    from bench.runtimes import Device


DEMO_FRAMES = "datasets/demo"
CPU_USED = "There is a CUDA device, but the CPU was used"

Timing: TypeAlias = Literal["due", "again", "none"]
"""Which variants a run times: those that have no times yet, all, or none."""


@dataclass(frozen=True)
class Plan:
    """One experiment with everything that it refers to, resolved and checked.

    The first chain is the baseline. Of the chains that are not `wanted`, results are shown where they
    exist. `remarks` are what a reader must know before the numbers, `timing` is which of the wanted are to be timed.
    """

    name: str
    base: Path
    settings: ExperimentSettings
    detector: DetectorSettings
    chains: dict[str, tuple[steps.Use, ...]]
    wanted: frozenset[str]
    source: build.Source
    frames: dict[Split, FrameSet]
    device: Device
    threads: int
    remarks: tuple[str, ...] = ()
    timing: Timing = "due"

    @property
    def results(self) -> Path:
        return self.base / "results" / self.name

    @property
    def of_frames(self) -> tuple[str, ...]:
        """What a reader must know of the frames: which were left out, whose sources are not known."""
        remarks = []
        for split, frames in self.frames.items():
            if frames.left_out:
                remarks.append(
                    f"{len(frames.left_out)} of {len(frames.left_out) + len(frames.frames)} {split} frames cannot be "
                    f"decoded and were left out: {listed(frames.left_out, 5)}."
                )
            remarks += frames.remarks
        return tuple(remarks)

    @property
    def spec(self) -> InputSpec:
        return self.source.preprocessing.input_spec


def prepare(
    experiments: Experiments,
    path: Path,
    name: str | None = None,
    *,
    only: Sequence[str] = (),
    device: str | None = None,
    for_run: bool = False,
    on_event: OnEvent = silent,
) -> Plan:
    """Resolve and check an experiment; nothing is built or evaluated yet.

    All that is quickly checked is, and what is wrong is one `UserError`; then what must be read.

    `for_run`, the demo set is drawn where it is not there, and weights that no artifact was made of yet
    are read whole, which needs torch. Otherwise an undrawn set's frames have no content yet.
    """
    name, settings = select(experiments, name, path)
    base = path.parent
    detector = experiments.detectors[settings.detector]
    weights = detector.weights_file(base)
    where = partial(yaml_file.place, path)
    wanted = _wanted(settings, only)
    weights_key, here = ("detectors", settings.detector, "weights"), partial(where, "experiments", name)
    chains = {v: chain for v, chain in settings.variants.items() if v in wanted}
    chosen, remarks, refused = _checked_device(device or settings.device, settings.runtime, chains)
    listing = _Listing(experiments, settings.frames, base)
    problems: list[tuple[Keys, str | UserError]] = [
        *problems_of(weights_key, partial(weights_file.check, weights)),
        *((("experiments", name, *keys), text) for keys, text in _problems(chains, settings.runtime, chosen)),
        *problems_of(("datasets", settings.frames), listing.find),
        *((("experiments", name, *keys), text) for keys, text in _lacking(chains, listing.sets)),
    ]
    refuse_together(where, problems, first=refused)
    source = build.Source(detector.architecture, weights, file_digest(weights), detector.preprocessing)
    problems = []
    if for_run and not build.is_built(base / "variants", build.weights_id(source)):
        problems += problems_of(weights_key, partial(_read_weights, source))
    draw = partial(listing.read, settings.on_bad_frame, for_run, on_event)
    refuse_together(where, [*problems, *problems_of(("datasets", settings.frames), draw)])
    frames = listing.frames
    return Plan(
        name=name,
        base=base,
        settings=settings,
        detector=detector,
        chains=_possible(settings, wanted, frames, here),
        wanted=wanted,
        source=source,
        frames=frames,
        device=chosen,
        threads=cpu_cores() if settings.threads == "auto" else settings.threads,
        remarks=remarks,
    )


def _problems(chains: Mapping[str, Sequence[steps.Use]], runtime: str, device: Device) -> Iterator[tuple[Keys, str]]:
    """All that can be said against chains without their frames, with keys below the experiment's."""
    needed = []
    for variant, chain in chains.items():
        wrong = list(steps.order_problems(chain))
        yield from ((("variants", variant, place), problem) for place, problem in wrong)
        if not wrong:
            try:
                needed.append(runtimes.choose(runtime, _kind(chain), device))
            except UserError as error:
                yield ("variants", variant), str(error)
    for name in dict.fromkeys(needed):
        if trouble := runtimes.trouble(name, device):
            yield ("runtime",), trouble


def _kind(chain: Sequence[steps.Use]) -> str:
    """What kind of artifact a chain ends in."""
    return chain[-1].step.PRODUCES if chain else "torch"


def _lacking(
    chains: Mapping[str, Sequence[steps.Use]], frames: Mapping[Split, FrameSet] | None
) -> Iterator[tuple[Keys, str]]:
    """Splits that steps need and that are not there, as far as that is known without reading a frame."""
    for variant, chain in chains.items() if frames else ():
        yield from ((("variants", variant, place), text) for place, text in steps.frame_problems(chain, frames or {}))


def _read_weights(source: build.Source) -> None:
    detectors.load(source.architecture, source.weights, source.preprocessing)


def _possible(
    settings: ExperimentSettings, wanted: frozenset[str], frames: dict[Split, FrameSet], where: Callable[..., str]
) -> dict[str, tuple[steps.Use, ...]]:
    """The chains that can work; wanted ones that cannot are an error."""
    chains: dict[str, tuple[steps.Use, ...]] = {}
    problems: list[tuple[Keys, str]] = []
    for variant, chain in settings.variants.items():
        wrong = [*steps.order_problems(chain), *steps.frame_problems(chain, frames)]
        if not wrong:
            chains[variant] = chain
        elif variant in wanted:
            problems += [(("variants", variant, place), problem) for place, problem in wrong]
    refuse_together(where, problems)
    return chains


def choose_device(requested: str, runtime: str, kinds: Sequence[str]) -> tuple[Device, tuple[str, ...]]:
    """Where the variants, artifacts of these kinds, run: all on one device, so that they can be compared.

    Where a CUDA device is there and cannot be used, a remark says why.
    """
    if requested not in DEVICES:  # from Python; the file and the command line are checked where they are read
        raise UserError(f"device: {no_device(requested)}")
    if requested == "cpu":
        return "cpu", ()
    if not cuda_devices():
        if requested == "cuda":
            raise UserError(f"device: cuda was asked for, but {cuda_trouble()}: no CUDA device; use auto or cpu")
        return "cpu", ()
    needed = [runtimes.choose("auto", kind, "cuda") for kind in kinds] if runtime == "auto" else [runtime]
    troubles = (runtimes.trouble(name, "cuda") for name in dict.fromkeys(needed))
    trouble = next(filter(None, troubles), None)
    if trouble is None:
        return "cuda", ()
    if requested == "cuda":
        raise UserError(f"device: cuda was asked for, but {trouble}")
    return "cpu", (f"{CPU_USED}: {trouble}.",)


def _checked_device(
    requested: str, runtime: str, chains: Mapping[str, Sequence[steps.Use]]
) -> tuple[Device, tuple[str, ...], tuple[str, ...]]:
    """The same, and what is said against the request: then the CPU is what everything else is checked for."""
    try:
        return *choose_device(requested, runtime, list(map(_kind, chains.values()))), ()
    except UserError as error:
        return "cpu", (), error.lines


def _wanted(settings: ExperimentSettings, only: Sequence[str]) -> frozenset[str]:
    for variant in only:
        if variant not in settings.variants:
            raise UserError(
                f"--only: there is no variant {quoted(variant)}{nearest(variant, settings.variants)}; "
                f"variants are: {', '.join(settings.variants)}"
            )
    return frozenset({settings.baseline, *only} if only else settings.variants)


class _Listing:
    """The frame set of an experiment: first found by its files' names, then read."""

    def __init__(self, experiments: Experiments, name: str, base: Path) -> None:
        self.name, self.base, self.settings = name, base, experiments.datasets[name]
        folder = base / DEMO_FRAMES
        # A set of the user's own may lie there; only what the demo drew is ever drawn again.
        named = self.settings.path == DEMO_FRAMES
        self.is_demo = named and (not folder.exists() or (folder / demo.CARD).exists())
        self.listed: datasets.Listed | None = None
        self.frames: dict[Split, FrameSet] = {}

    @property
    def sets(self) -> dict[Split, FrameSet] | None:
        """The splits without their frames' content; None where they are not known yet."""
        return self.listed.sets if self.listed else None

    def find(self) -> None:
        """What the demo draws is no matter of what lies there."""
        if not self.is_demo:
            self.listed = datasets.find(self.name, self.settings, self.base)

    def read(self, on_bad_frame: Literal["error", "skip"], draw: bool, on_event: OnEvent) -> None:
        if self.is_demo:
            folder = self.base / DEMO_FRAMES
            if not draw and not demo.is_drawn(folder):
                self.frames = demo.undrawn(self.name)
                return
            demo.draw(folder, on_event)
            self.listed = datasets.find(self.name, self.settings, self.base)
        assert self.listed is not None
        cache = self.base / "datasets" / ".cache"
        self.frames = datasets.read(self.listed, cache, on_event, on_bad_frame=on_bad_frame)
