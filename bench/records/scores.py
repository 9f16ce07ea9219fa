"""Scores of variants: numbers with their intervals, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from bench.records.degradations import Degradation
from bench.records.frames import Outcome
from bench.records.measurements import Ratio
from bench.records.resolution import Resolution
from bench.records.weights import ClassName

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.records.calibration import Calibration
    from bench.records.groups import GroupGap
    from bench.records.slice_search import ConfirmedSlice


Verdict: TypeAlias = Literal["baseline", "improved", "stable", "degraded", "inconclusive"]

ShiftVerdict: TypeAlias = Literal["shifted, not lost", "shifted", "shifted, and some lost"]

ClusterKind: TypeAlias = Literal["sources", "components", "overlapping"]
"""What frames are clustered by: sources, components of sources that share frames, or sources that overlap."""

ThresholdKind: TypeAlias = Literal["fixed", "carried", "own"]

THRESHOLD_KINDS: tuple[ThresholdKind, ...] = ("fixed", "carried", "own")


@dataclass(frozen=True)
class Interval:
    """A two-sided interval, of 95 % unless stated otherwise."""

    low: float
    high: float

    @property
    def width(self) -> float:
        return self.high - self.low


class ByFrameAndSource:
    """An estimate with an interval that takes frames as independent, and one that takes sources so, if any are shared.

    The latter is None where no frames share a source.
    """

    by_frame: Interval
    by_source: Interval | None

    @property
    def clustered(self) -> bool:
        """Whether the interval by source is the wider one."""
        return self.by_source is not None and self.by_source.width > self.by_frame.width

    @property
    def interval(self) -> Interval:
        """The wider of the intervals by frame and by source."""
        return self.by_source if self.clustered and self.by_source is not None else self.by_frame


@dataclass(frozen=True)
class Auc(ByFrameAndSource):
    """An area under the ROC curve, or the difference of two on the same frames.

    `by_frame` takes frames as independent (DeLong). `by_source` takes the frames of a source as one cluster
    (Obuchowski); None where no frames share a source. `standard_error` is DeLong's, by frame. `freedom` are the
    degrees of freedom of Student's t behind `interval`, infinite where it is not t. By `unresolved`, a difference may
    lie from that of the scores before they were rounded; 0 where they were not.
    """

    value: float
    by_frame: Interval
    by_source: Interval | None = None
    standard_error: float | None = None
    freedom: float = math.inf
    unresolved: float = 0.0


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
class Decisions:
    """Decisions at a threshold: a frame counts as fake if `p_fake >= threshold`. An undefined rate is None."""

    threshold: float
    tp: int
    tn: int
    fp: int
    fn: int
    precision: float | None
    recall: float | None
    specificity: float | None


@dataclass(frozen=True)
class OperatingPoint(Decisions):
    """The decisions of a variant at a threshold. The intervals are Wilson's."""

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
    frames come from one source, where frames share sources. `clusters` is what intervals by source are made by;
    `groups` is the number of components where sources are joined into these.
    """

    count: int = 0
    unit: Literal["source", "frame"] = "frame"
    single_source: tuple[str, ...] = ()
    clusters: ClusterKind = "sources"
    groups: int | None = None


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
    the fixed threshold, and the gain is significant, also beyond what the baseline gains by its own. Then it is
    "shifted, not lost" if at least half of the loss comes back significantly, "shifted, and some lost" if a significant
    loss stays, else "shifted".
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
    against: ClassName | None
    auc: Auc | None
    delta: Auc | None = None
    p_holm: float | None = None
    simultaneous: Interval | None = None

    @property
    def is_proven_loss(self) -> bool:
        return self.simultaneous is not None and self.simultaneous.high < 0


@dataclass(frozen=True)
class DegradedScore:
    """A variant on re-compressed test frames.

    `delta` is its AUC minus the baseline's on the same re-compressed frames. `extra` is `delta` minus that difference
    on the frames as they are: what re-compression costs the variant beyond what it costs the baseline. `p_holm` belongs
    to it, corrected for all variants and levels. `simultaneous` is the interval of `extra` that holds for all levels of
    a variant at once. All four are None, and the verdict is "baseline", where the variant is the baseline; without a
    baseline to compare with, the verdict is None too.
    """

    degradation: Degradation
    auc: Auc
    delta: Auc | None = None
    extra: Auc | None = None
    p_holm: float | None = None
    verdict: Verdict | None = None
    simultaneous: Interval | None = None

    @property
    def is_significant_loss(self) -> bool:
        """Whether the variant loses more than the baseline, by p corrected for all comparisons."""
        return self.extra is not None and self.p_holm is not None and self.extra.value < 0 and self.p_holm < 0.05


@dataclass(frozen=True)
class VariantEvaluation:
    """The scores of one variant: of its own predictions, and against the baseline's.

    `roc` has false- and true-positive rates, `precision_recall` recalls and precisions: the points of both curves.
    `outcomes` are the rows of test frames with each outcome at the fixed threshold. `confirmed` are slices that a
    search confirmed, `gaps` those between the groups of columns.
    `calibration` is what validation frames say of P(fake); None without them, and of videos. `resolution` is set where
    scores say less than they seem.
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
    confirmed: tuple[ConfirmedSlice, ...] = ()
    gaps: tuple[GroupGap, ...] = ()
    outcomes: Mapping[Outcome, NDArray[np.int64]] = field(default_factory=dict)
    precision_recall: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
    calibration: Calibration | None = None
    resolution: Resolution | None = None

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
