"""What rounded scores hide: how far apart equal ones may have been, and how far a difference of AUCs may be off."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SATURATED = 0.02
"""Where more than this share of frames has the lowest or the highest score, these have been cut off there."""
FARTHEST = 30.0
"""Scores farther from the middle, in deviations within a class, take part in no change."""
COARSE = 2.0
"""Scores that lie so many deviations apart do not say at all in which order the frames were that share one.

In finer steps both classes are spread nearly evenly. Where their densities are normal and `z` deviations apart, a fake
outranks a real frame of the same step of `h` deviations with a probability of 1/2 + h · z / 12, and `z` is 3 at an AUC
of .98: at most h / COARSE of half of these pairs are in another order than ties that count half make them.
"""
CERTAIN = 4.0
"""So many standard errors of what rounding hides are hidden at most: more are in one of 16,000 sets of frames."""


def steps(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each score may be from what it was before rounding, both ways together [n]; 0 where none are equal.

    `scores` [n] are in deviations within a class. That is the distance to its neighbours for a score that several
    frames have, and the least distance for others. Beyond the lowest and the highest score there is no neighbour: where
    many frames have these, they may have been as far apart as so many are at the end of a normal distribution.
    """
    values, codes, counts = np.unique(scores, return_inverse=True, return_counts=True)
    if len(values) in (1, len(scores)):
        return np.zeros(len(scores))
    gaps = np.diff(values)
    beside = (np.append(gaps[0], gaps) + np.append(gaps, gaps[-1])) / 2
    for end in (0, -1):
        if counts[end] > max(SATURATED * len(scores), 1):
            beside[end] = max(beside[end], _tail(int(counts[end]), len(scores)))
    of_frames: NDArray[np.float64] = np.where(counts > 1, beside, gaps.min())[codes.reshape(-1)]
    return of_frames


def _tail(count: int, of: int) -> float:
    """The width of a uniform distribution as wide as the farthest `count` of so many normal values of deviation 1."""
    from scipy.special import ndtri

    if count == of:
        return FARTHEST
    begin = float(ndtri(1 - count / of))
    mean = math.exp(-(begin**2) / 2) / math.sqrt(2 * math.pi) * of / count
    return math.sqrt(12 * max(1 + begin * mean - mean**2, 0.0))


def tied_at_most(ranks: NDArray[np.int64], is_fake: NDArray[np.bool_], of_frames: NDArray[np.float64]) -> float:
    """By how much an AUC may be off because steps are coarse: pairs of equal `ranks` [n] that count half.

    `of_frames` [n] are the `steps` of their scores.
    """
    if not of_frames.any():
        return 0.0
    length = int(ranks.max()) + 1
    fakes, reals = (np.bincount(ranks[rows], minlength=length) for rows in (is_fake, ~is_fake))
    width = np.zeros(length)
    width[ranks] = of_frames
    halves = np.minimum(width / COARSE, 1.0) / 2
    return float((fakes * reals * halves).sum()) / int(is_fake.sum()) / int((~is_fake).sum())
