"""A training: how each epoch went, what came of it, and which frames it saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.records.scores import Auc

FORMAT = "bench training 1"
"""Stands in the JSON file beside a checkpoint of a training."""


@dataclass(frozen=True)
class EpochRow:
    """An epoch: losses are means, `rate` is the learning rate of its last step.

    `metrics` are those of validation frames by name, None where they are undefined, `score` their weighted mean by
    which the best epoch is chosen. `seconds` are those of the epoch on this machine.
    """

    epoch: int
    step: int
    rate: float
    train_loss: float
    validation_loss: float
    metrics: Mapping[str, float | None]
    score: float
    seconds: float = 0.0


@dataclass(frozen=True)
class Seen:
    """The frames of one frame set that a training learned from or chose by: digests of files, and names of sources."""

    digests: frozenset[str]
    sources: frozenset[str]


@dataclass(frozen=True)
class TrainedOn:
    """What the training of a checkpoint saw, by frame set and split ("train", "validation")."""

    training: str
    sets: Mapping[str, Mapping[str, Seen]]


@dataclass(frozen=True)
class SampleFrame:
    """A validation frame as the network takes it, uint8 RGB [size, size, 3], and what the best epoch says of it."""

    path: str
    label: int
    p_fake: float
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class Curves:
    """ROC curve and precision-recall curve of the validation frames, as pairs of lists of the same length."""

    fpr: Sequence[float] = ()
    tpr: Sequence[float] = ()
    recall: Sequence[float] = ()
    precision: Sequence[float] = ()


@dataclass(frozen=True)
class TrainingReport:
    """What the report of a training says.

    `facts` are names and values for people. `best` is the epoch whose weights are the result, `ended` why no further
    one followed. `auc` and `confusion` (tp, fn, fp, tn at `threshold`) are the best epoch's, of validation frames.
    `selection` has the weights of metrics, `all_fake` the score of calling every frame fake. `entry` is what to write
    under `detectors:`.
    """

    name: str
    run: str
    facts: Sequence[tuple[str, str]]
    rows: Sequence[EpochRow]
    best: int
    ended: str
    auc: Auc | None
    selection: Mapping[str, float]
    all_fake: float
    threshold: float
    confusion: tuple[int, int, int, int]
    curves: Curves
    samples: Sequence[SampleFrame]
    warnings: Sequence[str]
    remarks: Sequence[str]
    settings: Sequence[tuple[str, str]]
    entry: str
    files: Sequence[tuple[str, str]] = field(default=())

    @property
    def best_row(self) -> EpochRow:
        """The epoch whose weights are the result."""
        return next(row for row in self.rows if row.epoch == self.best)
