"""How a threshold is asked for, and what was found where it is not a number but a rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from bench.records.scores import Interval
from bench.records.videos import Unit

RateCriterion: TypeAlias = Literal["fpr", "fnr"]
"""Rates that a threshold may be limited by: real frames called fake, fakes called real."""

BestCriterion: TypeAlias = Literal["f1", "accuracy", "precision", "recall", "youden"]
"""What a threshold may be the best by."""

DEFAULT_THRESHOLD = 0.5
"""The threshold where an experiment names none, and that which ties are nearest to."""


@dataclass(frozen=True)
class ThresholdRule:
    """How the fixed threshold is found on the baseline's validation frames.

    By a rate, `limit` is the most that the rate may be; by what is best, it is None.
    """

    criterion: RateCriterion | BestCriterion
    limit: float | None = None

    @property
    def text(self) -> str:
        """As an experiment file says it: "fpr: 0.01", "best: f1"."""
        return f"best: {self.criterion}" if self.limit is None else f"{self.criterion}: {self.limit:g}"

    @property
    def as_mapping(self) -> dict[str, str | float]:
        """The same as Python says it: {"fpr": 0.01}, {"best": "f1"}."""
        return {"best": self.criterion} if self.limit is None else {self.criterion: self.limit}

    @property
    def is_one_sided(self) -> bool:
        """Whether it looks at one kind of error alone, and the other may be as frequent as it likes."""
        return self.criterion in ("precision", "recall")


@dataclass(frozen=True)
class ThresholdChoice:
    """The threshold that a rule found.

    `fake` and `real` count the validation frames that it was found on, or videos, as `unit` says; `fp` and `fn` are the
    baseline's errors among them at `threshold`, with Wilson's intervals of both rates. `frame_set` is whose frames they
    are, empty where the experiment has one. `is_reached` is False where no threshold keeps the rate, since too many
    scores tie at an end: `threshold` then comes nearest. `basis` is the digest of all that it hangs on.
    """

    threshold: float
    unit: Unit
    fake: int
    real: int
    fp: int
    fn: int
    fpr_ci: Interval
    fnr_ci: Interval
    is_reached: bool = True
    frame_set: str = ""
    basis: str = ""
