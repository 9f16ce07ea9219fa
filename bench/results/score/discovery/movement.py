"""Movement: in which candidate slices the ranks of frames move most, down or up.

How much frames move says nothing of whether they lose, as far as the two are uncorrelated. So what moves most may be
tried on the same frames, and choosing it costs nothing: Bourgon, Gentleman & Huber 2010, "Independent filtering
increases detection power for high-throughput experiments", PNAS 107: 9546-9551.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bench.results.score.discovery.candidates import Column
from bench.results.score.discovery.halves import Part
from bench.results.score.discovery.screening import Candidate, centred, surest
from bench.results.score.placements import Placements
from bench.results.score.swaps import placement_changes

if TYPE_CHECKING:
    from numpy.typing import NDArray


def restless(
    columns: Sequence[Column],
    part: Part,
    variant: Placements,
    baseline: Placements,
    is_enough: Callable[[NDArray[np.bool_]], bool],
) -> list[Candidate]:
    """The candidates whose frames move most beyond what goes with their loss, the surest first: as a rule one.

    `variant` and `baseline` are of the frames of `part`. `is_enough` says of the frames of a candidate, among all,
    whether it can be confirmed.
    """
    change = placement_changes(variant, baseline)
    moves = np.array([centred(values, variant.is_fake) for values in (np.abs(change), change)])
    return surest(columns, lambda column: evidence(column, moves, part), is_enough)


def evidence(column: Column, moves: NDArray[np.float64], part: Part) -> NDArray[np.float64]:
    """By how many standard errors each candidate's frames move more than others, beyond their loss [candidates].

    `moves` [2, n] are the size of each frame's change of placement and the change itself, less their class's means. Of
    the former's mean in a candidate, what is correlated with the latter's is taken off.
    """
    means, moments = _moments(column, moves, part)
    size, both, change = moments
    slope = np.divide(both, change, out=np.zeros_like(both), where=change > 0)
    variance = np.maximum(size - slope * both, 0.0)
    # What is left where both are the same but for rounding says nothing.
    usable = variance > 1e-9 * size
    error = np.sqrt(np.where(usable, variance, 1.0))
    return np.asarray(np.where(usable, (means[0] - slope * means[1]) / error, 0.0))


def _moments(column: Column, moves: NDArray[np.float64], part: Part) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The means of both rows in each candidate, classes added [2, candidates], and their variances and covariance.

    The latter [3, candidates], the covariance in the middle, are those of as many frames drawn from all, or those by
    source where the change varies more by source.
    """
    cells, width = column.cells[part.rows], column.parts.shape[1]
    parts = column.parts.astype(np.float64)
    products = np.array([moves[0] ** 2, moves[0] * moves[1], moves[1] ** 2])
    means, moments = np.zeros((2, len(parts))), np.zeros((3, len(parts)))
    groups = part.clusters.groups if part.clusters else 0
    by_source = np.zeros((2, groups, len(parts)))
    for label in (0, 1):
        members = part.labels == label
        inside = members & (cells >= 0)
        counts = parts @ np.bincount(cells[inside], minlength=width)
        # A class that a slice lacks has no say in it.
        counts = np.where(counts > 0, counts, np.inf)
        for row, values in enumerate(moves):
            means[row] += parts @ np.bincount(cells[inside], values[inside], width) / counts
            if part.clusters is not None:
                sums = part.clusters.sums_by(np.where(members, values, 0.0), cells, width)
                by_source[row] += sums @ parts.T / counts
        drawn = np.maximum(1 / counts - 1 / members.sum(), 0.0)
        moments += np.outer(products[:, members].mean(axis=1), np.where(np.isfinite(counts), drawn, 0.0))
    if part.clusters is None:
        return means, moments
    of_sources = np.array([part.clusters.products(by_source[i], by_source[j]) for i, j in ((0, 0), (0, 1), (1, 1))])
    return means, np.where(of_sources[2] > moments[2], of_sources, moments)
