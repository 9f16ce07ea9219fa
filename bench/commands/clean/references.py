"""Which experiments refer to which variants and results, by all experiment files of a folder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bench import stored
from bench.addresses import is_address
from bench.datasets import demo, fetching
from bench.errors import UserError
from bench.experiment import Experiments, ExperimentSettings, read
from bench.pipeline.build import build_context
from bench.pipeline.former import earlier_folders
from bench.pipeline.frames import DEMO_FRAMES
from bench.pipeline.prepare import prepare
from bench.pipeline.prepared import Prepared
from bench.pipeline.search import trails
from bench.records import OnEvent
from bench.results import predict
from bench.variants import ids


@dataclass
class References:
    """The experiments that refer to each variant id and to each folder of extracted frames; of each experiment the
    variants, the folders below its own, and those of the levels of re-compression; the files that name each address.

    `before` has the folders of results that a run may take over from what an experiment was earlier. `unreadable` has
    the reason for each experiment file that cannot be read, `unresolved` for each experiment whose ids cannot be
    computed.
    """

    variants: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    results: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    before: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    folders: dict[str, set[Path]] = field(default_factory=lambda: defaultdict(set))
    levels: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    extracted: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    addresses: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    unreadable: dict[str, str] = field(default_factory=dict)
    unresolved: dict[str, str] = field(default_factory=dict)

    def of_variant(self, variant: str) -> str:
        """Why the variant of this id stays; empty if nothing refers to it."""
        return _used_by(self.variants.get(variant, ())) or _perhaps_used_by(self.unreadable | self.unresolved)

    def of_extracted(self, folder: str) -> str:
        """Why frames that were extracted from videos stay; empty if nothing refers to their folder."""
        return _used_by(self.extracted.get(folder, ())) or _perhaps_used_by(self.unreadable | self.unresolved)

    def of_copy(self, address: str) -> str:
        """Why the copy of what lies at an address stays; empty if no experiment file names it."""
        return _used_by(self.addresses.get(address, ())) or _perhaps_used_by(self.unreadable)

    def of_results(self, experiment: str, variant: str | None = None) -> str:
        """Why an experiment's results of a variant stay, or its own files; empty if nothing refers to them.

        `variant` is its path below the experiment's folder: "q8", or "xception/q8" where there are several detectors.
        """
        variants = self.results.get(experiment)
        is_used = variants is not None and (variant is None or variant in variants)
        if variant in self.before.get(experiment, ()):
            return f"perhaps used by {experiment}: `bench run` moves it to its folder, or makes it again"
        return _used_by([experiment]) if is_used else _perhaps_used_by(self.unreadable)

    def of_level(self, experiment: str, level: str) -> str:
        """Why predictions for re-compressed frames stay; `level` is the name of their folder."""
        is_used = level in self.levels.get(experiment, ())
        return _used_by([experiment]) if is_used else _perhaps_used_by(self.unreadable)

    @property
    def notes(self) -> tuple[str, ...]:
        """What could not be found out, in words."""
        return (
            *(f"what {name} refers to cannot be told: {why}" for name, why in self.unreadable.items()),
            *(f"the variants of {name} cannot be told: {why}" for name, why in self.unresolved.items()),
        )


def _used_by(names: Iterable[str]) -> str:
    return f"used by {', '.join(sorted(names))}" if names else ""


def _perhaps_used_by(names: Iterable[str]) -> str:
    return f"perhaps used by {', '.join(names)}" if names else ""


def find_references(experiments: Experiments, path: Path, on_event: OnEvent) -> References:
    """The references of the experiments in `path`, and of all other experiment files in the same folder."""
    references = References()
    beside = sorted(file for file in path.parent.glob("*.y*ml") if file.is_file())
    for file in dict.fromkeys([path, *beside]):
        try:
            in_file = experiments if file == path else read(file)
        except UserError as error:
            if _is_experiment_file(file):
                references.unreadable[file.name] = str(error).splitlines()[0]
            continue
        for address in _addresses(in_file):
            references.addresses[address].add(file.name)
        for name, settings in in_file.experiments.items():
            references.folders[name] |= set(settings.folders) - {Path()}
            asked = settings.robustness.degradations if settings.robustness else ()
            references.levels[name] |= {degradation.folder for degradation in asked}
            references.results[name] |= {
                (settings.folder(detector, frame_set) / variant).as_posix()
                for detector, variant in settings.titles.values()
                for frame_set in settings.frame_sets
            }
            references.before[name] |= _before(path.parent / "results" / name, settings)
            try:
                prepared = _prepared(in_file, file, name, on_event)
                for folder in {folder for setup in prepared.setups for folder in setup.extracted}:
                    references.extracted[folder].add(name)
                for variant in _ids(prepared, on_event):
                    references.variants[variant].add(name)
            except UserError as error:
                references.unresolved[name] = str(error).splitlines()[0]
    return references


def _addresses(experiments: Experiments) -> set[str]:
    """All addresses that a file names, of frames and of weights."""
    of_frames = (address for of in experiments.datasets.values() for address in fetching.addresses_of(of))
    networks = (*experiments.networks.values(), *experiments.trainings.values())
    of_weights = (network.weights.file.rstrip("/") for network in networks if network.weights)
    return {*of_frames, *filter(is_address, of_weights)}


def _before(results: Path, settings: ExperimentSettings) -> set[str]:
    """Results that lie where an experiment had them with other detectors or frame sets, and that it lacks so far."""
    before = set()
    for detector, variant in settings.titles.values():
        for frame_set in settings.frame_sets:
            present = settings.folder(detector, frame_set)
            if not (results / present / variant / predict.MARK).exists():
                before |= {(folder / variant).as_posix() for folder in earlier_folders(detector, frame_set, present)}
    return before


def _is_experiment_file(file: Path) -> bool:
    """Whether a YAML file that cannot be read is meant to hold experiments; any of its keys may be misspelled."""
    try:
        text = stored.read_bytes(file, stored.MIB).decode("utf-8", errors="replace")
    except (OSError, ValueError):
        return True
    names = ("detectors:", "trainings:")
    return "experiments:" in text or ("datasets:" in text and any(name in text for name in names))


def _prepared(experiments: Experiments, path: Path, name: str, on_event: OnEvent) -> Prepared:
    """The experiment with its frames and weights; `UserError` where some are missing."""
    settings = experiments.experiments[name]
    paths = [experiments.datasets[frame_set].path for frame_set in (*settings.frame_sets, settings.build_set)]
    if DEMO_FRAMES in paths and not demo.is_drawn(path.parent / DEMO_FRAMES):
        raise UserError("the demo's frames are not drawn")
    # Ids depend on neither, and another machine's runtime would be refused on this one.
    anywhere = settings.model_copy(update={"runtime": "auto", "device": "cpu"})
    return prepare(experiments.model_copy(update={"experiments": {name: anywhere}}), path, name, on_event=on_event)


def _ids(prepared: Prepared, on_event: OnEvent) -> set[str]:
    """The ids of all links of an experiment's chains; `UserError` where videos are not extracted."""
    if any(setup.pending for setup in prepared.setups):
        raise UserError("the frames of its videos are not extracted")
    links: set[str] = set()
    for setup in prepared.by_detector.values():
        context = build_context(setup, on_event)
        for chain in setup.chains.values():
            links |= set(ids.of_chain(setup.source, chain, context))
        for variant in setup.searches:
            # Its key hangs on the runtime and the device, which this machine may not have.
            links |= trails.ids_in(trails.folder_of(setup, variant))
    return links
