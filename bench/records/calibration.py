"""How a variant's P(fake) is calibrated: parameters with their intervals, and what they come to on test frames."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from bench.records.scores import ByFrameAndSource, Interval

CalibrationMethod: TypeAlias = Literal["temperature", "platt"]
CALIBRATION_METHODS: tuple[CalibrationMethod, ...] = ("temperature", "platt")


@dataclass(frozen=True)
class Estimate(ByFrameAndSource):
    """A fitted parameter. `by_frame` takes frames as independent, `by_source` the frames of a source as one cluster.

    The latter is None where no frames share a source; its ends are infinite where a class has one source, or where one
    source alone tells the parameter.
    """

    value: float
    by_frame: Interval
    by_source: Interval | None = None


@dataclass(frozen=True)
class Scaling:
    """P(fake) = sigmoid(slope · logit_diff + shift), fitted on validation frames; the slope is positive.

    `shift` is None where it is fixed to 0: temperature scaling. `threshold` makes the same decisions on the calibrated
    P(fake) as the experiment's threshold does on P(fake) as it is. `ece` and `brier` are of calibrated test frames,
    `video_ece` and `video_brier` of test videos whose scores are made of these; None where no videos are known.
    """

    method: CalibrationMethod
    slope: Estimate
    shift: Estimate | None
    threshold: float
    ece: float
    brier: float
    video_ece: float | None = None
    video_brier: float | None = None

    @property
    def temperature(self) -> float:
        """What the logit difference is divided by: 1 / slope."""
        return 1 / self.slope.value

    @property
    def temperature_interval(self) -> Interval:
        """The interval of the temperature, without an upper end where that of the slope reaches 0."""
        slope = self.slope.interval
        return Interval(1 / slope.high, 1 / slope.low if slope.low > 0 else math.inf)

    @property
    def added(self) -> float:
        """What is added to the scaled logit difference."""
        return self.shift.value if self.shift else 0.0

    def moved(self, threshold: float) -> float:
        """The threshold on calibrated P(fake) of the same decisions as `threshold` in [0, 1] on P(fake) as it is."""
        if not 0 < threshold < 1:
            return threshold
        logit = math.log(threshold) - math.log1p(-threshold)
        scaled = self.slope.value * logit + self.added
        small = math.exp(-abs(scaled))
        return (1.0 if scaled >= 0 else small) / (1.0 + small)


@dataclass(frozen=True)
class Calibration:
    """What `count` validation frames, `fake` and `real`, say of a variant's P(fake); copies of frames are not counted.

    `reasons` has, for each method that was not fitted, why.
    """

    count: int
    fake: int
    real: int
    scalings: Mapping[CalibrationMethod, Scaling] = field(default_factory=dict)
    reasons: Mapping[CalibrationMethod, str] = field(default_factory=dict)
