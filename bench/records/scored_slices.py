"""What scores.json holds of parts of the test frames, and of these re-compressed; see `scores_file`."""

from __future__ import annotations

from dataclasses import dataclass

from bench.records.degradations import DegradationKind
from bench.records.groups import Rate
from bench.records.scored_decisions import Ends
from bench.records.scores import Verdict
from bench.records.slice_search import SliceBasis
from bench.records.weights import ClassName


@dataclass(frozen=True)
class ScoredSlice:
    """AUC, and its difference to the baseline's, on the test frames that share a value of a column."""

    column: str
    value: str
    fake: int
    real: int
    against: ClassName | None
    auc: float | None
    auc_ci: Ends | None
    auc_delta: float | None
    auc_delta_ci: Ends | None
    p_holm: float | None
    simultaneous: Ends | None


@dataclass(frozen=True)
class ScoredConfirmedSlice:
    """A slice that a search confirmed, in the numbers of the frames of `basis`: `delta` there, `elsewhere`, `excess`.

    See `ConfirmedSlice`.
    """

    column: str
    value: str
    fake: int
    real: int
    against: ClassName | None
    baseline_auc: float
    delta: float
    delta_ci: Ends
    elsewhere: float
    excess: float
    excess_ci: Ends
    basis: SliceBasis


@dataclass(frozen=True)
class ScoredSliceSearch:
    """What was searched for slices in which variants lose more than elsewhere; see `SliceSearch`."""

    columns: tuple[str, ...]
    candidates: int
    halves: tuple[int, int]
    left_out: int
    reason: str


@dataclass(frozen=True)
class ScoredGroup:
    """How many frames of a group are wrong, of `count` real ones or fakes; `counts` is whether the gap goes by them."""

    value: str
    count: int
    wrong: int
    rate: float | None
    counts: bool
    sources: float | None = None


@dataclass(frozen=True)
class ScoredGroupGap:
    """The gap of a rate between groups, and its change against the baseline's; see `GroupGap`."""

    column: str
    rate: Rate
    groups: tuple[ScoredGroup, ...]
    gap: float | None
    highest: str | None
    lowest: str | None
    before: float | None
    change: float | None
    change_ci: Ends | None
    simultaneous: Ends | None
    by_source: bool


@dataclass(frozen=True)
class ScoredDegradation:
    """AUC on re-compressed test frames; `extra` is what these cost beyond what they cost the baseline."""

    kind: DegradationKind
    level: int | float
    auc: float | None
    auc_ci: Ends | None
    auc_delta: float | None
    auc_delta_ci: Ends | None
    extra: float | None
    extra_ci: Ends | None
    p_holm: float | None
    verdict: Verdict | None
    simultaneous: Ends | None
    extra_unresolved: float | None = None
