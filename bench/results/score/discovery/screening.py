"""Screening: in which candidate slices the frames of one half fall in rank, quickly and for all candidates.

What is found here proves nothing: many candidates were tried on the same frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.results.score.clusters import Clusters
from bench.results.score.discovery.candidates import Column
from bench.results.score.discovery.halves import Part
from bench.results.score.placements import Placements
from bench.results.score.swaps import placement_changes

if TYPE_CHECKING:
    from numpy.typing import NDArray

WORTH_CONFIRMING = 1.0
"""The best candidate is taken to the other half from this many standard errors on."""
SURE = 3.0
"""Further ones from this many on: they can afford that intervals get wider by each."""
MOST = 5
"""As many are taken at most."""
ALIKE = 0.75
"""Two slices are one finding where the smaller shares as much of its frames with the other."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A slice that is to be confirmed: the frames `rows` [n] of all, and how many standard errors speak for it."""

    column: str
    value: str
    rows: NDArray[np.bool_]
    evidence: float


def screened(
    columns: Sequence[Column],
    part: Part,
    variant: Placements,
    baseline: Placements,
    is_enough: Callable[[NDArray[np.bool_]], bool],
) -> list[Candidate]:
    """The candidates that lost most on a half of the frames, the surest first: as a rule one.

    `variant` and `baseline` are of the frames of `part`. `is_enough` says of the frames of a candidate, among all,
    whether it can be confirmed. The loss of a slice is that of its frames' placement values, beyond that of all
    frames, by frame or by source.
    """
    change = centred(placement_changes(variant, baseline), variant.is_fake)
    return surest(
        columns,
        lambda column: -_standardised(column, column.cells[part.rows], change, variant.is_fake, part.clusters),
        is_enough,
    )


def centred(values: NDArray[np.float64], is_fake: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Values [n] less the mean of their class."""
    means = [values[members].mean() for members in (~is_fake, is_fake)]
    return np.asarray(values - np.where(is_fake, means[1], means[0]))


def surest(
    columns: Sequence[Column],
    evidence_in: Callable[[Column], NDArray[np.float64]],
    is_enough: Callable[[NDArray[np.bool_]], bool],
) -> list[Candidate]:
    """Candidates with the most evidence first, in standard errors: as a rule one. None is nearly another's frames."""
    evidence: list[tuple[float, Column, int]] = []
    for column in columns:
        of_column = evidence_in(column)
        likely = np.flatnonzero(of_column >= WORTH_CONFIRMING)
        evidence += [(float(of_column[index]), column, index) for index in likely.tolist()]
    evidence.sort(key=lambda each: -each[0])
    candidates: list[Candidate] = []
    for each, column, index in evidence:
        if len(candidates) == MOST or (candidates and each < SURE):
            break
        candidate = Candidate(column.name, column.values[index], column.rows(index), each)
        if not any(is_same(candidate.rows, other.rows) for other in candidates) and is_enough(candidate.rows):
            candidates.append(candidate)
    return candidates


def is_same(rows: NDArray[np.bool_], others: NDArray[np.bool_]) -> bool:
    """Whether two slices, by their frames [n], are one finding."""
    return bool((rows & others).sum() >= ALIKE * min(rows.sum(), others.sum()))


def _standardised(
    column: Column,
    cells: NDArray[np.int64],
    change: NDArray[np.float64],
    is_fake: NDArray[np.bool_],
    clusters: Clusters | None,
) -> NDArray[np.float64]:
    """The mean change of each candidate's frames, both classes added, in standard errors [candidates].

    `change` [n] is centred within each class, so that the standard error is that of a slice that changes as others do.
    """
    parts, width = column.parts.astype(np.float64), column.parts.shape[1]

    def sums(values: NDArray[np.float64], members: NDArray[np.bool_]) -> NDArray[np.float64]:
        inside = members & (cells >= 0)
        return np.asarray(parts @ np.bincount(cells[inside], values[inside], width))

    means, variances = np.zeros(len(parts)), np.zeros(len(parts))
    by_source = np.zeros((clusters.groups if clusters else 0, len(parts)))
    for members in (is_fake, ~is_fake):
        # A class that a slice lacks has no say in it.
        counts = np.maximum(sums(np.ones(len(cells)), members), 1e-9)
        means += sums(change, members) / counts
        variances += sums(change**2, members) / counts**2
        if clusters is not None:
            by_source += clusters.sums_by(np.where(members, change, 0.0), cells, width) @ parts.T / counts
    if clusters is not None:
        variances = np.maximum(variances, clusters.products(by_source, by_source))
    error = np.sqrt(variances)
    return np.divide(means, error, out=np.zeros(len(parts)), where=error > 0)
