"""First stage: prepare an experiment, all that it refers to resolved and checked before any work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench import datasets, runtimes, yaml_file
from bench.addresses import is_address
from bench.artifacts.imports import file as imports_file
from bench.detector_settings import DetectorSettings
from bench.detectors import families
from bench.detectors.weights import fetching, file_type
from bench.errors import Keys, UserError, nearest, problems_of, quoted, refuse_together
from bench.experiment import Experiments, ExperimentSettings, select
from bench.pipeline import face_points, fits_network, judging, log_runs, masks, readings, threshold, trained_on
from bench.pipeline.degraded import undoable
from bench.pipeline.device import checked_device
from bench.pipeline.ensembles import fitting
from bench.pipeline.frames import Listing, frames_of
from bench.pipeline.prepared import Prepared, Setup, Timing
from bench.pipeline.search import problems as search_problems
from bench.pipeline.search import trails
from bench.provenance import cpu_cores
from bench.records import Frame, FrameSet, OnEvent, Reading, Split, silent
from bench.results import groups
from bench.variants import steps
from bench.variants.chain import frame_problems, kind_of, offer_problems, order_problems
from bench.variants.context import Source
from bench.variants.search_settings import SearchSettings

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
    reads: bool = True,
    on_event: OnEvent = silent,
) -> Prepared:
    """Resolve and check an experiment; nothing is built or evaluated yet.

    What takes a moment is checked first, then weights and frames are read. Either part raises one `UserError` with
    all that is wrong.

    Weights that were not read before are read, which needs torch. For a run, the demo set is drawn where it is missing;
    otherwise the frames of a demo set that is not drawn have no content. Nor, without `reads`, have sets with frames
    that were never read, and none is read.
    """
    request = _request(experiments, path, name, only)
    crops = [detector.preprocessing.crop for detector in request.detectors.values()]
    fetches = on_event if for_run else None
    listings = {name: Listing(experiments, name, path.parent, crops, fetches) for name in request.frame_sets}
    chosen, remarks = _check_quickly(request, listings, device or request.settings.device, fetches)
    weights = _read(request, listings, for_run, reads, on_event)
    build = listings[request.settings.build_set]
    frames, built_with = frames_of(listings, request.settings.frame_sets, build.name), build.frames
    _refuse_learned(request, frames)
    remarks += _refuse_seen(request, frames)
    test = {name: of_set["test"].frames for name, of_set in frames.items()}
    request.refuse([*_unjudgeable(request, test), *_ungroupable(request, test)])
    request.refuse([(request.threshold_key, problem) for problem in _no_threshold(request, listings, frames)])
    request.refuse(list(_unfittable(request, listings, frames)))
    request.refuse(list(_no_search(request, frames, built_with, chosen)))
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
            selected=request.selected[detector],
            source=of_detector.source,
            reading=of_detector.reading,
            imported=of_detector.imported,
            frames=frames[frame_set],
            built_with=built_with,
            device=chosen,
            threads=cpu_cores() if threads == "auto" else threads,
            remarks=remarks,
            timing=timing,
            pending=listings[frame_set].pending,
            build_pending=build.pending,
            extracted=tuple(dict.fromkeys((*listings[frame_set].extracted, *build.extracted))),
        )
        for detector, of_detector in weights.items()
        for frame_set in request.settings.frame_sets
    ]
    prepared = trails.with_found(Prepared(tuple(setups)))
    request.refuse(list(_untimed_searches(request, prepared, timing)))
    if for_run:
        request.refuse([(_dataset_key(name), problem) for name, problem in masks.problems(prepared)])
    return prepared


@dataclass(frozen=True)
class _Request:
    """An experiment and the variants of each detector that are asked for, as file and command line say."""

    path: Path
    name: str
    settings: ExperimentSettings
    detectors: Mapping[str, DetectorSettings]
    selected: Mapping[str, frozenset[str]]

    @property
    def frame_sets(self) -> tuple[str, ...]:
        """The names of all that variants are evaluated on, and of that which they are built with."""
        return tuple(dict.fromkeys((*self.settings.frame_sets, self.settings.build_set)))

    def chains(self, detector: str) -> dict[str, tuple[steps.Use, ...]]:
        """The selected chains of a detector."""
        chains = self.settings.of(detector).chains
        return {name: chain for name, chain in chains.items() if name in self.selected[detector]}

    def searches(self, detector: str) -> dict[str, SearchSettings]:
        """The selected searches of a detector."""
        searches = self.settings.of(detector).searches
        return {name: search for name, search in searches.items() if name in self.selected[detector]}

    def kind(self, detector: str) -> steps.Kind:
        """What a detector is."""
        return families.kind(self.detectors[detector].architecture)

    def uses_of_files(self) -> Iterator[tuple[Keys, steps.Use]]:
        """The steps of selected variants that read a file, with their keys in the experiment file."""
        for detector in self.detectors:
            for variant, chain in self.chains(detector).items():
                for index, use in enumerate(chain):
                    if use.file_name is not None:
                        yield (*self.variant_key(detector, variant), index), use

    def variant_key(self, detector: str, variant: str) -> Keys:
        """Where the file has a variant of a detector."""
        return "experiments", self.name, "variants", self.settings.key_of(detector, variant)

    @property
    def threshold_key(self) -> Keys:
        return "experiments", self.name, "threshold"

    def weights(self, detector: str) -> Path:
        return self.detectors[detector].weights_file(self.path.parent)

    def address(self, detector: str) -> str:
        """Where a detector's weights lie; empty where that is on this machine."""
        weights = self.detectors[detector].weights
        return weights.file if weights and is_address(weights.file) else ""

    def refuse(self, problems: Sequence[tuple[Keys, str | UserError]], *, first: Sequence[str] = ()) -> None:
        """Raise one `UserError` with a line for each problem, which names its place in the file."""
        refuse_together(partial(yaml_file.location_of, self.path), problems, first=first)

    def of_chains(self, detector: str, problems: Iterable[tuple[Keys, str]]) -> Iterator[tuple[Keys, str]]:
        """Problems of a detector's chains with keys below the experiment's, with keys of the file."""
        for (section, *keys), problem in problems:
            if section == "variants":
                keys[0] = self.settings.key_of(detector, str(keys[0]))
            yield ("experiments", self.name, section, *keys), problem


def _request(experiments: Experiments, path: Path, name: str | None, only: Sequence[str]) -> _Request:
    """Raises `UserError` where `only` names no variant of the experiment."""
    name, settings = select(experiments, name, path)
    networks = experiments.networks
    detectors = {detector: networks[detector] for detector in settings.network_names}
    return _Request(path, name, settings, detectors, selected_of(settings, only))


def selected_of(settings: ExperimentSettings, only: Sequence[str]) -> dict[str, frozenset[str]]:
    """The variants of each detector that `only` names, and its baseline; all where it names none.

    "q8" is that of each detector that has it, "b5/q8" that of one; of an ensemble, it is those of its members that take
    part. Raises `UserError` for what is neither.
    """
    titles = settings.titles
    names = list(dict.fromkeys([*(variant for _, variant in titles.values()), *titles]))
    for variant in only:
        if variant not in names:
            raise UserError(
                f"--only: there is no variant {quoted(variant)}{nearest(variant, names)}; "
                f"variants are: {', '.join(names)}"
            )
    selected: dict[str, set[str]] = {detector: set() for detector in settings.detector_names}
    for title, (detector, variant) in titles.items():
        if not only or variant == settings.baseline or {title, variant} & set(only):
            selected[detector].add(variant)
            is_ensemble = detector in settings.ensembles
            for member, part in settings.taking_part(detector, variant).items() if is_ensemble else ():
                selected[member].add(part)
    return {detector: frozenset(variants) for detector, variants in selected.items()}


def refuse_unshared(experiments: Experiments, path: Path, name: str | None, only: Sequence[str]) -> None:
    """Raise `UserError` for files that machines without this folder would not find: all but addresses and paths from
    the root.
    """
    request = _request(experiments, path, name, only)
    files: list[tuple[Keys, str]] = [(keys, use.file_name or "") for keys, use in request.uses_of_files()]
    for detector, settings in request.detectors.items():
        if settings.weights and not settings.is_demo:
            files.append((_weights_key(detector), settings.weights.file))
    for frame_set in request.frame_sets:
        for location in experiments.datasets[frame_set].all_locations:
            files += [(_dataset_key(frame_set), file) for file in (location.path, location.masks) if file]
    request.refuse(
        [
            (
                keys,
                f"{file} is a path in this folder, which workers do not see with --store: give an address such as "
                "s3://bucket/faces, or a path from the root that all machines have",
            )
            for keys, file in files
            if not is_address(file) and not Path(file).expanduser().is_absolute()
        ]
    )


def _weights_key(detector: str) -> Keys:
    return "detectors", detector, "weights"


def _dataset_key(frame_set: str) -> Keys:
    return "datasets", frame_set


# ------------------------------------------------------------------------------- checked in a moment
def _check_quickly(
    request: _Request, listings: Mapping[str, Listing], device: str, fetches: OnEvent | None
) -> tuple[Device, tuple[str, ...]]:
    """Check device, weights files, chains and splits; the device that is used, and remarks on it.

    What lies at addresses is copied once nothing else is wrong: hours of copying do not begin where the run will be
    refused. First weights, which are fewer.
    """
    chains, runtime = {detector: request.chains(detector) for detector in request.detectors}, request.settings.runtime
    kinds = [kind_of(chain, request.kind(name)) for name, chains_of in chains.items() for chain in chains_of.values()]
    chosen, remarks, refused = checked_device(device, runtime, kinds)
    problems = [*_in_settings(request), *_in_weights(request, fetches, remote=False), *_in_chains(request, chosen)]
    by_address = {name: listing for name, listing in listings.items() if listing.is_remote}
    problems += _in_frames({name: listing for name, listing in listings.items() if name not in by_address})
    if by_address or any(map(request.address, request.detectors)):
        request.refuse(problems, first=refused)
        problems += _in_weights(request, fetches, remote=True)
        request.refuse(problems)
        problems += _in_frames(by_address)
    judged = {name: listings[name].may_be_test for name in request.settings.frame_sets}
    request.refuse([*_unjudgeable(request, judged), *_ungroupable(request, judged)])
    frames = listings[request.settings.build_set].sets
    for name in request.detectors:
        problems += _new(problems, request.of_chains(name, _missing_splits(chains[name], frames, request.kind(name))))
    request.refuse(problems, first=refused)
    return chosen, remarks


def _in_settings(request: _Request) -> list[tuple[Keys, str | UserError]]:
    """What is asked for and can't be done here, and files that steps read."""
    problems: list[tuple[Keys, str | UserError]] = []
    if request.settings.regions and (why := face_points.problem()):
        problems.append((("experiments", request.name, "regions"), why))
    for tracker, trouble in log_runs.problems(request.settings, request.path.parent):
        problems.append((("experiments", request.name, "tracking", *tracker), trouble))
    for kind, trouble in undoable(request.settings, request.path.parent / "results" / request.name).items():
        problems.append((("experiments", request.name, "robustness", kind), trouble))
    for keys, use in request.uses_of_files():
        problems += _new(problems, problems_of(keys, partial(readings.check_file, use, request.path.parent)))
    return problems


def _in_weights(request: _Request, fetches: OnEvent | None, *, remote: bool) -> Iterator[tuple[Keys, str | UserError]]:
    """What is wrong with weights here, or with `remote` at addresses, which are copied first.

    Without `fetches`, those that were not copied yet are refused.
    """
    base = request.path.parent
    for name in request.detectors:
        if bool(request.address(name)) != remote:
            continue
        key, of_kind = _weights_key(name), imports_file.check if request.kind(name) == "onnx" else file_type.check
        absent = list(problems_of(key, partial(_copy_weights, request.address(name), base, fetches))) if remote else []
        yield from absent or problems_of(key, partial(of_kind, request.weights(name)))


def _copy_weights(address: str, base: Path, fetches: OnEvent | None) -> None:
    """Copy weights from an address; without `fetches`, refuse those that were not copied yet."""
    if fetches:
        fetching.fetch(address, base, fetches)
    else:
        fetching.refuse_absent(address, base)


def _in_chains(request: _Request, device: Device) -> list[tuple[Keys, str | UserError]]:
    """What is wrong with networks and chains, before their frames are known."""
    problems: list[tuple[Keys, str | UserError]] = []
    for name, settings in request.detectors.items():
        refused_network = [
            *problems_of(("detectors", name, "architecture"), partial(families.offers, settings.architecture))
        ]
        problems += refused_network or _new(problems, request.of_chains(name, _chain_problems(request, name, device)))
    return problems


def _in_frames(listings: Mapping[str, Listing]) -> Iterator[tuple[Keys, str | UserError]]:
    """What is wrong with the files of frame sets, as far as that shows without reading one."""
    for name, listing in listings.items():
        yield from problems_of(_dataset_key(name), listing.find)


def _new(
    problems: Sequence[object], others: Iterable[tuple[Keys, str] | tuple[Keys, str | UserError]]
) -> list[tuple[Keys, str | UserError]]:
    """What is not among the problems yet: several detectors share chains."""
    return [problem for problem in others if problem not in problems]


def _not_offered(request: _Request, detector: str, variant: str) -> Iterator[tuple[int, str]]:
    """Steps of a chain that the detector does not offer what they need; of several, how others keep the variant."""
    chain = request.settings.of(detector).chains[variant]
    others = [name for name in request.detectors if name != detector]
    is_shared = bool(others) and request.settings.key_of(detector, variant) == variant
    example = f"{others[0]}/{variant}" if is_shared else ""
    way_out = f", or write it for the detectors that it suits alone, as in `{example}:`" if example else ""
    for index, problem in offer_problems(chain, request.detectors[detector].architecture):
        yield index, f"{detector}: {problem}{way_out}" if others else problem


def _chain_problems(request: _Request, detector: str, device: Device) -> Iterator[tuple[Keys, str]]:
    """All that is wrong with chains before their frames are known, with keys below the experiment's."""
    needed, runtime, kind = [], request.settings.runtime, request.kind(detector)
    for variant, chain in request.chains(detector).items():
        problems = [*order_problems(chain, kind), *_not_offered(request, detector, variant)]
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
    chains: Mapping[str, Sequence[steps.Use]], frames: Mapping[Split, FrameSet] | None, kind: steps.Kind
) -> Iterator[tuple[Keys, str]]:
    """Splits that steps need and the dataset lacks, as far as that shows without reading a frame."""
    for variant, chain in chains.items() if frames else ():
        yield from ((("variants", variant, index), text) for index, text in frame_problems(chain, frames or {}, kind))


# ------------------------------------------------------------------------------- read, which takes longer
@dataclass
class _ReadWeights:
    """What a detector's chains start from, and how its weights are read; None where that is not looked at."""

    source: Source
    reading: Reading | None = None
    chains: dict[str, tuple[steps.Use, ...]] = field(default_factory=dict)
    imported: dict[str, Reading] = field(default_factory=dict)

    def read_files(self, variant: str, chain: tuple[steps.Use, ...], base: Path) -> None:
        """Note a chain with the files that its steps read.

        Raises `UserError` for a file that can't be used, and for settings that the detector's network does not fit.
        """
        located = []
        for index, use in enumerate(chain):
            fits_network.check(use, chain[:index], self.source, base / "variants")
            if use.file_name is None:
                located.append(use)
                continue
            with_file, self.imported[variant] = readings.read_file(use, base, self.source.preprocessing)
            located.append(with_file)
        self.chains[variant] = tuple(located)

    def check(self, variants: Path) -> None:
        """Raises `UserError` for weights that can't be used."""
        self.reading = readings.reading_of(self.source, variants)

    def recall(self, variants: Path) -> None:
        self.reading = readings.known_reading(self.source, variants)


def _is_other(content_of: Callable[[], str], content: str) -> bool:
    return content_of() != content


def _read(
    request: _Request, listings: Mapping[str, Listing], for_run: bool, reads: bool, on_event: OnEvent
) -> dict[str, _ReadWeights]:
    """Read weights and frames, and refuse what is wrong with either in one message."""
    read: dict[str, _ReadWeights] = {}
    problems: list[tuple[Keys, str | UserError]] = []
    for name, detector in request.detectors.items():
        weights = request.weights(name)
        content_of = partial(readings.content_of, weights, detector.architecture, request.path.parent / "variants")
        try:
            content = content_of()
        except UserError as error:
            problems.append((_weights_key(name), error))
            continue
        source = Source(
            detector.architecture, weights, content, detector.preprocessing, detector.conventions,
            changed=partial(_is_other, content_of, content),
        )  # fmt: skip
        read[name] = _ReadWeights(source)
        # The shipped weights are sound, and a first plan of the demo takes no seconds for them.
        check = read[name].recall if detector.is_demo_alone and not for_run else read[name].check
        problems += problems_of(_weights_key(name), partial(check, request.path.parent / "variants"))
        for variant, chain in request.settings.of(name).chains.items():
            faults = list(problems_of((), partial(read[name].read_files, variant, chain, request.path.parent)))
            if variant in request.selected[name]:
                keys = request.variant_key(name, variant)
                problems += [(keys, fault) for _, fault in faults]
    for name, listing in listings.items():
        # Hours of extraction do not begin where the run will be refused.
        draw = for_run and not problems
        read_frames = partial(listing.read, request.settings.on_bad_frame, on_event, draw=draw, reads=reads)
        problems += problems_of(_dataset_key(name), read_frames)
    request.refuse(problems)
    return read


def _unjudgeable(
    request: _Request, test: Mapping[str, Sequence[Frame] | None]
) -> Iterator[tuple[Keys, str | UserError]]:
    """What keeps each frame set from being judged by its videos, where it is; `test` are None where not known yet."""
    for name, frames in test.items():
        for problem in judging.problems(request.settings, frames or ()):
            yield ("experiments", request.name, "judge") if problem.of_setting else _dataset_key(name), problem.text


def _no_threshold(
    request: _Request, listings: Mapping[str, Listing], frames: Mapping[str, Mapping[Split, FrameSet]]
) -> Iterator[str]:
    """Why no threshold can be found on the first frame set, where all of it is there."""
    first = request.settings.frame_sets[0]
    if listings[first].pending is None:
        yield from threshold.problems(request.settings, frames[first])


def _unfittable(
    request: _Request, listings: Mapping[str, Listing], frames: Mapping[str, Mapping[Split, FrameSet]]
) -> Iterator[tuple[Keys, str]]:
    """Why the weights of ensembles cannot be fitted on the first frame set, where all of it is there."""
    first = request.settings.frame_sets[0]
    for name, ensemble in request.settings.ensembles.items():
        is_asked = ensemble.weights == "fit" and listings[first].pending is None
        if is_asked and (problem := fitting.problem(frames[first])):
            yield ("detectors", name, "weights"), problem


def _no_search(
    request: _Request,
    frames: Mapping[str, Mapping[Split, FrameSet]],
    built_with: Mapping[Split, FrameSet],
    device: Device,
) -> Iterator[tuple[Keys, str]]:
    """What keeps the selected searches from being made on a device."""
    settings = request.settings
    for detector in request.detectors:
        architecture, kind = request.detectors[detector].architecture, request.kind(detector)
        of_frames = search_problems.of_frames(settings, frames[settings.frame_sets[0]])
        of_detector = search_problems.of_detector(architecture, kind, built_with, (settings.runtime, device))
        problems = [*of_frames, *of_detector] if request.searches(detector) else []
        for variant in request.searches(detector):
            yield from ((request.variant_key(detector, variant), problem) for problem in problems)


def _untimed_searches(request: _Request, prepared: Prepared, timing: Timing) -> Iterator[tuple[Keys, str]]:
    """The searches that are due and compare times, where the command line takes none."""
    for detector, setup in prepared.by_detector.items():
        for variant, search in setup.searches_due.items():
            for problem in search_problems.of_search(search, timing):
                yield request.variant_key(detector, variant), problem


def _ungroupable(request: _Request, test: Mapping[str, Sequence[Frame] | None]) -> Iterator[tuple[Keys, str]]:
    """What keeps each frame set from being divided into the groups that are asked for; see `_unjudgeable`."""
    for name, frames in test.items():
        if frames and (problem := groups.problem_of_frames(request.settings.groups, frames)):
            of_set = f"{name}: " if request.settings.has_several_sets else ""
            yield ("experiments", request.name, "groups"), f"{of_set}{problem}"


def _refuse_learned(request: _Request, frames: Mapping[str, Mapping[Split, FrameSet]]) -> None:
    """Refuse frame sets with frames to be judged that variants are built with from another set."""
    problems: list[tuple[Keys, str | UserError]] = []
    for name, sets in frames.items():
        # What a set shares within itself was refused when it was read.
        if name == request.settings.build_set:
            continue
        problems += problems_of(_dataset_key(name), partial(datasets.refuse_shared_content, name, sets))
    request.refuse(problems)


def _refuse_seen(request: _Request, frames: Mapping[str, Mapping[Split, FrameSet]]) -> tuple[str, ...]:
    """Refuse detectors whose training saw the frames that would judge them; what else is to be told of that."""
    problems: list[tuple[Keys, str | UserError]] = []
    remarks: list[str] = []
    for detector in request.detectors:
        try:
            trained = trained_on.of_weights(request.weights(detector))
        except UserError as error:
            problems.append((_weights_key(detector), error))
            continue
        if trained is None:
            continue
        for splits in frames.values():
            problems += [(_weights_key(detector), each) for each in trained_on.problems(trained, splits)]
            remarks += trained_on.remarks(trained, splits)
    request.refuse(problems)
    return tuple(dict.fromkeys(remarks))


def _workable_chains(
    request: _Request, frames: Mapping[Split, FrameSet], chains: Mapping[str, Mapping[str, tuple[steps.Use, ...]]]
) -> dict[str, dict[str, tuple[steps.Use, ...]]]:
    """The chains of each detector that can be built; `UserError` where a selected one cannot.

    `chains` are those of each detector whose files could be read.
    """
    workable: dict[str, dict[str, tuple[steps.Use, ...]]] = {}
    problems: dict[tuple[Keys, str], None] = {}
    for name in request.detectors:
        workable[name] = {}
        for variant, chain in chains[name].items():
            faults = [
                *order_problems(chain, request.kind(name)),
                *_not_offered(request, name, variant),
                *frame_problems(chain, frames, request.kind(name)),
            ]
            if not faults:
                workable[name][variant] = chain
            elif variant in request.selected[name]:
                faulty = ((("variants", variant, index), fault) for index, fault in faults)
                problems |= dict.fromkeys(request.of_chains(name, faulty))
    request.refuse(list(problems))
    return workable
