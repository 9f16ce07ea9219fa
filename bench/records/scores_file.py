"""What scores.json holds: the numbers of a report, for programs. A dataclass field is a key of the file.

Every key is written for every variant. A number that is unavailable is None, never left out. reports/README.md and
docs/numbers.md say what each key means.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Literal, TypeAlias

from bench.records.calibration import CalibrationMethod
from bench.records.choice import Loosening
from bench.records.degradations import DegradationKind
from bench.records.exemplars import ScoredExemplars
from bench.records.forecasts import Forecast, MeasuredNoise
from bench.records.frames import Outcome
from bench.records.groups import Rate
from bench.records.measurements import CalibrationShift, Fidelity, Timing
from bench.records.resolution import Resolution
from bench.records.runs import Recovery
from bench.records.scored_threshold import ScoredThresholdRule
from bench.records.scores import Decisions, ShiftVerdict, ThresholdKind, Verdict
from bench.records.search import SearchTrail
from bench.records.slice_search import SliceBasis
from bench.records.videos import MissingScore, Unit, VideoScore
from bench.records.weights import ClassName

SCORES_SCHEMA = 1
"""Counts up when a key changes its meaning or goes away."""

Ends: TypeAlias = tuple[float, float]
"""The lower and the upper end of a 95 % interval."""


@dataclass(frozen=True)
class ScoredFrames:
    """One split: how many frames count, the digest of all paths, labels, sources and content, and further copies.

    `copies` are files that are identical to another one of the split. They are in predictions.parquet and in the
    digest, and count neither here nor in any other number.
    """

    count: int
    fake: int
    real: int
    digest: str
    copies: int = 0


@dataclass(frozen=True)
class ScoredConfusion:
    """The confusion matrix at the fixed threshold, fake being the positive class."""

    tp: int | None
    tn: int | None
    fp: int | None
    fn: int | None


@dataclass(frozen=True)
class ScoredPoint(Decisions):
    """The decisions at a threshold, without their intervals."""

    f1: float | None
    accuracy: float | None
    balanced_accuracy: float | None
    mcc: float | None


@dataclass(frozen=True)
class ScoredShift:
    """Balanced accuracy won by a threshold of the variant's own (`gained`), and what stays lost (`left`)."""

    verdict: ShiftVerdict | None
    gained: float
    gained_ci: Ends
    left: float
    left_ci: Ends


@dataclass(frozen=True)
class ScoredFlips:
    """Test frames that changed their outcome against the baseline, and p of McNemar's exact test."""

    worse: int
    better: int
    p: float


@dataclass(frozen=True)
class ScoredDrift:
    """How far class-activation maps moved; `other_reason` counts frames that are right for another reason."""

    count: int
    rank_correlation: float
    rank_correlation_low: float
    overlap: float
    both_right: int
    other_reason: int


@dataclass(frozen=True)
class ScoredFaithfulness:
    """How often heatmaps point at what matters in frames of the galleries that are called one class."""

    frames: int
    right: int
    fall: float
    fall_elsewhere: float
    baseline_right: int | None
    baseline_fall: float | None
    baseline_fall_elsewhere: float | None


@dataclass(frozen=True)
class ScoredLocalisation:
    """Whether heatmaps lie on what was forged, over `frames` test fakes with a mask; all from 0 to 1.

    See `Localised`. Deltas are to the baseline's on the same fakes. Where a variant has no maps, `reason` says why, and
    the numbers are None.
    """

    reason: str | None
    frames: int | None
    blank: int | None
    pointing_game: float | None
    pointing_game_ci: Ends | None
    pointing_game_delta: float | None
    pointing_game_delta_ci: Ends | None
    evidence_inside: float | None
    evidence_inside_ci: Ends | None
    evidence_inside_delta: float | None
    evidence_inside_delta_ci: Ends | None
    mask_auc: float | None
    mask_auc_ci: Ends | None
    mask_auc_delta: float | None
    mask_auc_delta_ci: Ends | None
    interval: Literal["sources", "frames"] | None


@dataclass(frozen=True)
class ScoredMasks:
    """The masks of test fakes, and what maps come to beside them that know nothing; see `MaskCounts` and `Chance`."""

    fakes: int
    used: int
    missing: int
    unreadable: int
    misshapen: int
    black: int
    outside: int
    whole: int
    marked_real: int
    compared: int
    area: float | None
    centre_pointing: float | None
    centre_inside: float | None
    centre_auc: float | None


@dataclass(frozen=True)
class ScoredPart:
    """The mean share of the evidence for the called class on a part of the face; see `PartShare`."""

    part: str
    share: float
    share_ci: Ends
    delta: float | None
    delta_ci: Ends | None


@dataclass(frozen=True)
class ScoredOutcomeRegions:
    """The parts of the face over `frames` frames of an outcome, `compared` of them with the baseline's beside them."""

    outcome: Outcome
    frames: int
    compared: int
    parts: tuple[ScoredPart, ...]


@dataclass(frozen=True)
class ScoredRegions:
    """Which parts of the face a variant looks at, by outcome; `changed` of `compared` frames have another leading part.

    Where a variant has no maps, `reason` says why, and there are no outcomes.
    """

    reason: str | None
    compared: int | None
    changed: int | None
    outcomes: tuple[ScoredOutcomeRegions, ...]


@dataclass(frozen=True)
class ScoredArea:
    """A part of the face, and its mean share of what the network sees."""

    part: str
    area: float


@dataclass(frozen=True)
class ScoredFaces:
    """In how many of `frames` test frames a face was found, by which finder, and the parts' shares of the area."""

    finder: str
    frames: int
    faces: int
    compared: int
    areas: tuple[ScoredArea, ...]


@dataclass(frozen=True)
class ScoredSlice:
    """AUC, and its difference to the baseline's, on the test frames that share a value of a column."""

    column: str
    value: str
    fake: int
    real: int
    against: ClassName | None
    auc: float | None
    auc_ci: Ends | None
    auc_delta: float | None
    auc_delta_ci: Ends | None
    p_holm: float | None
    simultaneous: Ends | None


@dataclass(frozen=True)
class ScoredConfirmedSlice:
    """A slice that a search confirmed, in the numbers of the frames of `basis`: `delta` there, `elsewhere`, `excess`.

    See `ConfirmedSlice`.
    """

    column: str
    value: str
    fake: int
    real: int
    against: ClassName | None
    baseline_auc: float
    delta: float
    delta_ci: Ends
    elsewhere: float
    excess: float
    excess_ci: Ends
    basis: SliceBasis


@dataclass(frozen=True)
class ScoredSliceSearch:
    """What was searched for slices in which variants lose more than elsewhere; see `SliceSearch`."""

    columns: tuple[str, ...]
    candidates: int
    halves: tuple[int, int]
    left_out: int
    reason: str


@dataclass(frozen=True)
class ScoredGroup:
    """How many frames of a group are wrong, of `count` real ones or fakes; `counts` is whether the gap goes by them."""

    value: str
    count: int
    wrong: int
    rate: float | None
    counts: bool
    sources: float | None = None


@dataclass(frozen=True)
class ScoredGroupGap:
    """The gap of a rate between groups, and its change against the baseline's; see `GroupGap`."""

    column: str
    rate: Rate
    groups: tuple[ScoredGroup, ...]
    gap: float | None
    highest: str | None
    lowest: str | None
    before: float | None
    change: float | None
    change_ci: Ends | None
    simultaneous: Ends | None
    by_source: bool


@dataclass(frozen=True)
class ScoredDegradation:
    """AUC on re-compressed test frames; `extra` is what these cost beyond what they cost the baseline."""

    kind: DegradationKind
    level: int | float
    auc: float | None
    auc_ci: Ends | None
    auc_delta: float | None
    auc_delta_ci: Ends | None
    extra: float | None
    extra_ci: Ends | None
    p_holm: float | None
    verdict: Verdict | None
    simultaneous: Ends | None
    extra_unresolved: float | None = None


@dataclass(frozen=True)
class ScoredScaling:
    """P(fake) = sigmoid(slope · logit_diff + shift), fitted on validation frames.

    `temperature` is 1 / slope, None with Platt scaling. `interval` is which interval leads, by frame or by source; ends
    are None where one of them is missing. `ece` and `brier` are of the calibrated test frames, and `threshold` decides
    on them as the experiment's does before. `video_ece` and `video_brier` are of the videos of these, if any are known.
    """

    temperature: float | None
    temperature_ci: Ends | None
    slope: float
    slope_ci: Ends | None
    shift: float
    shift_ci: Ends | None
    interval: Literal["sources", "frames"]
    threshold: float
    ece: float
    brier: float
    video_ece: float | None = None
    video_brier: float | None = None


@dataclass(frozen=True)
class ScoredCalibration:
    """How `count` validation frames calibrate a variant, by temperature and by Platt scaling; None with its reason."""

    count: int
    fake: int
    real: int
    temperature: ScoredScaling | None
    platt: ScoredScaling | None
    reasons: dict[CalibrationMethod, str]


@dataclass(frozen=True)
class ScoredLatency:
    """Milliseconds of a call with one frame: quantiles over `calls` calls."""

    p25: float | None
    p50: float | None
    p75: float | None
    p90: float | None
    p99: float | None
    device_p50: float | None
    calls: int | None


@dataclass(frozen=True)
class ScoredVideosOfSplit:
    """The videos of a split that have frames, further copies of these, and those that have none.

    `copies` consist of the same frames as another video, and count neither here nor in any other number. `coverage` is
    the share of all videos that have frames.
    """

    count: int
    fake: int
    real: int
    copies: int
    missing: int
    missing_fake: int
    missing_real: int
    coverage: float


@dataclass(frozen=True)
class ScoredVideos:
    """How videos are scored, what those without frames count as, and how many there are of each split."""

    score: VideoScore
    top: int
    missing: MissingScore
    splits: dict[str, ScoredVideosOfSplit]


@dataclass(frozen=True)
class ScoredByVideo:
    """A variant's quality and its comparison with the baseline per video, under the keys of those per frame.

    `further_frames` are further videos, and an `auc_interval` by "frames" takes videos as independent.
    """

    auc: float | None
    average_precision: float | None
    eer: float | None
    brier: float | None
    tpr_at_fpr_1: float | None
    tpr_at_fpr_5: float | None
    ece: float | None
    auc_standard_error: float | None
    auc_ci: Ends | None
    threshold: float | None
    confusion: ScoredConfusion
    precision: float | None
    recall: float | None
    specificity: float | None
    f1: float | None
    accuracy: float | None
    balanced_accuracy: float | None
    mcc: float | None
    precision_ci: Ends | None
    recall_ci: Ends | None
    specificity_ci: Ends | None
    thresholds: dict[ThresholdKind, ScoredPoint | None]
    slices: tuple[ScoredSlice, ...]
    auc_delta: float | None
    auc_delta_ci: Ends | None
    auc_delta_p: float | None
    auc_delta_p_holm: float | None
    auc_interval: Literal["sources", "frames"] | None
    verdict: Verdict | None
    small_but_real: bool | None
    further_frames: int | None
    all_equal: bool | None
    shift: ScoredShift | None
    flips: ScoredFlips | None
    worst_slice: ScoredSlice | None
    confirmed_slices: tuple[ScoredConfirmedSlice, ...] = ()
    group_gaps: tuple[ScoredGroupGap, ...] = ()
    resolution: Resolution | None = None
    robustness: tuple[ScoredDegradation, ...] = ()
    auc_delta_unresolved: float | None = None


@dataclass(frozen=True)
class ScoredVariant:
    """All numbers of one variant.

    `auc_delta`, `verdict` and what follows them compare with the baseline on the same frames. `speedup` and
    `throughput_gain` compare with the baseline in the same runtime, device and session.
    """

    status: Literal["ok", "failed"]
    reason: str | None
    id: str
    steps: tuple[str, ...]
    runtime: str | None
    device: str | None
    device_name: str | None
    stored: str | None
    computed: str | None
    mode: str | None
    int8: Literal["native", "simulated"] | None
    int8_size_only: bool | None
    fidelity: Fidelity | None
    size_mib: float | None
    parameters: int | None
    macs: int | None
    zeros: float | None
    zstd_mib: float | None
    recovered: tuple[Recovery, ...]
    auc: float | None
    average_precision: float | None
    eer: float | None
    brier: float | None
    tpr_at_fpr_1: float | None
    tpr_at_fpr_5: float | None
    ece: float | None
    auc_standard_error: float | None
    auc_ci: Ends | None
    threshold: float | None
    confusion: ScoredConfusion
    precision: float | None
    recall: float | None
    specificity: float | None
    f1: float | None
    accuracy: float | None
    balanced_accuracy: float | None
    mcc: float | None
    precision_ci: Ends | None
    recall_ci: Ends | None
    specificity_ci: Ends | None
    thresholds: dict[ThresholdKind, ScoredPoint | None]
    slices: tuple[ScoredSlice, ...]
    auc_delta: float | None
    auc_delta_ci: Ends | None
    auc_delta_p: float | None
    auc_delta_p_holm: float | None
    auc_interval: Literal["sources", "frames"] | None
    verdict: Verdict | None
    small_but_real: bool | None
    further_frames: int | None
    all_equal: bool | None
    shift: ScoredShift | None
    flips: ScoredFlips | None
    drift: ScoredDrift | None
    worst_slice: ScoredSlice | None
    latency_ms: ScoredLatency
    throughput_fps: float | None
    throughput_batch_size: int | None
    speedup: float | None
    speedup_interval: Ends | None
    throughput_gain: float | None
    throughput_gain_interval: Ends | None
    peak_memory_mib: float | None
    measurements: tuple[Timing, ...]
    faithfulness: dict[ClassName, ScoredFaithfulness | None] = field(default_factory=dict)
    video: ScoredByVideo | None = None
    robustness: tuple[ScoredDegradation, ...] = ()
    calibration_shift: CalibrationShift | None = None
    confirmed_slices: tuple[ScoredConfirmedSlice, ...] = ()
    group_gaps: tuple[ScoredGroupGap, ...] = ()
    calibration: ScoredCalibration | None = None
    resolution: Resolution | None = None
    noise: MeasuredNoise | None = None
    forecasts: tuple[Forecast, ...] = ()
    auc_delta_unresolved: float | None = None
    localisation: ScoredLocalisation | None = None
    regions: ScoredRegions | None = None

    @property
    def by_video(self) -> ScoredVariant:
        """The same with the numbers of videos in place of those of frames, where there are any."""
        if self.video is None:
            return self
        return replace(self, **{key.name: getattr(self.video, key.name) for key in fields(self.video)})


@dataclass(frozen=True)
class ScoredConstraints:
    """The limits under which a variant is chosen; None where there is no such limit."""

    auc_drop: float | None
    size_mib: float | None
    latency_ms: float | None


@dataclass(frozen=True)
class ScoredRequirement:
    """One limit and how a variant stands to it: `room` is limit − value, negative where the limit is missed."""

    constraint: Literal["auc_drop", "size_mib", "latency_ms"]
    limit: float
    value: float | None
    estimate: float | None
    room: float | None
    met: bool
    reason: str


@dataclass(frozen=True)
class ScoredCandidate:
    """A variant that could be shipped, where it `qualifies`; `beaten_by` names one that is better in everything."""

    name: str
    requirements: tuple[ScoredRequirement, ...]
    size_mib: float | None
    latency_ms: float | None
    auc: float | None
    beaten_by: str | None
    qualifies: bool


@dataclass(frozen=True)
class ScoredChoice:
    """Which variant to ship; `asked` is whether the limits were the user's."""

    chosen: str | None
    runner_up: str | None
    asked: bool
    prefer: Literal["size", "latency", "auc"]
    constraints: ScoredConstraints
    candidates: tuple[ScoredCandidate, ...]
    loosen: tuple[Loosening, ...]

    @property
    def decides(self) -> bool:
        """Whether anything but AUC is known to choose by: limits of the user's, sizes or times."""
        return self.asked or any(candidate.size_mib or candidate.latency_ms for candidate in self.candidates)


@dataclass(frozen=True)
class ScoredEffect:
    """What the steps between a variant and its nearest ancestor cost and gained; pairs are (ancestor, variant)."""

    variant: str
    ancestor: str
    steps: tuple[str, ...]
    auc_delta: float | None
    auc_delta_ci: Ends | None
    auc_delta_p: float | None
    size_bytes: tuple[int, int] | None
    parameters: tuple[int, int] | None
    macs: tuple[int, int] | None
    speedup: float | None
    speedup_interval: Ends | None


class Judged:
    """Variants that are judged by their numbers per frame or per video."""

    variants: dict[str, ScoredVariant]
    judge: Unit

    @property
    def judged(self) -> dict[str, ScoredVariant]:
        """The variants with the numbers that verdicts and gates go by: those of videos, where these are judged."""
        if self.judge == "frame":
            return self.variants
        return {name: variant.by_video for name, variant in self.variants.items()}


@dataclass(frozen=True)
class ScoresFile(Judged):
    """The whole file. `baseline` is the first of `variants`; `machine` is None where scores came from elsewhere.

    `judge` is what `choice` goes by: frames, or videos, whose numbers are in `video` of each variant. `videos` is None
    where none are known. `threshold_rule` is how `threshold` was found, None where the experiment says a number.
    `exemplars` are the test frames that most variants lose, None where too few variants decide otherwise than others.
    `searches` are the trails of those variants whose steps were searched for. `masks` are those of test fakes, None
    where no fake has one. `faces` are those found for `regions: true`, None where nobody asked.
    """

    schema: int
    experiment: str
    detector: str
    architecture: str
    frames: dict[str, ScoredFrames]
    machine: str | None
    baseline: str
    threshold: float
    margin: float
    variants: dict[str, ScoredVariant]
    choice: ScoredChoice | None
    ablation: tuple[ScoredEffect, ...]
    not_sliced: tuple[str, ...]
    judge: Unit = field(default="frame", kw_only=True)
    videos: ScoredVideos | None = field(default=None, kw_only=True)
    threshold_rule: ScoredThresholdRule | None = field(default=None, kw_only=True)
    exemplars: ScoredExemplars | None = field(default=None, kw_only=True)
    slice_search: ScoredSliceSearch | None = field(default=None, kw_only=True)
    searches: dict[str, SearchTrail] = field(default_factory=dict, kw_only=True)
    masks: ScoredMasks | None = field(default=None, kw_only=True)
    faces: ScoredFaces | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class ScoredDetector:
    """One of several detectors. `auc_delta` and what follows it compare its baseline with that of the best detector."""

    architecture: str
    baseline: str
    auc_delta: float | None
    auc_delta_ci: Ends | None
    auc_delta_p: float | None
    auc_delta_p_holm: float | None
    variants: dict[str, ScoredVariant]
    choice: ScoredChoice | None
    ablation: tuple[ScoredEffect, ...]
    not_sliced: tuple[str, ...]
    threshold: float | None = field(default=None, kw_only=True)
    threshold_rule: ScoredThresholdRule | None = field(default=None, kw_only=True)
    exemplars: ScoredExemplars | None = field(default=None, kw_only=True)
    slice_search: ScoredSliceSearch | None = field(default=None, kw_only=True)
    searches: dict[str, SearchTrail] = field(default_factory=dict, kw_only=True)
    masks: ScoredMasks | None = field(default=None, kw_only=True)
    faces: ScoredFaces | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class ScoredAgainst:
    """A variant against the `reference` of all, on the same frames, and where both were timed in one session."""

    auc_delta: float | None
    auc_delta_ci: Ends | None
    auc_delta_p: float | None
    auc_delta_p_holm: float | None
    speedup: float | None
    speedup_interval: Ends | None


@dataclass(frozen=True)
class SideBySideScores(ScoresFile):
    """The file of several detectors: all else is that of the first, but `choice`, which is among all.

    Keys of `compared`, `reference` and names in `choice` are "detector/variant". `best` is the detector whose baseline
    has the highest AUC, and `reference` the variant that `compared` and `choice` compare with.
    """

    best: str
    reference: str
    detectors: Mapping[str, ScoredDetector]
    compared: dict[str, ScoredAgainst]
