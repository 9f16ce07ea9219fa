"""Confirmation: whether a candidate slice loses more than the other frames, on frames that did not speak for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.records import ConfirmedSlice, Interval, SliceBasis
from bench.results.score.clusters import Clusters
from bench.results.score.differences import Contrast, contrast
from bench.results.score.discovery.halves import Part
from bench.results.score.discovery.screening import Candidate
from bench.results.score.placements import Placements, subset
from bench.results.score.slices import SliceGroup, groups_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


_INSIDE, _OUTSIDE = "inside", "outside"


@dataclass(frozen=True)
class Chance:
    """How often any of some intervals misses the truth where it lies below it, and where it lies `above`.

    An interval `below` the truth confirms what is not there.
    """

    below: float
    above: float

    def of_each(self, count: int) -> Chance:
        """That of each of as many intervals (Bonferroni)."""
        return Chance(self.below / max(count, 1), self.above / max(count, 1))


def divided(part: Part, rows: NDArray[np.bool_]) -> tuple[SliceGroup, SliceGroup] | None:
    """The frames of a slice in this part, and the others; None where either has too few. `rows` are among all.

    Others of a slice of one class are those of the same class: both are compared with all frames of the other class.
    """
    inside = rows[part.rows]
    is_fake = part.labels == 1
    cells = np.where(inside, 0, 1)
    if len(np.unique(part.labels[inside])) == 1:
        cells = np.where(is_fake == is_fake[inside][0], cells, -1)
    sources = Clusters.disjoint(np.arange(len(part.rows))) if part.clusters is None else part.clusters
    groups = list(groups_of("", cells, [_INSIDE, _OUTSIDE], part.labels, sources))
    if [group.value for group in groups] != [_INSIDE, _OUTSIDE] or not all(group.enough for group in groups):
        return None
    return groups[0], groups[1]


def confirm(
    candidates: Sequence[Candidate],
    part: Part,
    placed: tuple[Placements, Placements],
    chance: Chance,
    basis: SliceBasis,
) -> list[tuple[Candidate, ConfirmedSlice]]:
    """Those of the candidates in which the variant loses, and loses more than elsewhere, by intervals for all of them.

    `placed` are variant and baseline on the frames of `part`, the other half than that of the candidates or all frames:
    see `basis`. All intervals hold at once, but for `chance`.
    """
    each = chance.of_each(len(candidates))
    tested = ((candidate, _tested(candidate, part, placed, each, basis)) for candidate in candidates)
    return [
        (candidate, confirmed)
        for candidate, confirmed in tested
        if confirmed is not None and confirmed.excess_ci.high < 0
    ]


def _tested(
    candidate: Candidate, part: Part, placed: tuple[Placements, Placements], chance: Chance, basis: SliceBasis
) -> ConfirmedSlice | None:
    """What a candidate comes to; None where the part has too few frames of it, or they may lose nothing."""
    groups = divided(part, candidate.rows)
    if groups is None:
        return None
    inside = _contrast(groups[0], part, *placed)
    delta, delta_ci = _interval(inside, chance)
    if delta_ci.high >= 0:
        return None
    outside = _contrast(groups[1], part, *placed)
    elsewhere, elsewhere_ci = _interval(outside, chance)
    weight = _weight(inside, outside) if elsewhere < 0 else 1.0
    excess = delta - weight * elsewhere
    # Sources that both share make their changes alike, so that their difference is surer than this.
    below = math.hypot(delta - delta_ci.low, weight * (elsewhere_ci.high - elsewhere))
    above = math.hypot(delta_ci.high - delta, weight * (elsewhere - elsewhere_ci.low))
    return ConfirmedSlice(
        column=candidate.column,
        value=candidate.value,
        fake=groups[0].fake,
        real=groups[0].real,
        against=groups[0].against,
        baseline_auc=inside.of[1].auc,
        delta=delta,
        delta_ci=delta_ci,
        elsewhere=elsewhere,
        excess=excess,
        excess_ci=Interval(excess - below, excess + above),
        basis=basis,
    )


def _interval(of_group: Contrast, chance: Chance) -> tuple[float, Interval]:
    """The difference of the AUCs, and its interval, each end of which misses the truth with its own chance."""
    high, low = (of_group.at(1 - 2 * missed)[0] for missed in (chance.below, chance.above))
    return high.value, Interval(low.interval.low, high.interval.high)


def _contrast(group: SliceGroup, part: Part, variant: Placements, baseline: Placements) -> Contrast:
    rows = group.compared_rows(variant.is_fake)
    units = None if part.clusters is None else group.units(rows, variant.is_fake, part.clusters)
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
