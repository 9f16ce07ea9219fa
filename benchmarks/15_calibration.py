"""How often the intervals of temperature and Platt scaling hold the truth, on logits drawn at random.

Scores are normal in both classes, so that P(fake) is exactly sigmoid(a z + b) of them. With sources, frames of a video
share most of their variance, and the same map holds for a frame drawn from all.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from testbed import show

from bench.records import CALIBRATION_METHODS, Estimate
from bench.results.score.clusters import Clusters, clusters
from bench.results.score.scaling import fit

if TYPE_CHECKING:
    from numpy.typing import NDArray

SLOPE, APART, DEVIATION, SHARED = 0.5, 1.5, 1.5, 0.64
"""The true a; half of the distance of the classes; the scores' deviation; what videos share of their variance."""


def draw(
    rng: np.random.Generator, frames: int, fakes: float, of_each: int
) -> tuple[NDArray[np.int8], NDArray[np.float64], Clusters | None]:
    """Labels, logit differences and clusters of frames of which a share is fake, `of_each` from a source."""
    sources = np.arange(frames) // of_each
    labels = (rng.random(frames // of_each) < fakes).astype(np.int8)[sources]
    deviations = rng.normal(0, np.sqrt(SHARED), frames // of_each)[sources] + rng.normal(0, np.sqrt(1 - SHARED), frames)
    scores = DEVIATION * deviations + np.where(labels == 1, APART, -APART)
    logits = 2 * APART * scores / DEVIATION**2 + np.log(fakes / (1 - fakes))
    names = pd.Series([f"video {source}" for source in sources])
    return labels, logits / SLOPE, clusters(names, labels) if of_each > 1 else None


def holds(estimate: Estimate | None, truth: float) -> bool:
    return estimate is not None and estimate.interval.low <= truth <= estimate.interval.high


SETTINGS = (
    (40, 0.5, 1), (60, 0.5, 1), (100, 0.5, 1), (300, 0.5, 1), (300, 0.1, 1), (200, 0.5, 10), (1000, 0.5, 20),
    (1000, 0.5, 50),
)  # fmt: skip
"""Frames, the share of fakes, and frames of a source."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=2000, help="drawn data sets a row")
    repetitions, rng = parser.parse_args(arguments).repetitions, np.random.default_rng(0)
    rows = [_row(rng, repetitions, *setting) for setting in SETTINGS]
    show(
        f"Calibration, {repetitions} data sets a row",
        ["frames", "fakes", "sources", "T covered, %", "a covered, %", "b covered, %", "not fitted"],
        rows,
        "Covered: the interval to go by holds the truth; 95 % are aimed at. What is not fitted has too few frames of a "
        "class, or frames that are separated.",
    )


def _row(rng: np.random.Generator, repetitions: int, frames: int, fakes: float, of_each: int) -> list[object]:
    """How often intervals hold the truth of so many drawn data sets."""
    covered: list[list[bool]] = []
    for _ in range(repetitions):
        labels, logits, of = draw(rng, frames, fakes, of_each)
        try:
            (slope, _), platt = (fit(method, labels, logits, of) for method in CALIBRATION_METHODS)
        except ValueError:
            continue
        covered.append([holds(slope, SLOPE), holds(platt[0], SLOPE), holds(platt[1], 0.0)])
    shares = [f"{100 * share:.1f}" for share in np.mean(covered, axis=0)]
    sources = frames // of_each if of_each > 1 else "none shared"
    return [frames, f"{100 * fakes:.0f} %", sources, *shares, repetitions - len(covered)]


if __name__ == "__main__":
    main()
