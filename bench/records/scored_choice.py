"""What scores.json holds of the variant to ship, and of what steps cost; see `scores_file`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.records.choice import Loosening
from bench.records.scored_decisions import Ends


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
