"""First stage: prepare an experiment, all that it refers to resolved and checked before any work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from bench import datasets, detectors, runtimes, yaml_file
from bench.datasets import demo
from bench.detectors.weights import file_type
from bench.errors import Keys, UserError, listed, nearest, problems_of, quoted, refuse_together
from bench.experiment import DetectorSettings, Experiments, ExperimentSettings, select
from bench.pipeline.device import checked_device
from bench.provenance import cpu_cores, file_digest
from bench.records import LABELLED_SPLITS, BatchReader, FrameSet, InputSpec, OnEvent, Split, silent
from bench.variants import cache, ids, steps
from bench.variants.chain import frame_problems, offer_problems, order_problems
from bench.variants.context import Source

if TYPE_CHECKING:
    from bench.runtimes import Device


DEMO_FRAMES = "datasets/demo"

Timing: TypeAlias = Literal["due", "again", "none"]
"""Which variants a run times: those without times yet, all of them again, or none."""


@dataclass(frozen=True)
class Prepared:
    """One experiment with everything that it refers to, resolved and checked.

    The first chain is the baseline. Only the `selected` variants are built, evaluated and timed; of the others,
    results are shown where they exist. `remarks` are what a reader must know before the numbers, `timing` says which
    of the selected variants are timed.
    """

    name: str
    base: Path
    settings: ExperimentSettings
    detector: DetectorSettings
    chains: dict[str, tuple[steps.Use, ...]]
    selected: frozenset[str]
    source: Source
    frames: dict[Split, FrameSet]
    device: Device
    threads: int
    remarks: tuple[str, ...] = ()
    timing: Timing = "due"

    @property
    def results(self) -> Path:
        return self.base / "results" / self.name

    @property
    def variants(self) -> Path:
        return self.base / "variants"

    @property
    def baseline(self) -> str:
        return next(iter(self.chains))

    @property
    def frame_remarks(self) -> tuple[str, ...]:
        """What a reader must know of the frames: which were left out, which have no known source."""
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
    def labelled(self) -> dict[Split, FrameSet]:
        """The splits that variants are evaluated on."""
        return {split: self.frames[split] for split in LABELLED_SPLITS if split in self.frames}

    @property
    def spec(self) -> InputSpec:
        return self.source.preprocessing.input_spec

    @property
    def read(self) -> BatchReader:
        """Reads frames with as many threads as the experiment may use."""
        return partial(datasets.read_batches, threads=self.threads)


def prepare(  # noqa: PLR0913 - the options of `bench run`
    experiments: Experiments,
    path: Path,
    name: str | None = None,
    *,
    only: Sequence[str] = (),
    device: str | None = None,
    timing: Timing = "due",
    for_run: bool = False,
    on_event: OnEvent = silent,
) -> Prepared:
    """Resolve and check an experiment; nothing is built or evaluated yet.

    What takes a moment is checked first, then weights and frames are read. Either part raises one `UserError` with
    all that is wrong.

    For a run, the demo set is drawn where it is missing, and weights that no artifact was made of yet are loaded,
    which needs torch. Otherwise the frames of a demo set that is not drawn have no content.
    """
    request = _request(experiments, path, name, only)
    listing = _Listing(experiments, request.settings.frames, path.parent)
    chosen, remarks = _check_quickly(request, listing, device or request.settings.device)
    source = _read(request, listing, for_run, on_event)
    settings, frames = request.settings, listing.frames
    return Prepared(
        name=request.name,
        base=path.parent,
        settings=settings,
        detector=request.detector,
        chains=_workable_chains(request, frames),
        selected=request.selected,
        source=source,
        frames=frames,
        device=chosen,
        threads=cpu_cores() if settings.threads == "auto" else settings.threads,
        remarks=remarks,
        timing=timing,
    )


@dataclass(frozen=True)
class _Request:
    """An experiment and the variants of it that are asked for, as file and command line say."""

    path: Path
    name: str
    settings: ExperimentSettings
    detector: DetectorSettings
    selected: frozenset[str]

    @property
    def chains(self) -> dict[str, tuple[steps.Use, ...]]:
        return {name: chain for name, chain in self.settings.variants.items() if name in self.selected}

    @property
    def weights(self) -> Path:
        return self.detector.weights_file(self.path.parent)

    @property
    def weights_key(self) -> Keys:
        return "detectors", self.settings.detector, "weights"

    @property
    def dataset_key(self) -> Keys:
        return "datasets", self.settings.frames

    def refuse(self, problems: Sequence[tuple[Keys, str | UserError]], *, first: Sequence[str] = ()) -> None:
        """Raise one `UserError` with a line for each problem, which names its place in the file."""
        refuse_together(partial(yaml_file.location_of, self.path), problems, first=first)

    def below(self, problems: Iterable[tuple[Keys, str]]) -> Iterator[tuple[Keys, str]]:
        """Problems with keys below the experiment's, with keys of the file."""
        yield from ((("experiments", self.name, *keys), problem) for keys, problem in problems)


def _request(experiments: Experiments, path: Path, name: str | None, only: Sequence[str]) -> _Request:
    """Raises `UserError` where `only` names no variant of the experiment."""
    name, settings = select(experiments, name, path)
    for variant in only:
        if variant not in settings.variants:
            raise UserError(
                f"--only: there is no variant {quoted(variant)}{nearest(variant, settings.variants)}; "
                f"variants are: {', '.join(settings.variants)}"
            )
    selected = frozenset({settings.baseline, *only} if only else settings.variants)
    return _Request(path, name, settings, experiments.detectors[settings.detector], selected)


# ------------------------------------------------------------------------------- checked in a moment
def _check_quickly(request: _Request, listing: _Listing, device: str) -> tuple[Device, tuple[str, ...]]:
    """Check device, weights file, chains and splits; the device that is used, and remarks on it."""
    chains, runtime = request.chains, request.settings.runtime
    chosen, remarks, refused = checked_device(device, runtime, list(map(_kind, chains.values())))
    problems: list[tuple[Keys, str | UserError]] = [
        *problems_of(request.weights_key, partial(file_type.check, request.weights)),
        *request.below(_chain_problems(chains, request.detector.architecture, runtime, chosen)),
        *problems_of(request.dataset_key, listing.find),
        *request.below(_missing_splits(chains, listing.sets)),
    ]
    request.refuse(problems, first=refused)
    return chosen, remarks


def _chain_problems(
    chains: Mapping[str, Sequence[steps.Use]], architecture: str, runtime: str, device: Device
) -> Iterator[tuple[Keys, str]]:
    """All that is wrong with chains before their frames are known, with keys below the experiment's."""
    needed = []
    for variant, chain in chains.items():
        problems = [*order_problems(chain), *offer_problems(chain, architecture)]
        yield from ((("variants", variant, index), problem) for index, problem in problems)
        if not problems:
            try:
                needed.append(runtimes.choose(runtime, _kind(chain), device))
            except UserError as error:
                yield ("variants", variant), str(error)
    for name in dict.fromkeys(needed):
        if trouble := runtimes.unavailable_reason(name, device):
            yield ("runtime",), trouble


def _kind(chain: Sequence[steps.Use]) -> str:
    """What kind of artifact a chain ends in."""
    return chain[-1].step.PRODUCES if chain else "torch"


def _missing_splits(
    chains: Mapping[str, Sequence[steps.Use]], frames: Mapping[Split, FrameSet] | None
) -> Iterator[tuple[Keys, str]]:
    """Splits that steps need and the dataset lacks, as far as that shows without reading a frame."""
    for variant, chain in chains.items() if frames else ():
        yield from ((("variants", variant, index), text) for index, text in frame_problems(chain, frames or {}))


# ------------------------------------------------------------------------------- read, which takes longer
def _read(request: _Request, listing: _Listing, for_run: bool, on_event: OnEvent) -> Source:
    """Read weights and frames, and refuse what is wrong with either in one message."""
    detector, weights = request.detector, request.weights
    source = Source(detector.architecture, weights, file_digest(weights), detector.preprocessing)
    problems: list[tuple[Keys, str | UserError]] = []
    if for_run and not cache.is_built(request.path.parent / "variants", ids.of_weights(source)):
        problems += problems_of(request.weights_key, partial(_load_weights, source))
    read_frames = partial(listing.read, request.settings.on_bad_frame, for_run, on_event)
    problems += problems_of(request.dataset_key, read_frames)
    request.refuse(problems)
    return source


def _load_weights(source: Source) -> None:
    detectors.load(source.architecture, source.weights, source.preprocessing)


def _workable_chains(request: _Request, frames: Mapping[Split, FrameSet]) -> dict[str, tuple[steps.Use, ...]]:
    """The chains that can be built; `UserError` where a selected one cannot."""
    chains: dict[str, tuple[steps.Use, ...]] = {}
    problems: list[tuple[Keys, str]] = []
    for variant, chain in request.settings.variants.items():
        offered = offer_problems(chain, request.detector.architecture)
        faults = [*order_problems(chain), *offered, *frame_problems(chain, frames)]
        if not faults:
            chains[variant] = chain
        elif variant in request.selected:
            problems += [(("variants", variant, index), fault) for index, fault in faults]
    request.refuse(list(request.below(problems)))
    return chains


# ------------------------------------------------------------------------------------------ the frames
class _Listing:
    """The frame set of an experiment: its files are listed first, then read."""

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
        """List the files of each split; those of the demo set are drawn later."""
        if not self.is_demo:
            self.listed = datasets.find(self.name, self.settings, self.base)

    def read(self, on_bad_frame: Literal["error", "skip"], draw: bool, on_event: OnEvent) -> None:
        """Read every frame's digest; with `draw`, a demo set that is missing is drawn first."""
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
