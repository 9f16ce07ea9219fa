"""The gap between groups of frames: how much more often some are called wrong than others, before and after.

A group's rates of four outcomes (each of baseline and variant right or wrong) are drawn from their posterior with half
a frame more of each (Jeffreys' prior), and the gap of both is worked out anew in every draw. Where frames share
sources, a group's frames count as fewer independent ones, by the design effect of what changed: Rao & Scott 1992,
"A simple method for the analysis of clustered binary data", Biometrics 48: 577-585.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bench.records import LEAST_GROUP, LEAST_GROUP_SOURCES, RATES, GroupGap, GroupRate, Interval, LabelledFrames, Rate
from bench.results.score.clusters import Clusters
from bench.results.score.cuts import cut
from bench.results.score.intervals import student_quantile

if TYPE_CHECKING:
    from numpy.typing import NDArray

DRAWS = 10_000


@dataclass(frozen=True, eq=False)
class Group:
    """The test frames [k] of one class that share a value of a column, and how many sources they come from."""

    value: str
    rows: NDArray[np.int64]
    sources: float

    @property
    def counts(self) -> bool:
        return len(self.rows) >= LEAST_GROUP and self.sources >= LEAST_GROUP_SOURCES


@dataclass(frozen=True, eq=False)
class Grouping:
    """The groups of a column, of the frames that a rate is about: real ones for FPR, fakes for FNR."""

    column: str
    rate: Rate
    groups: tuple[Group, ...]


def groupings(columns: Sequence[str], test: LabelledFrames, clusters: Clusters | None) -> tuple[Grouping, ...]:
    """The groups of each column for each rate; numbers with more than 12 distinct values are cut into quartiles.

    Frames without a value are in no group. Columns with one value, or with none, have no groups.
    """
    parts = []
    for name in columns:
        codes, values, _ = cut(name, test.attributes[name])
        for rate in RATES:
            is_about = test.labels == (rate == "fnr")
            groups = tuple(_group(value, is_about & (codes == code), clusters) for code, value in enumerate(values))
            parts.append(Grouping(name, rate, tuple(group for group in groups if len(group.rows))))
    return tuple(parts)


def _group(value: str, members: NDArray[np.bool_], clusters: Clusters | None) -> Group:
    count = float(members.sum())
    sources = count if clusters is None or not count else clusters.count(members)
    return Group(value, np.flatnonzero(members), sources)


def gaps(
    groupings: Sequence[Grouping],
    wrong: NDArray[np.bool_],
    baseline: NDArray[np.bool_] | None,
    clusters: Clusters | None,
) -> tuple[GroupGap, ...]:
    """The gap of every column and rate; `wrong` [n] says of each test frame whether it is called wrong.

    `baseline` [n] says so of the baseline, and is None for that itself.
    """
    level = 1 - 0.05 / max(1, len(groupings))
    return tuple(_gap(each, wrong, baseline, clusters, level) for each in groupings)


def _gap(
    grouping: Grouping,
    wrong: NDArray[np.bool_],
    baseline: NDArray[np.bool_] | None,
    clusters: Clusters | None,
    level: float,
) -> GroupGap:
    """The gap of a column and rate; `level` is that of the interval that holds for all of them at once."""
    has_sources = clusters is not None and not clusters.independent
    rates = [
        GroupRate(
            group.value,
            len(group.rows),
            int(wrong[group.rows].sum()),
            group.counts,
            group.sources if has_sources else None,
        )
        for group in grouping.groups
    ]
    part = GroupGap(grouping.column, grouping.rate, tuple(rates))
    counted = [group for group in grouping.groups if group.counts]
    if len(counted) < 2:
        return part
    after = _rates(counted, wrong)
    gap = float(np.ptp(after))
    part = replace(part, gap=gap, highest=counted[after.argmax()].value, lowest=counted[after.argmin()].value)
    if baseline is None:
        return part
    before = float(np.ptp(_rates(counted, baseline)))
    draws, by_source = _drawn(counted, wrong, baseline, clusters)
    return replace(
        part,
        before=before,
        change=gap - before,
        change_ci=_interval(draws, gap - before, 0.95),
        simultaneous=_interval(draws, gap - before, level),
        by_source=by_source,
    )


@dataclass(frozen=True, eq=False)
class _Draws:
    """Draws [draws] of the change of the gap, and of the change between two groups: the gap's after, and before."""

    gap: NDArray[np.float64]
    after: NDArray[np.float64]
    before: NDArray[np.float64]


def _interval(draws: _Draws, value: float, level: float) -> Interval:
    """The middle of the draws, extended by the change between two groups on the side of `value`, the change itself.

    Groups that are alike have a gap by chance, which hides a part of the change to or from a gap that is none. But no
    gap grows by more than the rates between which it lies afterwards draw apart, or falls by more than those between
    which it lay draw near.
    """
    low, high = (1 - level) / 2, (1 + level) / 2
    lowest, highest = (float(end) for end in np.quantile(draws.gap, (low, high)))
    if value >= 0:
        highest = max(highest, float(np.quantile(draws.after, high)))
    else:
        lowest = min(lowest, float(np.quantile(draws.before, low)))
    return Interval(min(lowest, value), max(highest, value))


def _drawn(
    groups: Sequence[Group], wrong: NDArray[np.bool_], baseline: NDArray[np.bool_], clusters: Clusters | None
) -> tuple[_Draws, bool]:
    """Draws of what changes, and whether sources made any group's frames fewer.

    The same draws for all variants: their intervals differ by what they answered alone.
    """
    random = np.random.default_rng(0)
    drawn_before, drawn_after, is_fewer = [], [], False
    for group in groups:
        pairs = np.bincount(2 * baseline[group.rows] + wrong[group.rows], minlength=4)
        fewer = 1.0 if clusters is None else _design_effect(group, wrong, baseline, clusters)
        is_fewer = is_fewer or fewer > 1
        outcomes = random.dirichlet(pairs / fewer + 0.5, DRAWS)
        drawn_before.append(outcomes[:, 2] + outcomes[:, 3])
        drawn_after.append(outcomes[:, 1] + outcomes[:, 3])
    before, after = np.array(drawn_before), np.array(drawn_after)
    ends = [(int(rates.argmax()), int(rates.argmin())) for rates in (_rates(groups, wrong), _rates(groups, baseline))]
    of_ends = [(after - before)[high] - (after - before)[low] for high, low in ends]
    return _Draws(np.ptp(after, axis=0) - np.ptp(before, axis=0), *of_ends), is_fewer


def _rates(groups: Sequence[Group], wrong: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.array([wrong[group.rows].mean() for group in groups])


def _design_effect(group: Group, wrong: NDArray[np.bool_], baseline: NDArray[np.bool_], clusters: Clusters) -> float:
    """How many frames of a group weigh as one independent frame, at least 1, by the changes of its sources.

    One change more is added that whole sources share, since few changes say little of how these hang together.
    With few sources the variance is widened by Student's t.
    """
    members = np.zeros(len(wrong), bool)
    members[group.rows] = True
    changes = np.where(members, wrong.astype(np.float64) - baseline, 0.0)
    changes[members] -= changes[members].mean()
    sums = clusters.sums(changes)
    effective = clusters.effective(members)
    of_sources = clusters.product(sums, sums) * effective / max(effective - 1, 1.0)
    shared = len(group.rows) / effective
    effect = (of_sources + shared) / (float(changes @ changes) + 1)
    freedom = max(effective - 1, 1.0)
    widened = (student_quantile(0.95, freedom) / student_quantile(0.95, math.inf)) ** 2
    return max(effect * widened, 1.0)
