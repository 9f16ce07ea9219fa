"""Which variant to ship: limits, how variants meet them, and gates of `bench check`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bench.records.scores import Interval


@dataclass(frozen=True)
class Constraints:
    """The limits that a variant must meet to be shipped, and the criterion by which the best of those is picked.

    `auc_drop` is the most AUC that may be lost: the whole interval of the drop must be below it. None stands for the
    run's margin. `size_mib` and `latency_ms` (median at batch 1, on the machine of the measurement) are upper limits.
    """

    auc_drop: float | None = None
    size_mib: float | None = None
    latency_ms: float | None = None
    prefer: Literal["size", "latency", "auc"] = "size"


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
    improvement, are printed first. `remarks` say what was compared with what, and what was not checked. `stopped` is
    why nothing was judged, where that is so; `of` says when, and of which commit.
    """

    experiment: str
    outcomes: tuple[GateOutcome, ...]
    failed: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    stopped: str = ""
    of: str = ""

    @property
    def fell(self) -> tuple[GateOutcome, ...]:
        return tuple(outcome for outcome in self.outcomes if outcome.fell)
