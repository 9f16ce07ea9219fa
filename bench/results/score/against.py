"""New weights against accepted ones: the same frames, two sets of margins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.records import Auc, Flips, Verdict
from bench.results.score import auc, flips, noninferiority, placements, points

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Change:
    """What became of a variant since it was accepted, on the same frames.

    `delta` is new − accepted AUC with its paired interval and `p` two-sided, `flips` has the accepted
    answers as baseline; `further_frames` is set where the verdict is inconclusive and frames would settle it.
    """

    delta: Auc
    p: float
    verdict: Verdict
    further_frames: int | None
    flips: Flips


def against(
    labels: NDArray[np.int8],
    clusters: NDArray[np.int64] | None,
    accepted: NDArray[np.float32],
    new: NDArray[np.float32],
    threshold: float,
    margin: float,
) -> Change | None:
    """Compare two sets of margins `logit_fake - logit_real` [n] of frames with `labels` [n], 1 for fake.

    `clusters` [n] are codes of the frames' sources, None where frames are independent; a frame counts as fake
    from P(fake) `threshold` on. None where there is one class only, which has no AUC.
    """
    if len(np.unique(labels)) != 2:
        return None
    placed = placements.placements(labels, new)
    delta, p = auc.difference(placed, placements.placements(labels, accepted), clusters)
    return Change(
        delta=delta,
        p=p,
        verdict=noninferiority.verdict(delta.value, delta.interval, margin),
        further_frames=None
        if placed.all_equal
        else noninferiority.further_frames(delta, margin, len(labels), int(min(np.bincount(labels, minlength=2)))),
        flips=flips.flips(labels, _p_fake(accepted), _p_fake(new), threshold),
    )


def _p_fake(margins: NDArray[np.float32]) -> NDArray[np.float64]:
    return points.p_fake(np.zeros_like(margins), margins)
