"""New weights against accepted ones: two sets of answers to the same frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.records import Auc, Flips, Predictions, Verdict
from bench.results.score import differences, flips, noninferiority, placements, points

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
    accepted: Predictions,
    new: Predictions,
    threshold: float,
    margin: float,
) -> Change | None:
    """Compare new with accepted answers on frames, or videos, with `labels` [n], 1 for fake.

    `clusters` are those of their sources, None where they are independent. They count as fake where P(fake) is at
    least `threshold`. `margin` is the non-inferiority margin on AUC. None where they are of one class, since there is
    no AUC then.
    """
    if len(np.unique(labels)) != 2:
        return None
    placed = placements.of_predictions(labels, new)
    delta, p = differences.difference(placed, placements.of_predictions(labels, accepted), clusters)
    return Change(
        delta=delta,
        p=p,
        verdict=noninferiority.verdict(delta.value, delta.interval, margin, delta.unresolved),
        further_frames=None if placed.all_equal else noninferiority.further_frames(delta, margin, len(labels)),
        flips=flips.flips(labels, accepted.test, new.test, threshold),
    )


def answers(logit_diff: NDArray[np.float32]) -> Predictions:
    """What test frames were answered, by `logit_fake - logit_real` [n]."""
    p_fake = points.p_fake(np.zeros_like(logit_diff), logit_diff)
    return Predictions(p_fake, None, None, logit_diff.astype(np.float64))
