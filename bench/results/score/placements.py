"""Placement values: the share of the other class that each frame outranks. AUC and its variance follow from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.records import Predictions


@dataclass(frozen=True, eq=False)
class Placements:
    """The placement value of every frame: the structural components of DeLong et al.

    `fake` [m] is the share of real frames that score lower than each fake one, `real` [n] the share of
    fake frames that score higher than each real one; ties count half. Both are in the order of the
    frames, `is_fake` [m + n] is the class of each frame. `ranks` [m + n] counts the distinct scores below
    each frame's `scores`. The mean of either is `auc`, the chance that a fake outscores a real one. `assumed` [m + n]
    are scores that nobody gave, and that are the same in every variant; None where there are none.
    """

    fake: NDArray[np.float64]
    real: NDArray[np.float64]
    is_fake: NDArray[np.bool_]
    ranks: NDArray[np.int64]
    scores: NDArray[np.floating]
    auc: float
    assumed: NDArray[np.bool_] | None = None

    @property
    def all_equal(self) -> bool:
        """Whether every frame has the same score."""
        return not self.ranks.any()


def of_predictions(labels: NDArray[np.integer], predicted: Predictions) -> Placements:
    """Placements of a variant's test scores by `labels` [n]."""
    return replace(placements(labels, predicted.ranks), assumed=predicted.assumed)


def joined(labels: NDArray[np.integer], parts: Sequence[Predictions]) -> Placements:
    """The same of the scores of several sets of frames, one after another."""
    assumed = [np.zeros(len(part.test), bool) if part.assumed is None else part.assumed for part in parts]
    placed = placements(labels, np.concatenate([part.ranks for part in parts]))
    return replace(placed, assumed=np.concatenate(assumed) if any(map(np.any, assumed)) else None)


def placements(labels: NDArray[np.integer], scores: NDArray[np.floating]) -> Placements:
    """Placements of `scores` [n] by `labels` [n], 1 = fake, 0 = real; O(n log n).

    ValueError where a class has no frame, or a score is NaN.
    """
    if np.isnan(scores).any():
        raise ValueError("scores must be numbers, found NaN")
    _, ranks = np.unique(scores, return_inverse=True)
    return _count(np.asarray(labels) == 1, ranks.reshape(-1), np.asarray(scores))


def subset(placed: Placements, rows: NDArray[np.integer] | NDArray[np.bool_]) -> Placements:
    """`placements(labels[rows], scores[rows])` without sorting again; `rows` are indices or a mask [n]."""
    assumed = None if placed.assumed is None else placed.assumed[rows]
    return replace(_count(placed.is_fake[rows], placed.ranks[rows], placed.scores[rows]), assumed=assumed)


def _count(is_fake: NDArray[np.bool_], ranks: NDArray[np.int64], scores: NDArray[np.floating]) -> Placements:
    """Placements by counting the frames of each class at and below each rank."""
    fakes, reals = ranks[is_fake], ranks[~is_fake]
    for name, frames in (("fake", fakes), ("real", reals)):
        if not len(frames):
            raise ValueError(f"the area under the ROC curve needs frames of both classes, found no {name} one")
    length = int(ranks.max()) + 1
    at_fake, at_real = np.bincount(fakes, minlength=length), np.bincount(reals, minlength=length)
    real_below = np.cumsum(at_real) - at_real / 2
    fake_above = len(fakes) - np.cumsum(at_fake) + at_fake / 2
    # Halves are exact in float64, so that the sum does not depend on the order of the frames.
    auc = float((at_fake * real_below).sum()) / len(fakes) / len(reals)
    return Placements(real_below[fakes] / len(reals), fake_above[reals] / len(fakes), is_fake, ranks, scores, auc)
