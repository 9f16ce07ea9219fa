"""The frames whose outcome changed against the baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.records import Flips
from bench.results.score.intervals import mcnemar

if TYPE_CHECKING:
    from numpy.typing import NDArray


def flips(
    labels: NDArray[np.integer], baseline: NDArray[np.floating], variant: NDArray[np.floating], threshold: float
) -> Flips:
    """Frames that only one of two scores [n] has right by `labels` [n], both at the same threshold.

    A frame counts as fake where its score is at least `threshold`.
    """
    fake = labels == 1
    was_right, is_right = ((scores >= threshold) == fake for scores in (baseline, variant))
    changed = np.flatnonzero(was_right != is_right)
    moved = np.abs(variant[changed] - baseline[changed])
    rows = changed[np.argsort(-moved, kind="stable")]
    is_worse = was_right[rows]
    worse = int(is_worse.sum())
    better = len(rows) - worse
    return Flips(worse, better, mcnemar(worse, better), rows, is_worse)
