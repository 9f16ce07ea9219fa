"""Scores of variants: numbers with their intervals, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from bench.records.frames import Outcome
from bench.records.runs import Constraints

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

Verdict: TypeAlias = Literal["baseline", "improved", "stable", "degraded", "inconclusive"]

ShiftVerdict: TypeAlias = Literal["shifted, not lost", "shifted", "shifted, and some lost"]

ThresholdKind: TypeAlias = Literal["fixed", "carried", "own"]
THRESHOLD_KINDS: tuple[ThresholdKind, ...] = ("fixed", "carried", "own")


@dataclass(frozen=True)
class LabelledFrames:
    """The labelled frames of one split, in the order of `predictions.parquet`, where test rows come first.

    `frames` [n] are their names, `labels` [n] 1 for fake and 0 for real, `sources` [n] the video or
    person each comes from, missing where unknown. `attributes` [n rows] has a column for each further column of a
    manifest, or for the folders below `real/` and `fake/`.
    """

    frames: pd.Series[str]
    labels: NDArray[np.int8]
    sources: pd.Series[str]
    attributes: pd.DataFrame


@dataclass(frozen=True)
class Predictions:
    """The predictions of a variant: P(fake) of every test [n] and validation frame [k], float64 in [0, 1].

    `validation` is None where there are no such frames. `cam` [n + k, h, w] is the signed
    class-activation map of each, in logits, test frames first; None where there is none. It may be a memory map.
    `logit_diff` [n] is `logit_fake - logit_real` of the test frames. It ranks frames also where P(fake) has come
    so near to 0 or 1 that it ties. None where only P(fake) is known.
    """

    test: NDArray[np.float64]
    validation: NDArray[np.float64] | None
    cam: NDArray[np.float32] | None
    logit_diff: NDArray[np.float64] | None = None

    @property
    def ranks(self) -> NDArray[np.float64]:
        """What test frames are ranked by [n]."""
        return self.test if self.logit_diff is None else self.logit_diff


@dataclass(frozen=True)
class Interval:
    """A two-sided interval, of 95 % unless stated otherwise."""

    low: float
    high: float

    @property
    def width(self) -> float:
        return self.high - self.low


@dataclass(frozen=True)
class Auc:
    """An area under the ROC curve, or the difference of two on the same frames.

    `by_frame` takes frames as independent (DeLong). `by_source` takes the frames of a source as one cluster
    (Obuchowski); None where no frames share a source. `standard_error` is DeLong's, by frame. `freedom` are the
    degrees of freedom of Student's t behind `interval`, infinite where it is not t. `narrow` is `interval` before it
    was widened to the change that one frame can make; None where it was not.
    """

    value: float
    by_frame: Interval
    by_source: Interval | None = None
    standard_error: float | None = None
    freedom: float = math.inf
    narrow: Interval | None = None

    @property
    def clustered(self) -> bool:
        """Whether the interval by source is the wider one."""
        return self.by_source is not None and self.by_source.width > self.by_frame.width

    @property
    def interval(self) -> Interval:
        """The wider of the intervals by frame and by source."""
        return self.by_source if self.clustered and self.by_source is not None else self.by_frame


@dataclass(frozen=True)
class Score:
    """Metrics of a variant on labelled frames that need no threshold. An unavailable one is None.

    `tpr_at_fpr_1` and `tpr_at_fpr_5` are the highest recalls with a false-positive rate of at most 1 % and 5 %.
    """

    count: int
    auc: float | None
    average_precision: float | None
    eer: float | None
    brier: float | None
    tpr_at_fpr_1: float | None
    tpr_at_fpr_5: float | None


@dataclass(frozen=True)
class OperatingPoint:
    """Decisions at a threshold: a frame counts as fake if `p_fake >= threshold`. An undefined rate is None.

    The intervals are Wilson's.
    """

    threshold: float
    tp: int
    tn: int
    fp: int
    fn: int
    precision: float | None
    recall: float | None
    specificity: float | None
    precision_ci: Interval | None
    recall_ci: Interval | None
    specificity_ci: Interval | None
    f1: float | None
    accuracy: float | None
    balanced_accuracy: float | None
    mcc: float | None


@dataclass(frozen=True)
class Reliability:
    """Frames in equally wide bins of P(fake), from 0 to 1: how many, their mean P(fake), the share of fakes.

    `low` and `high` are the ends of Wilson's 95 % interval of that share. All are [bins]; all but the counts are NaN in
    an empty bin. `ece` is the expected calibration error.
    """

    counts: NDArray[np.int64]
    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    ece: float


@dataclass(frozen=True)
class Independence:
    """How many independent frames, or sources, the class with fewer has: what these frames can show at most.

    `unit` is "source" where frames share sources. `single_source` names the classes ("fakes", "reals") all of whose
    frames come from one source, where frames share sources.
    """

    count: int = 0
    unit: Literal["source", "frame"] = "frame"
    single_source: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """A variant's AUC against the baseline's on the same frames.

    `p` is two-sided and belongs to the wider interval; `p_holm` is corrected for the number of variants.
    `further_frames` is how many more test frames would settle an inconclusive verdict if the difference stays what it
    is; None where it is settled, or no number would do. `small_but_real` is a loss that is significant and
    significantly smaller than the margin. `all_equal` is whether the variant gave every frame the same score.
    """

    delta: Auc
    p: float
    p_holm: float
    verdict: Verdict
    small_but_real: bool = False
    further_frames: int | None = None
    all_equal: bool = False

    @property
    def only_alone(self) -> bool:
        """Whether the difference is significant by its own interval, but not after the correction for all variants."""
        return self.p_holm >= 0.05 and not self.delta.interval.low <= 0 <= self.delta.interval.high


@dataclass(frozen=True)
class Shift:
    """How much of a loss at the fixed threshold the variant's own threshold brings back.

    All are differences of balanced accuracy on the test frames, with the wider of the intervals by frame and by
    source. `gained` is the variant at its own threshold minus the variant at the fixed one. `left` is the baseline
    at its own threshold minus the variant at its own. `verdict` is None unless the variant is below the baseline at
    the fixed threshold and the gain is significant. Then it is "shifted, not lost" if at least half of the loss comes
    back significantly, "shifted, and some lost" if a significant loss stays, else "shifted".
    """

    gained: float
    gained_ci: Interval
    left: float
    left_ci: Interval
    verdict: ShiftVerdict | None


@dataclass(frozen=True)
class Flips:
    """Test frames whose outcome at the fixed threshold differs from the baseline's.

    `worse` were right and are wrong, `better` the other way round. `p` is McNemar's exact test. `rows` [worse +
    better] are their indices among the test frames, the largest change of P(fake) first. `is_worse` [worse + better]
    says which of the two kinds each is.
    """

    worse: int
    better: int
    p: float
    rows: NDArray[np.int64]
    is_worse: NDArray[np.bool_]


@dataclass(frozen=True)
class Drift:
    """How far a variant's class-activation maps moved from the baseline's on the same test frames.

    Measured on `count` frames, sampled evenly from all. `rank_correlation` is the median of Spearman's coefficients,
    `rank_correlation_low` their 5th percentile. `overlap` is the mean share of the hottest tenth of the area that
    both maps have in common. `both_right` counts the frames that both have right; `other_reason` [m] are the rows of
    those that are right for another reason, the most different first.
    """

    count: int
    rank_correlation: float
    rank_correlation_low: float
    overlap: float
    both_right: int
    other_reason: NDArray[np.int64]


@dataclass(frozen=True)
class Slice:
    """The AUC on test frames that share a value of a column, and its difference to the baseline's.

    `against` is the class that the slice lacks and of which all test frames were added ("fake" or "real"); None where
    it has both. `auc` and `delta` are None where there are too few frames or sources, `delta` also for the baseline.
    `p_holm` is corrected for the number of slices. `simultaneous` is the interval of `delta` that holds for all
    slices of a variant at once.
    """

    column: str
    value: str
    fake: int
    real: int
    against: Literal["fake", "real"] | None
    auc: Auc | None
    delta: Auc | None = None
    p_holm: float | None = None
    simultaneous: Interval | None = None

    @property
    def is_proven_loss(self) -> bool:
        return self.simultaneous is not None and self.simultaneous.high < 0


@dataclass(frozen=True)
class Ratio:
    """A speed-up with its 95 % interval; an interval that holds 1 shows no difference."""

    value: float
    low: float
    high: float

    @property
    def unclear(self) -> bool:
        """Whether the interval holds 1, as it is printed."""
        return round(self.low, 2) <= 1 <= round(self.high, 2)


@dataclass(frozen=True)
class VariantEvaluation:
    """The scores of one variant: of its own predictions, and against the baseline's.

    `outcomes` are the rows of test frames with each outcome at the fixed threshold.
    """

    score: Score
    auc: Auc | None
    roc: tuple[NDArray[np.float64], NDArray[np.float64]] | None
    reliability: Reliability
    thresholds: Mapping[ThresholdKind, OperatingPoint | None]
    shift: Shift | None = None
    comparison: Comparison | None = None
    flips: Flips | None = None
    drift: Drift | None = None
    slices: tuple[Slice, ...] = ()
    outcomes: Mapping[Outcome, NDArray[np.int64]] = field(default_factory=dict)

    @property
    def fixed(self) -> OperatingPoint:
        point = self.thresholds["fixed"]
        assert point is not None
        return point

    @property
    def worst_slice(self) -> Slice | None:
        """The slice with the surest loss of AUC: of those with a significant loss, whose interval ends lowest.

        Without a significant loss, the slice with the lowest estimate. That is often the smallest slice, by chance.
        """
        losses = [(part.simultaneous.high, part) for part in self.slices if part.simultaneous and part.is_proven_loss]
        estimates = losses or [(part.delta.value, part) for part in self.slices if part.delta is not None]
        return min(estimates, key=lambda pair: pair[0])[1] if estimates else None


@dataclass(frozen=True)
class Requirement:
    """One constraint, and whether a variant meets it.

    `value` is held against `limit`: for `auc_drop` it is the far end of the interval of the drop, and `estimate` the
    point estimate. `headroom` is limit − value, negative where the limit is missed. None where unknown; `reason` then
    says why.
    """

    constraint: Literal["auc_drop", "size_mib", "latency_ms"]
    limit: float
    value: float | None
    estimate: float | None
    headroom: float | None
    met: bool
    reason: str = ""


@dataclass(frozen=True)
class Candidate:
    """A variant that could be chosen; `beaten_by` is at least as good in everything and better in one thing."""

    name: str
    requirements: tuple[Requirement, ...]
    size_mib: float | None
    latency_ms: float | None
    auc: float | None
    beaten_by: str | None

    @property
    def qualifies(self) -> bool:
        return all(requirement.met for requirement in self.requirements)


@dataclass(frozen=True)
class Loosening:
    """The least limit under which a variant would meet a constraint that it misses."""

    variant: str
    constraint: str
    limit: float
    needed: float


@dataclass(frozen=True)
class Choice:
    """Which variant to ship under the constraints; `chosen` is None where none qualifies.

    `asked` is whether the user set constraints; otherwise the only one is the margin on AUC. `loosen` is filled where
    none qualifies: the limits to loosen for the variants that miss the fewest constraints, nearest first, with an
    entry for each constraint. `front_by_size` and `front_by_latency` are the variants that none beats in size and
    AUC, or in latency and AUC, the least first.
    """

    constraints: Constraints
    asked: bool
    candidates: tuple[Candidate, ...]
    chosen: str | None
    runner_up: str | None
    loosen: tuple[Loosening, ...] = ()
    front_by_size: tuple[str, ...] = ()
    front_by_latency: tuple[str, ...] = ()


@dataclass(frozen=True)
class Effect:
    """What the steps between a variant and its nearest ancestor in the experiment cost and gained.

    `delta` is the difference of AUC. `size_bytes`, `parameters` and `macs` are pairs (ancestor, variant). `speed` is
    against the ancestor, None where both were not timed in the same session, runtime and device.
    """

    variant: str
    ancestor: str
    steps: tuple[str, ...]
    delta: Auc | None
    p: float | None
    size_bytes: tuple[int, int] | None
    parameters: tuple[int, int] | None
    macs: tuple[int, int] | None
    speed: Ratio | None


@dataclass(frozen=True)
class Timing:
    """A summary of one measurement: milliseconds a call, and frames a second at the median call.

    `device_p50_ms` is the median time that the device computed, without copies; None where it is the host. Peak memory
    is that of the variant's own process, from its start to the end of the measurement. `settled` is whether calls took
    equally long at the end of the warm-up; None where that was not measured.
    """

    runtime: str
    device: str
    batch_size: int
    rounds: int
    calls: int
    p25_ms: float
    p50_ms: float
    p75_ms: float
    p90_ms: float
    p99_ms: float | None
    mean_ms: float
    device_p50_ms: float | None
    frames_per_second: float
    peak_rss_mib: float | None
    peak_cuda_allocated_mib: float | None
    peak_cuda_reserved_mib: float | None
    settled: bool | None = None


@dataclass(frozen=True)
class Speed:
    """The speed of a variant in its own runtime.

    `single` is at batch 1, `best` at the batch size of the highest throughput, timed later in the session. `reference`
    is the baseline at batch 1, in the same device, runtime and session. `speedup` compares with it at batch 1, `gain`
    compares the throughput of each at its own best batch size. Both are None where either was not measured, for
    simulated int8, and where nothing reports how int8 ran. `latency_ms` is the median call of `single`, by which
    variants are compared; taken in another session than the baseline's, it is corrected to that session.
    """

    single: Timing | None = None
    best: Timing | None = None
    reference: Timing | None = None
    speedup: Ratio | None = None
    gain: Ratio | None = None
    latency_ms: float | None = None


@dataclass(frozen=True)
class Latencies:
    """Median calls at batch 1 that compare with the baseline's own, in ms by variant: one runtime, one device."""

    by_variant: Mapping[str, float]
    runtime: str
    device: str


@dataclass(frozen=True)
class Evaluation:
    """All scores of an experiment: a report is written from it and the run's record.

    `variants` and `predictions` have the variants with status "ok", in the run's order; `speeds` has every variant.
    `not_sliced` says why each column that was not sliced was left out. `timings` are summaries of each variant's
    measurements, `elsewhere` those of the baseline in the runtimes and sessions of other variants. `size_only` has the
    names of the int8 variants that this processor runs no faster than what was quantised. `latencies` are
    those that compare, None where the baseline was not timed.
    """

    test: LabelledFrames
    validation: LabelledFrames | None
    predictions: Mapping[str, Predictions]
    variants: Mapping[str, VariantEvaluation]
    speeds: Mapping[str, Speed]
    choice: Choice | None
    effects: tuple[Effect, ...] = ()
    not_sliced: tuple[str, ...] = ()
    timings: Mapping[str, tuple[Timing, ...]] = field(default_factory=dict)
    elsewhere: tuple[Timing, ...] = ()
    size_only: frozenset[str] = frozenset()
    independence: Independence = field(default_factory=Independence)
    latencies: Latencies | None = None


@dataclass(frozen=True)
class GateOutcome:
    """One gate and how a variant stands to it.

    The gate `fell` where the whole interval is on the wrong side of the limit, where the estimate is and the gate is
    `strict`, and where the quantity is unavailable. It is `proven` to be met where the whole interval is on the right
    side. `headroom` is the distance of `value` to the limit, negative on the wrong side.
    """

    variant: str
    gate: str
    value: float | None
    interval: Interval | None
    limit: float
    headroom: float | None
    fell: bool
    proven: bool
    note: str = ""


@dataclass(frozen=True)
class Checked:
    """The result of `bench check` for an experiment.

    `failed` has the variants that could not be built or measured, and why. `warnings`, such as an unexplained
    improvement, are printed first. `remarks` say what was compared with what, and what was not checked.
    """

    experiment: str
    outcomes: tuple[GateOutcome, ...]
    failed: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def fell(self) -> tuple[GateOutcome, ...]:
        return tuple(outcome for outcome in self.outcomes if outcome.fell)
