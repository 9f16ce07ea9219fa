"""What scores.json holds of a variant's decisions: confusion, thresholds, flips, calibration; see `scores_file`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from bench.records.calibration import CalibrationMethod
from bench.records.scores import Decisions, ShiftVerdict

Ends: TypeAlias = tuple[float, float]
"""The lower and the upper end of a 95 % interval."""


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
