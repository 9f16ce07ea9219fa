"""First stage: prepare an experiment, all that it refers to resolved and checked before any work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench import datasets, runtimes, yaml_file
from bench.artifacts.imports import file as imports_file
from bench.detectors import families
from bench.detectors.weights import file_type
from bench.errors import Keys, UserError, nearest, problems_of, quoted, refuse_together
from bench.experiment import DetectorSettings, Experiments, ExperimentSettings, select
from bench.pipeline import readings
from bench.pipeline.device import checked_device
from bench.pipeline.frames import Listing, frames_of
from bench.pipeline.prepared import Prepared, Setup, Timing
from bench.provenance import cpu_cores
from bench.records import FrameSet, OnEvent, Reading, Split, silent
from bench.variants import steps
from bench.variants.chain import frame_problems, kind_of, offer_problems, order_problems
from bench.variants.context import Source

if TYPE_CHECKING:
    from bench.runtimes import Device


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

    Weights that were not read before are read, which needs torch. For a run, the demo set is drawn where it is missing;
    otherwise the frames of a demo set that is not drawn have no content.
    """
    request = _request(experiments, path, name, only)
    listings = {frame_set: Listing(experiments, frame_set, path.parent) for frame_set in request.settings.frame_sets}
    chosen, remarks = _check_quickly(request, listings, device or request.settings.device)
    weights = _read(request, listings, for_run, on_event)
    frames = frames_of(listings)
    _refuse_learned(request, frames)
    built_with = next(iter(frames.values()))
    chains = _workable_chains(request, built_with, {name: read.chains for name, read in weights.items()})
    threads = request.settings.threads
    setups = [
        Setup(
            name=request.name,
            base=path.parent,
            settings=request.settings,
            detector_name=detector,
            detector=request.detectors[detector],
            frame_set=frame_set,
            chains=chains[detector],
            selected=request.selected,
            source=of_detector.source,
            reading=of_detector.reading,
            imported=of_detector.imported,
            frames=frames[frame_set],
            built_with=built_with,
            device=chosen,
            threads=cpu_cores() if threads == "auto" else threads,
            remarks=remarks,
            timing=timing,
        )
        for detector, of_detector in weights.items()
        for frame_set in listings
    ]
    return Prepared(tuple(setups))


@dataclass(frozen=True)
class _Request:
    """An experiment and the variants of it that are asked for, as file and command line say."""

    path: Path
    name: str
    settings: ExperimentSettings
    detectors: Mapping[str, DetectorSettings]
    selected: frozenset[str]

    @property
    def chains(self) -> dict[str, tuple[steps.Use, ...]]:
        return {name: chain for name, chain in self.settings.variants.items() if name in self.selected}

    @property
    def kinds(self) -> list[steps.Kind]:
        """What the detectors are, each kind once."""
        return list(dict.fromkeys(families.kind(detector.architecture) for detector in self.detectors.values()))

    def uses_of_files(self) -> Iterator[tuple[Keys, steps.Use]]:
        """The steps of selected variants that read a file, with their keys in the experiment file."""
        for variant, chain in self.chains.items():
            for index, use in enumerate(chain):
                if use.file_name is not None:
                    yield ("experiments", self.name, "variants", variant, index), use

    def weights(self, detector: str) -> Path:
        return self.detectors[detector].weights_file(self.path.parent)

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
    detectors = {detector: experiments.detectors[detector] for detector in settings.detectors}
    return _Request(path, name, settings, detectors, selected)


def _weights_key(detector: str) -> Keys:
    return "detectors", detector, "weights"


def _dataset_key(frame_set: str) -> Keys:
    return "datasets", frame_set


# ------------------------------------------------------------------------------- checked in a moment
def _check_quickly(request: _Request, listings: Mapping[str, Listing], device: str) -> tuple[Device, tuple[str, ...]]:
    """Check device, weights files, chains and splits; the device that is used, and remarks on it."""
    chains, runtime = request.chains, request.settings.runtime
    kinds = [kind_of(chain, kind) for kind in request.kinds for chain in chains.values()]
    chosen, remarks, refused = checked_device(device, runtime, kinds)
    problems: list[tuple[Keys, str | UserError]] = []
    for name, detector in request.detectors.items():
        check = imports_file.check if families.kind(detector.architecture) == "onnx" else file_type.check
        problems += problems_of(_weights_key(name), partial(check, request.weights(name)))
    for keys, use in request.uses_of_files():
        problems += problems_of(keys, partial(readings.check_file, use, request.path.parent))
    for detector in request.detectors.values():
        of_chains = request.below(_chain_problems(chains, detector.architecture, runtime, chosen))
        problems += [problem for problem in of_chains if problem not in problems]
    for name, listing in listings.items():
        problems += problems_of(_dataset_key(name), listing.find)
    problems += request.below(_missing_splits(chains, next(iter(listings.values())).sets))
    request.refuse(problems, first=refused)
    return chosen, remarks


def _chain_problems(
    chains: Mapping[str, Sequence[steps.Use]], architecture: str, runtime: str, device: Device
) -> Iterator[tuple[Keys, str]]:
    """All that is wrong with chains before their frames are known, with keys below the experiment's."""
    needed, kind = [], families.kind(architecture)
    for variant, chain in chains.items():
        problems = [*order_problems(chain, kind), *offer_problems(chain, architecture)]
        yield from ((("variants", variant, index), problem) for index, problem in problems)
        if not problems:
            try:
                needed.append(runtimes.choose(runtime, kind_of(chain, kind), device))
            except UserError as error:
                yield ("variants", variant), str(error)
    for name in dict.fromkeys(needed):
        if trouble := runtimes.unavailable_reason(name, device):
            yield ("runtime",), trouble


def _missing_splits(
    chains: Mapping[str, Sequence[steps.Use]], frames: Mapping[Split, FrameSet] | None
) -> Iterator[tuple[Keys, str]]:
    """Splits that steps need and the dataset lacks, as far as that shows without reading a frame."""
    for variant, chain in chains.items() if frames else ():
        yield from ((("variants", variant, index), text) for index, text in frame_problems(chain, frames or {}))


# ------------------------------------------------------------------------------- read, which takes longer
@dataclass
class _ReadWeights:
    """What a detector's chains start from, and how its weights are read; None where that is not looked at."""

    source: Source
    reading: Reading | None = None
    chains: dict[str, tuple[steps.Use, ...]] = field(default_factory=dict)
    imported: dict[str, Reading] = field(default_factory=dict)

    def read_files(self, variant: str, chain: tuple[steps.Use, ...], base: Path) -> None:
        """Note a chain with the files that its steps read; raises `UserError` for a file that can't be used."""
        located = []
        for use in chain:
            if use.file_name is not None:
                use, self.imported[variant] = readings.read_file(use, base, self.source.preprocessing)  # noqa: PLW2901
            located.append(use)
        self.chains[variant] = tuple(located)

    def check(self, variants: Path) -> None:
        """Raises `UserError` for weights that can't be used."""
        self.reading = readings.reading_of(self.source, variants)

    def recall(self, variants: Path) -> None:
        self.reading = readings.known_reading(self.source, variants)


def _read(
    request: _Request, listings: Mapping[str, Listing], for_run: bool, on_event: OnEvent
) -> dict[str, _ReadWeights]:
    """Read weights and frames, and refuse what is wrong with either in one message."""
    read: dict[str, _ReadWeights] = {}
    problems: list[tuple[Keys, str | UserError]] = []
    for name, detector in request.detectors.items():
        weights = request.weights(name)
        try:
            content = readings.content_of(weights, detector.architecture, request.path.parent / "variants")
        except UserError as error:
            problems.append((_weights_key(name), error))
            continue
        source = Source(detector.architecture, weights, content, detector.preprocessing, detector.conventions)
        read[name] = _ReadWeights(source)
        # The shipped weights are sound, and a first plan of the demo takes no seconds for them.
        check = read[name].recall if detector.is_demo_alone and not for_run else read[name].check
        problems += problems_of(_weights_key(name), partial(check, request.path.parent / "variants"))
        for variant, chain in request.settings.variants.items():
            faults = list(problems_of((), partial(read[name].read_files, variant, chain, request.path.parent)))
            if variant in request.selected:
                keys = ("experiments", request.name, "variants", variant)
                problems += [(keys, fault) for _, fault in faults if (keys, fault) not in problems]
    for name, listing in listings.items():
        read_frames = partial(listing.read, request.settings.on_bad_frame, for_run, on_event)
        problems += problems_of(_dataset_key(name), read_frames)
    request.refuse(problems)
    return read


def _refuse_learned(request: _Request, frames: Mapping[str, Mapping[Split, FrameSet]]) -> None:
    """Refuse frame sets with frames to be judged that variants are built with from the first set."""
    problems: list[tuple[Keys, str | UserError]] = []
    for name, sets in list(frames.items())[1:]:
        problems += problems_of(_dataset_key(name), partial(datasets.refuse_shared_content, name, sets))
    request.refuse(problems)


def _workable_chains(
    request: _Request, frames: Mapping[Split, FrameSet], chains: Mapping[str, Mapping[str, tuple[steps.Use, ...]]]
) -> dict[str, dict[str, tuple[steps.Use, ...]]]:
    """The chains of each detector that can be built; `UserError` where a selected one cannot.

    `chains` are those of each detector whose files could be read.
    """
    workable: dict[str, dict[str, tuple[steps.Use, ...]]] = {}
    problems: dict[tuple[Keys, str], None] = {}
    for name, detector in request.detectors.items():
        workable[name] = {}
        kind = families.kind(detector.architecture)
        for variant, chain in chains[name].items():
            offered = offer_problems(chain, detector.architecture)
            faults = [*order_problems(chain, kind), *offered, *frame_problems(chain, frames)]
            if not faults:
                workable[name][variant] = chain
            elif variant in request.selected:
                problems |= {(("variants", variant, index), fault): None for index, fault in faults}
    request.refuse(list(request.below(problems)))
    return workable
