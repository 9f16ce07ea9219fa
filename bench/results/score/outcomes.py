"""Which test frames are true and false positives and negatives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.records import OUTCOMES, Outcome

if TYPE_CHECKING:
    from numpy.typing import NDArray


def outcomes(
    labels: NDArray[np.integer], p_fake: NDArray[np.floating], threshold: float
) -> dict[Outcome, NDArray[np.int64]]:
    """Rows of each outcome, by `labels` [n], 1 = fake; a frame is called fake where `p_fake` [n] >= `threshold`."""
    is_fake, called_fake = labels == 1, p_fake >= threshold
    rows = {}
    for outcome in OUTCOMES:
        positive, right = outcome.endswith("positives"), outcome.startswith("true")
        rows[outcome] = np.flatnonzero((called_fake == positive) & (is_fake == (positive == right)))
    return rows
