"""Whether P(fake) is what it says."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from bench.records import Interval, Reliability
from bench.results.score.intervals import wilson

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINS = 15
"""As many as Guo et al. (2017) take."""


def reliability(labels: NDArray[np.integer], p_fake: NDArray[np.floating]) -> Reliability:
    """P(fake) [n] in [0, 1] against `labels` [n], 1 = fake, in 15 equally wide bins, each with its upper edge.

    The expected calibration error is `sum(n_b / n * |mean P(fake) - share of fakes|)` after Guo et al.
    (2017), "On Calibration of Modern Neural Networks". Theirs is of the predicted class's confidence;
    this is of P(fake) itself, so that an over- and an under-confident class can't hide each other.
    NaN without frames.
    """
    edges = np.linspace(0, 1, BINS + 1)[1:-1]
    bins = np.searchsorted(edges, p_fake)
    counts = np.bincount(bins, minlength=BINS).astype(np.int64)
    fakes = np.bincount(bins[labels == 1], minlength=BINS)
    with np.errstate(invalid="ignore"):
        predicted = np.bincount(bins, p_fake, BINS) / counts
        observed = fakes / counts
    gaps = np.where(counts > 0, np.abs(predicted - observed), 0.0)
    ece = float((counts * gaps).sum() / len(labels)) if len(labels) else math.nan
    low, high = _intervals(fakes, counts)
    return Reliability(counts, predicted, observed, low, high, ece)


def _intervals(
    fakes: NDArray[np.integer], counts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ends of the 95 % interval of the share of fakes in each bin [bins]; NaN in an empty bin."""
    unknown = Interval(math.nan, math.nan)
    intervals = [wilson(fake, count) or unknown for fake, count in zip(fakes.tolist(), counts.tolist(), strict=True)]
    return np.array([interval.low for interval in intervals]), np.array([interval.high for interval in intervals])
