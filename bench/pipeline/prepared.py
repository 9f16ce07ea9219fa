"""A prepared experiment: everything that it refers to, resolved and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from bench import datasets
from bench.detector_settings import DetectorSettings
from bench.detectors import families
from bench.errors import listed
from bench.experiment import ExperimentSettings
from bench.pipeline import judging
from bench.pipeline.footage import FOLDER as EXTRACTED
from bench.pipeline.footage import Pending
from bench.records import LABELLED_SPLITS, BatchReader, FrameSet, InputSpec, Reading, ResultKey, SearchTrail, Split
from bench.variants import steps
from bench.variants.chain import kind_of
from bench.variants.context import Source
from bench.variants.search_settings import SearchSettings

if TYPE_CHECKING:
    from bench.runtimes import Device
    from bench.variants.steps import Kind

Timing: TypeAlias = Literal["due", "again", "none"]
"""Which variants a run times: those without times yet, all of them again, or none."""


@dataclass(frozen=True)
class Setup:
    """One detector of an experiment on one of its frame sets.

    The first chain is the baseline. Only the `selected` variants are built, evaluated and timed; of the others, results
    are shown where they exist. `frames` are the set's own test and validation frames, and the calibration and train
    frames of the set that variants are built with. `remarks` are what a reader must know before the numbers,
    `timing` says which of the selected variants are timed. `built_with` are all frames of the set that variants are
    built with: what is built hangs on no other. `reading` says how weights are read; a plan of the demo may not
    know. `imported` says how the file of each variant is read that was made elsewhere. `pending` are videos of the
    set that are not extracted yet, `build_pending` those of the set to build with, `extracted` the names of the
    folders that the frames of both lie in, or will. `trails` are those of the searches that have found the chain of a
    variant, which is then among `chains`; `unfound` says why a search found none.
    """

    name: str
    base: Path
    settings: ExperimentSettings
    detector_name: str
    detector: DetectorSettings
    frame_set: str
    chains: Mapping[str, tuple[steps.Use, ...]]
    selected: frozenset[str]
    source: Source
    frames: Mapping[Split, FrameSet]
    built_with: Mapping[Split, FrameSet]
    device: Device
    threads: int
    remarks: tuple[str, ...] = ()
    timing: Timing = "due"
    reading: Reading | None = None
    imported: Mapping[str, Reading] = field(default_factory=dict)
    pending: Pending | None = None
    build_pending: Pending | None = None
    extracted: tuple[str, ...] = ()
    trails: Mapping[str, SearchTrail] = field(default_factory=dict)
    unfound: Mapping[str, str] = field(default_factory=dict)

    def key(self, variant: str) -> ResultKey:
        return ResultKey(self.detector_name, variant, self.frame_set)

    def title(self, variant: str) -> str:
        """What messages call a variant: "q8", and "b5/q8" where there are several detectors."""
        return f"{self.detector_name}/{variant}" if self.settings.is_side_by_side else variant

    def result_title(self, variant: str) -> str:
        """What messages call a variant's results: its title, and "q8 on celeb" where there are several frame sets."""
        return f"{self.title(variant)}{self.on_frames}"

    @property
    def named(self) -> tuple[str, ...]:
        """Every variant of this detector that the file names, those that cannot be built among them."""
        return tuple(self.settings.of(self.detector_name).variants)

    @property
    def searches(self) -> Mapping[str, SearchSettings]:
        """The variants of this detector whose chains a run finds."""
        return self.settings.of(self.detector_name).searches

    @property
    def searches_due(self) -> dict[str, SearchSettings]:
        """The selected ones whose chains are not found yet."""
        missing = self.selected - self.chains.keys() - self.unfound.keys()
        return {name: search for name, search in self.searches.items() if name in missing}

    @property
    def on_frames(self) -> str:
        """ " on celeb" where there are several frame sets."""
        return f" on {self.frame_set}" if self.settings.has_several_sets else ""

    @property
    def results(self) -> Path:
        return self._results_on(self.frame_set)

    @property
    def times_folder(self) -> Path:
        """Where the times of its variants lie: they are timed once, with frames of the first set."""
        return self._results_on(self.settings.frame_sets[0])

    def _results_on(self, frame_set: str) -> Path:
        return self.base / "results" / self.name / self.settings.folder(self.detector_name, frame_set)

    @property
    def is_first_set(self) -> bool:
        """Whether variants are timed with frames of this set."""
        return self.frame_set == self.settings.frame_sets[0]

    @property
    def report(self) -> Path:
        return self.base / "reports" / self.name / self.settings.folder(self.detector_name, self.frame_set)

    @property
    def variants(self) -> Path:
        return self.base / "variants"

    @property
    def baseline(self) -> str:
        return next(iter(self.chains))

    @property
    def frame_remarks(self) -> tuple[str, ...]:
        """What a reader must know of the frames: which were left out, which have no known source."""
        return (*remarks_on(self.frames), *judging.remarks(self.settings, self.frames, self.video_lists))

    @property
    def video_remarks(self) -> tuple[str, ...]:
        """Which videos to be judged have no frame, and whether frames without one keep them from being judged."""
        return tuple(judging.remarks_on_test(self.settings, self.frames, self.video_lists))

    @property
    def video_lists(self) -> tuple[str, ...]:
        """The files that say what became of each of the videos to be judged, where these were extracted for it."""
        from bench.footage import folder

        files = [frames.frames[0].file for frames in self.labelled.values() if frames.frames]
        homes = [Path("datasets", EXTRACTED, name) for name in self.extracted]
        lists = [home / folder.VIDEOS for home in homes if any(self.base / home in file.parents for file in files)]
        return tuple(file.as_posix() for file in lists)

    @property
    def own_frames(self) -> Mapping[Split, FrameSet]:
        """The frames of its own set: without those of another set that variants are built with."""
        return self.frames if self.frame_set == self.settings.build_set else self.labelled

    @property
    def labelled(self) -> dict[Split, FrameSet]:
        """The splits that variants are evaluated on."""
        return {split: self.frames[split] for split in LABELLED_SPLITS if split in self.frames}

    @property
    def kind(self) -> Kind:
        """What the detector is: a network of layers, or an ONNX graph alone."""
        return families.kind(self.source.architecture)

    def kind_of(self, variant: str) -> Kind:
        """What kind of artifact a variant's chain ends in."""
        return kind_of(self.chains[variant], self.kind)

    @property
    def spec(self) -> InputSpec:
        return self.source.preprocessing.input_spec

    @property
    def read(self) -> BatchReader:
        """Reads frames with as many threads as the experiment may use."""
        return partial(datasets.read_batches, threads=self.threads)


@dataclass(frozen=True)
class Prepared:
    """An experiment: each of its detectors on each of its frame sets, the first detector's first."""

    setups: tuple[Setup, ...]

    @property
    def first(self) -> Setup:
        """The first detector on the first frame set; what holds for the whole experiment, it knows too."""
        return self.setups[0]

    @property
    def results(self) -> Path:
        """The folder of all results of the experiment."""
        return self.first.base / "results" / self.first.name

    @property
    def report(self) -> Path:
        """The folder of the report of the experiment, in which those of several detectors and frame sets lie."""
        return self.first.base / "reports" / self.first.name

    @property
    def folders(self) -> list[Path]:
        """Those of the results of each detector on each frame set, ensembles among them."""
        return [setup.results for setup in self.setups] + self.ensemble_folders

    @property
    def ensemble_folders(self) -> list[Path]:
        """Those of the results of each ensemble on each frame set."""
        settings = self.first.settings
        return [self.results / settings.folder(name, of) for name in settings.ensembles for of in settings.frame_sets]

    @property
    def by_detector(self) -> dict[str, Setup]:
        """Each detector on the first frame set; what its variants are built with, that knows as well as any other."""
        return {setup.detector_name: setup for setup in self.setups if setup.is_first_set}

    def of_frames(self, frame_set: str) -> str:
        """ " of celeb" where there are several frame sets, that to build with among them."""
        settings = self.first.settings
        return f" of {frame_set}" if {*settings.frame_sets} != {settings.build_set} else ""

    @property
    def by_frame_set(self) -> dict[str, tuple[Setup, ...]]:
        """All detectors on each frame set."""
        names = self.first.settings.frame_sets
        return {name: tuple(setup for setup in self.setups if setup.frame_set == name) for name in names}

    @property
    def frames_by_set(self) -> dict[str, Mapping[Split, FrameSet]]:
        """The frames of each set: of those that are judged, and last of one that variants are only built with."""
        frames = {name: setups[0].own_frames for name, setups in self.by_frame_set.items()}
        return frames | {self.first.settings.build_set: self.first.built_with}

    @property
    def unread(self) -> int:
        """How many frames of its sets nobody has read yet."""
        return sum(frames.unread for of_set in self.frames_by_set.values() for frames in of_set.values())

    @property
    def accounts(self) -> dict[str, str]:
        """What became of the files of each frame set, in a sentence or two."""
        return {name: datasets.account(frames) for name, frames in self.frames_by_set.items()}

    @property
    def pending(self) -> dict[str, Pending]:
        """The videos that are still to be extracted, by frame set."""
        due = {setup.frame_set: setup.pending for setup in self.setups}
        due[self.first.settings.build_set] = self.first.build_pending
        return {name: pending for name, pending in due.items() if pending}

    @property
    def frame_remarks(self) -> tuple[str, ...]:
        """Those of all frame sets, each once, with the names of its sets where there are several."""
        sets: dict[str, list[str]] = {}
        for name, frames in self.frames_by_set.items():
            judged = [setup for setup in self.setups if setup.frame_set == name][:1]
            for text in (*remarks_on(frames), *(text for setup in judged for text in setup.video_remarks)):
                sets.setdefault(text, []).append(name)
        named = len(self.frames_by_set) > 1
        alike: dict[str, list[str]] = {}
        for setup in self.setups:
            if (content := setup.frames["test"].content) and setup.detector_name == self.first.detector_name:
                alike.setdefault(content, []).append(setup.frame_set)
        for names in (names for names in alike.values() if len(names) > 1):
            sets.setdefault("have the same test frames: a verdict over all sets takes for several what is one.", names)
        return tuple(f"{', '.join(names)}: {text}" if named else text for text, names in sets.items())


def remarks_on(frame_sets: Mapping[Split, FrameSet]) -> tuple[str, ...]:
    """What a reader must know of the splits of a frame set."""
    remarks: list[str] = []
    for split, frames in frame_sets.items():
        if frames.left_out:
            remarks.append(
                f"{len(frames.left_out)} of {len(frames.left_out) + len(frames.frames)} {split} frames cannot be "
                f"decoded and were left out: {listed(frames.left_out, 5)}."
            )
        remarks += frames.remarks
    return tuple(dict.fromkeys(remarks))
