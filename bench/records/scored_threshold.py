"""What scores.json holds of a threshold that was found by a rule; see `scores_file`."""

from __future__ import annotations

from dataclasses import dataclass

from bench.records.thresholds import BestCriterion, RateCriterion
from bench.records.videos import Unit


@dataclass(frozen=True)
class ScoredRates:
    """The baseline's rates of errors at the threshold, with Wilson's 95 % intervals, among `real` and `fake` frames.

    A rate of no frames is None.
    """

    real: int
    fake: int
    fpr: float | None
    fpr_ci: tuple[float, float] | None
    fnr: float | None
    fnr_ci: tuple[float, float] | None


@dataclass(frozen=True)
class ScoredThresholdRule:
    """How the fixed threshold was found on the baseline's validation frames, or videos, as `unit` says.

    `limit` is the most that the rate `criterion` may be; None where `criterion` is what the threshold is the best by.
    `frame_set` is whose frames they are, None where the experiment has one. `reached` is whether any threshold keeps
    the limit. `test` has the same rates on the test frames, which had no say; None where the baseline failed, as is
    `validation`, and the threshold then is the default one.
    """

    criterion: RateCriterion | BestCriterion
    limit: float | None
    unit: Unit
    frame_set: str | None
    reached: bool
    validation: ScoredRates | None
    test: ScoredRates | None
