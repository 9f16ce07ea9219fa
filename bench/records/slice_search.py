"""Slices that a search of the test frames confirms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from bench.records.scores import Interval
from bench.records.weights import ClassName

SliceBasis: TypeAlias = Literal["all", "half"]
"""The test frames that confirm a slice: all, where their scores move most there, or the half that did not find it."""


@dataclass(frozen=True)
class ConfirmedSlice:
    """A slice in which a variant loses more AUC than elsewhere, by the test frames that `basis` says.

    `fake` and `real` count the frames of the slice among these, and all numbers are of them. `against` is the class
    that the slice lacks and of which all these frames were added, None where it has both. `baseline_auc` is the
    baseline's AUC in the slice, `delta` the variant's minus it, `elsewhere` that difference on the other frames, and
    `excess` is `delta` minus `elsewhere`, the latter as what it would cost in the slice. The intervals hold for all
    slices that were tried on these frames at once.
    """

    column: str
    value: str
    fake: int
    real: int
    against: ClassName | None
    baseline_auc: float
    delta: float
    delta_ci: Interval
    elsewhere: float
    excess: float
    excess_ci: Interval
    basis: SliceBasis = "half"


@dataclass(frozen=True)
class SliceSearch:
    """What was searched for slices: `candidates` of these `columns`, in halves of so many frames.

    `left_out` frames are in neither half, since they share sources with both. `reason` says why nothing could be
    searched, empty where something was.
    """

    columns: tuple[str, ...]
    candidates: int
    halves: tuple[int, int]
    left_out: int = 0
    reason: str = ""
