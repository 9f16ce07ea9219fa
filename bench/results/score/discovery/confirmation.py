"""Confirmation: whether a candidate slice loses more than the other frames, on the half that had no say in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bench.records import ConfirmedSlice, Interval
from bench.results.score.clusters import Clusters
from bench.results.score.differences import Contrast, contrast
from bench.results.score.discovery.halves import Half
from bench.results.score.discovery.screening import Candidate
from bench.results.score.placements import Placements, subset
from bench.results.score.slices import SliceGroup, groups_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHANCE = 0.05
"""How often anything is confirmed where there is nothing: half of it for each of the two halves that confirm."""

_INSIDE, _OUTSIDE = "inside", "outside"


def divided(half: Half, rows: NDArray[np.bool_]) -> tuple[SliceGroup, SliceGroup] | None:
    """The frames of a slice in this half, and the others; None where either has too few. `rows` are among all.

    Others of a slice of one class are those of the same class: both are compared with all frames of the other class.
    """
    inside = rows[half.rows]
    is_fake = half.labels == 1
    cells = np.where(inside, 0, 1)
    if len(np.unique(half.labels[inside])) == 1:
        cells = np.where(is_fake == is_fake[inside][0], cells, -1)
    sources = Clusters.disjoint(np.arange(len(half.rows))) if half.clusters is None else half.clusters
    groups = list(groups_of("", cells, [_INSIDE, _OUTSIDE], half.labels, sources))
    if [group.value for group in groups] != [_INSIDE, _OUTSIDE] or not all(group.enough for group in groups):
        return None
    return groups[0], groups[1]


def confirm(
    candidates: Sequence[Candidate], half: Half, variant: Placements, baseline: Placements
) -> list[tuple[Candidate, ConfirmedSlice]]:
    """Those of the candidates in which the variant loses, and loses more than elsewhere, by intervals for all of them.

    `variant` and `baseline` are of the frames of the half. Every slice's interval holds at the level 1 − 0.05 / k of k
    candidates (Bonferroni); half of what it misses lies on the side of no loss.
    """
    level = 1 - CHANCE / max(len(candidates), 1)
    tested = ((candidate, _tested(candidate, half, variant, baseline, level)) for candidate in candidates)
    return [
        (candidate, part)
        for candidate, part in tested
        if part is not None and max(part.delta_ci.high, part.excess_ci.high) < 0
    ]


def _tested(
    candidate: Candidate, half: Half, variant: Placements, baseline: Placements, level: float
) -> ConfirmedSlice | None:
    """What a candidate comes to on a half; None where that has too few frames of it."""
    groups = divided(half, candidate.rows)
    if groups is None:
        return None
    inside, outside = (_contrast(group, half, variant, baseline) for group in groups)
    delta, elsewhere = (of_group.at(level)[0] for of_group in (inside, outside))
    weight = _weight(inside, outside) if elsewhere.value < 0 else 1.0
    excess = delta.value - weight * elsewhere.value
    # Sources that both share make their changes alike, so that their difference is surer than this.
    below = math.hypot(delta.value - delta.interval.low, weight * (elsewhere.interval.high - elsewhere.value))
    above = math.hypot(delta.interval.high - delta.value, weight * (elsewhere.value - elsewhere.interval.low))
    return ConfirmedSlice(
        column=candidate.column,
        value=candidate.value,
        fake=groups[0].fake,
        real=groups[0].real,
        against=groups[0].against,
        baseline_auc=inside.of[1].auc,
        delta=delta.value,
        delta_ci=delta.interval,
        elsewhere=elsewhere.value,
        excess=excess,
        excess_ci=Interval(excess - below, excess + above),
    )


def _contrast(group: SliceGroup, half: Half, variant: Placements, baseline: Placements) -> Contrast:
    rows = group.compared_rows(variant.is_fake)
    units = None if half.clusters is None else group.units(rows, variant.is_fake, half.clusters)
    return contrast(subset(variant, rows), subset(baseline, rows), units)


def _weight(inside: Contrast, outside: Contrast) -> float:
    """How many times as much AUC the same change of scores costs in the slice, where that is more; at least 1.

    A slice that the baseline itself ranks worse has more frames near each other, and the same shift of scores swaps
    more of them: with normal scores, by the ratio of the normal density at both AUCs' quantiles.
    """
    densities = []
    for of_group in (inside, outside):
        placed = of_group.of[1]
        least = 1 / (2 * len(placed.fake) * len(placed.real))
        densities.append(_density(min(max(placed.auc, least), 1 - least)))
    return max(densities[0] / densities[1], 1.0)


def _density(auc: float) -> float:
    from scipy.special import ndtri

    return math.exp(-(float(ndtri(auc)) ** 2) / 2)
