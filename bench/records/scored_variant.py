"""What scores.json holds of a variant, by frame and by video; see `scores_file`."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Literal

from bench.records.forecasts import Forecast, MeasuredNoise
from bench.records.measurements import CalibrationShift, Fidelity, Timing
from bench.records.resolution import Resolution
from bench.records.runs import Recovery
from bench.records.scored_decisions import (
    Ends,
    ScoredCalibration,
    ScoredConfusion,
    ScoredDrift,
    ScoredFaithfulness,
    ScoredFlips,
    ScoredPoint,
    ScoredShift,
)
from bench.records.scored_maps import ScoredLocalisation, ScoredRegions
from bench.records.scored_slices import ScoredConfirmedSlice, ScoredDegradation, ScoredGroupGap, ScoredSlice
from bench.records.scores import ThresholdKind, Verdict
from bench.records.weights import ClassName


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
