"""All scores of an experiment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.records.choice import Choice
from bench.records.ensembles import EnsembleScores
from bench.records.exemplars import Exemplars
from bench.records.forecasts import MeasuredNoise
from bench.records.localisation import Localisation
from bench.records.masks import FittedMasks
from bench.records.measurements import Latencies, Timing, VariantSpeed
from bench.records.occlusion import Occlusion
from bench.records.predictions import LabelledFrames, Predictions
from bench.records.regions import Regions
from bench.records.runs import RunRecord
from bench.records.scores import Comparison, DegradedScore, Effect, Independence, VariantEvaluation
from bench.records.slice_search import SliceSearch
from bench.records.videos import Unit, Videos

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Evaluation:
    """All scores of an experiment: a report is written from it and the run's record.

    `variants` and `predictions` have the variants with status "ok", in the run's order; `speeds` has every variant.
    `not_sliced` says why each column that was not sliced was left out. `timings` are summaries of each variant's
    measurements, `elsewhere` those of the baseline in the runtimes and sessions of other variants. `size_only` has the
    names of the int8 variants that this processor runs no faster than what was quantised. `latencies` are
    those that compare, None where the baseline was not timed. `occlusions` are by variant; those whose frames were not
    blurred have none. `degraded` are each variant's scores on re-compressed frames, a level each. `slice_search` says
    what was searched for slices, None where nothing is compared.

    Where videos are known, `videos` are those of the test frames, and `video` is all of this per video: `test` and
    `validation` are then videos, called by their names, in the order of `videos`, `predictions` have their scores, and
    rows are those of videos. What needs frames is missing there: drift and occlusions. `unit` says what rows are.
    `masks` are those of test fakes, and `localisation` says whether heatmaps lie on them; None where no masks are
    known; `regions` on which parts of the face they lie, None where nobody asked. `exemplars` are the rows that most
    variants lose, None where too few variants differ. `noises` are those of frames, by variant, where they were
    foretold. `ensemble` says what the members of one are worth to it, None of a single network; `member_maps` has, by
    its variants with joined maps, those of each member that answered [n, h, w], which the joined are the means of.
    """

    test: LabelledFrames
    validation: LabelledFrames | None
    predictions: Mapping[str, Predictions]
    variants: Mapping[str, VariantEvaluation]
    speeds: Mapping[str, VariantSpeed]
    choice: Choice | None
    effects: tuple[Effect, ...] = ()
    not_sliced: tuple[str, ...] = ()
    timings: Mapping[str, tuple[Timing, ...]] = field(default_factory=dict)
    elsewhere: tuple[Timing, ...] = ()
    size_only: frozenset[str] = frozenset()
    independence: Independence = field(default_factory=Independence)
    latencies: Latencies | None = None
    occlusions: Mapping[str, Occlusion] = field(default_factory=dict)
    degraded: Mapping[str, tuple[DegradedScore, ...]] = field(default_factory=dict)
    slice_search: SliceSearch | None = None
    unit: Unit = "frame"
    videos: Videos | None = None
    video: Evaluation | None = None
    exemplars: Exemplars | None = None
    noises: Mapping[str, MeasuredNoise] = field(default_factory=dict)
    masks: FittedMasks | None = None
    localisation: Localisation | None = None
    regions: Regions | None = None
    ensemble: EnsembleScores | None = None
    member_maps: Mapping[str, Mapping[str, NDArray[np.floating]]] = field(default_factory=dict)

    def by(self, unit: Unit) -> Evaluation:
        """The evaluation per frame or per video; that per frame where nothing is known of videos, or all failed."""
        return self.video if unit == "video" and self.video is not None else self


@dataclass(frozen=True)
class Alone:
    """One of several detectors: its run and its scores, in which its baseline is what variants are compared with."""

    run: RunRecord
    evaluation: Evaluation

    @property
    def judged(self) -> Evaluation:
        """Its scores as they are judged, per frame or per video."""
        return self.evaluation.by(self.run.judge)

    @property
    def baseline(self) -> str:
        return self.run.baseline.name


@dataclass(frozen=True)
class SideBySide:
    """Several detectors on the same frames.

    `detectors` has each as it is alone, by name. `run` and `evaluation` have the variants of all, called
    "detector/variant", as if they were those of one detector whose baseline is the `reference`: AUCs are compared
    with that one's, and speeds where both were timed in one session. `baselines` compares the baseline of each
    detector with that of the detector `best`, which has the highest AUC; empty where no baseline has one.
    `sessions` is in how many sessions the variants were timed.
    """

    detectors: Mapping[str, Alone]
    run: RunRecord
    evaluation: Evaluation
    best: str
    baselines: Mapping[str, Comparison]
    sessions: int

    @property
    def reference(self) -> str:
        return self.run.baseline.name

    @property
    def titles(self) -> dict[str, tuple[str, str]]:
        """Detector and variant, by what both are called together."""
        return {
            f"{detector}/{variant.name}": (detector, variant.name)
            for detector, alone in self.detectors.items()
            for variant in alone.run.variants
        }
