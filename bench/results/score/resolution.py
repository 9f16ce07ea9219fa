"""Whether scores tell frames apart: decisions, rounded and saturated scores are recognised."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.records import Predictions, Resolution

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.results.score.placements import Placements

MOST_DECIMALS = 3
"""Scores with more are taken for whole."""
TIED = 0.01
"""Fewer pairs with equal scores than this share are not worth a word, unless rounding made them."""
AT_ENDS = 0.01
CERTAIN = 2.0**-23
"""So near to 0 or 1, float32 has few numbers left or none."""


def resolution(placed: Placements, predicted: Predictions, margin: float) -> Resolution | None:
    """What the scores of a variant cannot tell apart; None where that is nothing worth a word, or all are equal.

    `placed` ranks the frames. More equal scores than a `margin` of AUC are worth a word whatever made them.
    """
    scores, counts = np.unique(placed.scores, return_counts=True)
    if len(scores) == 1 or len(scores) == len(placed.scores):
        return None
    tied = _tied(placed)
    decimals = decimals_of(scores)
    at_ends = _at_ends(scores, counts) if predicted.logit_diff is None else 0.0
    if len(scores) == 2 and len(placed.scores) > 2:
        return Resolution("decisions", 2, tied, decimals, at_ends)
    if decimals is not None:
        return Resolution("rounded", len(scores), tied, decimals, at_ends)
    if at_ends > AT_ENDS:
        return Resolution("saturated", len(scores), tied, None, at_ends)
    return Resolution("levels", len(scores), tied, None, at_ends) if tied > max(margin, TIED) else None


def _tied(placed: Placements) -> float:
    """The share of pairs of a fake and a real frame with the same score."""
    length = int(placed.ranks.max()) + 1
    fakes, reals = (np.bincount(placed.ranks[rows], minlength=length) for rows in (placed.is_fake, ~placed.is_fake))
    return float(fakes @ reals) / (len(placed.fake) * len(placed.real))


def decimals_of(scores: NDArray[np.floating]) -> int | None:
    """How many decimals the different scores have; None where that is more than a person would round to."""
    for decimals in range(MOST_DECIMALS + 1):
        steps = np.abs(scores * 10.0**decimals)
        # As exact as float32; numbers near 0 are no zeros.
        if (np.abs(steps - np.round(steps)) <= np.minimum(2 * CERTAIN * steps, 0.01)).all():
            return decimals
    return None


def _at_ends(scores: NDArray[np.floating], counts: NDArray[np.int64]) -> float:
    """The share of frames that have a score of 0 or 1, or as good as that, together with another frame."""
    ends = ((scores <= CERTAIN) | (scores >= 1 - CERTAIN)) & (counts > 1)
    return float(counts[ends].sum() / counts.sum())
