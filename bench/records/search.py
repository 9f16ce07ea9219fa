"""The trail of a search for the smallest or fastest variant: what was foretold, built and judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from bench.records.videos import Unit

Aim: TypeAlias = Literal["smallest", "fastest"]

SearchOutcome: TypeAlias = Literal["keeps", "should keep", "open", "loses", "failed"]
"""Of a candidate on validation frames.

`keeps`: its whole interval lies above what may be lost. `should keep`: it would, if there were as many validation
frames as there are test frames. `open`: the frames are too few to tell. `loses`: it loses more than that.
"""


@dataclass(frozen=True)
class ChainForecast:
    """What is foretold of a chain before it is built.

    `size_bytes` is that of its file, `time` the share of the baseline's time that it takes, `noise` the mean square of
    what it changes the logit difference by, as a share of that difference's variance. `auc_drop` and `mean_dp` follow
    from that noise on validation frames.
    """

    size_bytes: float
    time: float
    noise: float
    auc_drop: float
    mean_dp: float


@dataclass(frozen=True)
class Judged:
    """What a candidate came to on validation frames, against the baseline.

    `auc_delta` is its AUC minus the baseline's, between `low` and `high` with 95 % confidence. `mean_dp` is how far
    P(fake) moves on average, `noise` as in `ChainForecast`.
    """

    auc_delta: float
    low: float
    high: float
    mean_dp: float
    noise: float


@dataclass(frozen=True)
class TriedChain:
    """A chain that the search built, or tried to; `steps` as the experiment file would spell them.

    `speedup` is against the baseline with one frame, in turns with it; None where times were not asked for. `reason`
    says why it failed. `seconds` is what building and judging took. `lineage` are the ids along the chain.
    """

    steps: tuple[str, ...]
    foretold: ChainForecast
    outcome: SearchOutcome
    id: str = ""
    size_bytes: int | None = None
    speedup: float | None = None
    judged: Judged | None = None
    reason: str = ""
    seconds: float = 0.0
    lineage: tuple[str, ...] = ()

    @property
    def qualifies(self) -> bool:
        """Whether the search may take it."""
        return self.outcome in ("keeps", "should keep")


@dataclass(frozen=True)
class SearchTrail:
    """A search, whole or under way: `key` is the digest of all that it depends on, `ended` why it ended, empty before.

    `margin` is the most AUC that may be lost, `mean_dp` the most that P(fake) may move on average, None where any may.
    `frames` are the validation frames that candidates were judged on, videos where `unit` says so, `baseline_bytes`
    the size of the baseline's file. `chains` were considered, of which `candidates` were built, in this order.
    `noise_limit` is the most noise under which a variant is foretold to keep the verdict on these frames. `cut_short`
    is whether the clock ended it. `chosen` is the index of the candidate that was taken; -1 where there is none.
    """

    key: str
    find: Aim
    margin: float
    frames: int
    chains: int
    baseline_bytes: int
    mean_dp: float | None = None
    minutes: float | None = None
    unit: Unit = "frame"
    noise_limit: float = 0.0
    foretelling_seconds: float = 0.0
    candidates: tuple[TriedChain, ...] = ()
    ended: str = ""
    cut_short: bool = False
    chosen: int = -1

    @property
    def winner(self) -> TriedChain | None:
        """What the search took: the best of those that qualify, or else what comes nearest; None where all failed."""
        return self.candidates[self.chosen] if 0 <= self.chosen < len(self.candidates) else None

    @property
    def gains(self) -> bool:
        """Whether what was taken is smaller, or faster, than the baseline."""
        if self.winner is None:
            return False
        if self.find == "fastest":
            return self.winner.speedup is not None and self.winner.speedup > 1
        return self.winner.size_bytes is not None and self.winner.size_bytes < self.baseline_bytes

    @property
    def seconds(self) -> float:
        """How long was searched, in all runs together."""
        return self.foretelling_seconds + sum(candidate.seconds for candidate in self.candidates)
