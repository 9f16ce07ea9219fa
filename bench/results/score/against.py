"""New weights against accepted ones: two sets of logit differences on the same frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.records import Auc, Flips, Verdict
from bench.results.score import auc, flips, noninferiority, placements, points

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.results.score.clusters import Clusters


@dataclass(frozen=True)
class Change:
    """How a variant changed since it was accepted, on the same frames.

    `delta` is new − accepted AUC with its paired interval, `p` is two-sided. `flips` counts against the accepted
    answers. `further_frames` is set where the verdict is inconclusive and more frames would settle it.
    """

    delta: Auc
    p: float
    verdict: Verdict
    further_frames: int | None
    flips: Flips


def against(
    labels: NDArray[np.int8],
    clusters: Clusters | None,
    accepted: NDArray[np.float32],
    new: NDArray[np.float32],
    threshold: float,
    margin: float,
) -> Change | None:
    """Compare new with accepted answers on frames with `labels` [n], 1 for fake.

    `accepted` and `new` are `logit_fake - logit_real` [n]. `clusters` are those of the frames' sources, None where
    frames are independent. A frame counts as fake where P(fake) is at least `threshold`. `margin` is the
    non-inferiority margin on AUC. None where the frames are of one class, since there is no AUC then.
    """
    if len(np.unique(labels)) != 2:
        return None
    placed = placements.placements(labels, new)
    delta, p = auc.difference(placed, placements.placements(labels, accepted), clusters)
    return Change(
        delta=delta,
        p=p,
        verdict=noninferiority.verdict(delta.value, delta.interval, margin),
        further_frames=None if placed.all_equal else noninferiority.further_frames(delta, margin, len(labels)),
        flips=flips.flips(labels, _p_fake(accepted), _p_fake(new), threshold),
    )


def _p_fake(logit_diff: NDArray[np.float32]) -> NDArray[np.float64]:
    return points.p_fake(np.zeros_like(logit_diff), logit_diff)
