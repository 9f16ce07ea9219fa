"""A run: its variants, its frames and its settings."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, NamedTuple

from bench.records.artifacts import Footprint
from bench.records.choice import Constraints
from bench.records.degradations import Degradation
from bench.records.ensembles import EnsembleRun
from bench.records.forecasts import Forecast
from bench.records.frames import Preprocessing
from bench.records.masks import MaskCounts
from bench.records.measurements import CalibrationShift, Conditions, Executed, Fidelity, Measurement
from bench.records.predictions import PredictionPass
from bench.records.regions import FaceCounts
from bench.records.search import SearchTrail
from bench.records.thresholds import ThresholdChoice, ThresholdRule
from bench.records.videos import Unit, VideoCounts, VideoScoring
from bench.records.weights import CLASS_ACTIVATION


class ResultKey(NamedTuple):
    """Whose results: those of a detector's variant on a frame set, by their names in the experiment file."""

    detector: str
    variant: str
    frame_set: str


@dataclass(frozen=True)
class Recovery:
    """The record of one `recover` step of a chain.

    Training `ended` for this reason after `steps` of `steps_wanted` training steps; `cut_short` is whether a limit of
    time ended it. The weights after `best_step` were taken, 0 being those before training; where `error_after` is lower
    for all that, batch norms alone were measured again. `error_before` and `error_after` are errors against the
    uncompressed detector on the frames that `judged_on` names: the squared errors of logit difference and CAM, as
    shares of their variance.
    """

    ALL_STEPS: ClassVar = "all steps are done"

    steps: int
    steps_wanted: int
    ended: str
    cut_short: bool
    best_step: int
    judged_on: str
    error_before: float
    error_after: float


@dataclass(frozen=True)
class DegradedPredictions:
    """The key of a variant's predictions for re-compressed test frames."""

    degradation: Degradation
    key: str


@dataclass(frozen=True)
class VariantResult:
    """The results of a variant in a run, without predictions and CAMs.

    `baseline` are the measurements of the experiment's baseline in this variant's runtime, device and session, and
    `conditions` are those of that session. `predictions_key` is the key of the predictions of this run. `recovered`
    has a record for every `recover` of the chain that wrote one. `fidelity` is that of a quantised artifact in its
    runtime on this machine, None for others. `imported` is the file that it is, where it was made elsewhere.
    `evaluation` is the pass that made the predictions, or the rest of them; None where an earlier version made
    them. `degraded` are the predictions for re-compressed test frames that there are. `calibration_shift` is that of an
    artifact whose activations have fixed ranges, None for others. `forecasts` has what each step of the chain foretold
    of the noise that it adds, where it did, in the order of the chain. `search` is the trail of the search that found
    the steps, None where the experiment names them.
    """

    name: str
    id: str
    steps: tuple[str, ...]
    status: Literal["ok", "failed"]
    reason: str | None
    footprint: Footprint | None = None
    executed: Executed | None = None
    measurements: tuple[Measurement, ...] = ()
    baseline: tuple[Measurement, ...] = ()
    conditions: Conditions | None = None
    notes: tuple[str, ...] = ()
    predictions_key: str = ""
    recovered: tuple[Recovery, ...] = ()
    fidelity: Fidelity | None = None
    evaluation: PredictionPass | None = None
    imported: str = ""
    degraded: tuple[DegradedPredictions, ...] = ()
    calibration_shift: CalibrationShift | None = None
    forecasts: tuple[Forecast, ...] = ()
    search: SearchTrail | None = None


@dataclass(frozen=True)
class SplitSummary:
    """A frame set without its frames. `root` is relative to the experiment file.

    `largest_source` is the number of frames of the source that has most, 0 where none is known.
    `count`, `fake` and `real` are of all frames; `copies` of these, of which `fake_copies` are fake, are identical to
    another one and count in no number.
    """

    root: str
    count: int
    fake: int
    real: int
    sources: int
    digest: str
    largest_source: int = 0
    copies: int = 0
    fake_copies: int = 0

    @property
    def without_copies(self) -> SplitSummary:
        """The same with the numbers of the frames that count."""
        real_copies = self.copies - self.fake_copies
        return replace(
            self, count=self.count - self.copies, fake=self.fake - self.fake_copies, real=self.real - real_copies
        )


@dataclass(frozen=True)
class RunRecord:
    """A detector of an experiment, evaluated on a frame set, as run.json stores it.

    With the predictions, it is all that a report is made of.

    `provenance` is printed key by key. For imported scores, `preprocessing` is None, and `detector` and `architecture`
    are empty. `frame_set` is its name where the experiment has several detectors or frame sets, empty elsewhere.
    `files_left_out` says which files below the frames' folders are no frames, "none" where all are; empty where nobody
    has counted. `margin` is the non-inferiority margin on AUC. `attributes` is the digest of the frames' attributes,
    empty where there are none. `gallery_occlusion` is whether regions of the galleries' frames are blurred, `map_kind`
    what the detector's maps are called. `judge` is what verdicts, the choice and gates go by. `videos` has those of
    each labelled split all of whose frames name theirs, `video_scoring` is how these are scored. `degradations` is
    under which re-compression variants were to be judged again. `groups` are the columns between whose values the gap
    of error rates is given. `threshold` is the fixed one; where the experiment gives a rule in place of a number,
    `threshold_rule` is that and `threshold_choice` what it found, None where the baseline failed.
    `masks` says what became of the masks of test frames, None where there are none, and
    `faces` in how many of them a face was found, None where nobody asked. `ensemble` says how members were joined, None
    for a detector that is one network.
    """

    experiment: str
    detector: str
    architecture: str
    preprocessing: Preprocessing | None
    threshold: float
    gallery_top: int
    gallery_heatmaps: Literal["gallery", "all"]
    frames: dict[str, SplitSummary]
    variants: tuple[VariantResult, ...]
    provenance: dict[str, str]
    warnings: tuple[str, ...] = ()
    margin: float = 0.01
    choose: Constraints | None = None
    attributes: str = ""
    frame_set: str = ""
    gallery_occlusion: bool = True
    map_kind: str = CLASS_ACTIVATION
    files_left_out: str = ""
    judge: Unit = "frame"
    video_scoring: VideoScoring = field(default_factory=VideoScoring)
    videos: dict[str, VideoCounts] = field(default_factory=dict)
    degradations: tuple[Degradation, ...] = ()
    threshold_rule: ThresholdRule | None = None
    threshold_choice: ThresholdChoice | None = None
    groups: tuple[str, ...] = ()
    masks: MaskCounts | None = None
    faces: FaceCounts | None = None
    ensemble: EnsembleRun | None = None
    schema: int = 1

    @property
    def test(self) -> SplitSummary:
        """The test frames that numbers are made of: `count`, `fake` and `real` are without `copies`."""
        return self.frames["test"].without_copies

    @property
    def baseline(self) -> VariantResult:
        """The first variant, with which all others are compared."""
        return self.variants[0]
