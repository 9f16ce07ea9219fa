"""AUC on slices of the test frames: by manipulation method, source group or any other column of the frames."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bench.records import MOST_VALUES, ClassName, LabelledFrames, Slice
from bench.results.score.auc import estimate
from bench.results.score.clusters import Clusters
from bench.results.score.cuts import cut
from bench.results.score.differences import contrast
from bench.results.score.intervals import holm
from bench.results.score.placements import Placements, subset

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

LEAST_FRAMES_OF_A_SOURCE = 20
"""Sources with fewer on average are videos, not groups."""

LEAST_OF_A_CLASS = 10
"""With fewer frames of either class an interval says nothing."""

LEAST_SOURCES = 5
"""With fewer sources of either class, an interval at the level that holds for many slices is nearly [-1, 1]."""


@dataclass(frozen=True)
class SliceGroup:
    """The test frames `rows` [k] that share a value of a column; `fake` and `real` are their numbers.

    Where they are of one class, `against` is the other one, and all `others` test frames of that class are added for
    the AUC. `sources` are the numbers of sources of the fake and of the real frames that the AUC is computed on.
    """

    column: str
    value: str
    rows: NDArray[np.int64]
    fake: int
    real: int
    against: ClassName | None
    others: int
    sources: tuple[int, int]

    @property
    def one_source(self) -> tuple[bool, bool]:
        """Whether the slice's fake frames come from a single source, and its real frames."""
        fake, real = self.sources
        return self.against != "fake" and fake == 1, self.against != "real" and real == 1

    @property
    def enough(self) -> bool:
        """Whether there are frames and sources enough for an AUC."""
        fewest = min(self.fake, self.real) if self.against is None else min(len(self.rows), self.others)
        has_sources = (
            is_single or count >= LEAST_SOURCES for is_single, count in zip(self.one_source, self.sources, strict=True)
        )
        return fewest >= LEAST_OF_A_CLASS and all(has_sources)

    def compared_rows(self, is_fake: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The rows that the AUC is computed on, in the order of the test frames, whose classes are `is_fake` [n]."""
        if self.against is None:
            return self.rows
        chosen = is_fake == (self.against == "fake")
        chosen[self.rows] = True
        return np.flatnonzero(chosen)

    def units(self, rows: NDArray[np.int64], is_fake: NDArray[np.bool_], clusters: Clusters) -> Clusters:
        """The independent units among `rows`: a source is one unit, but a class of one source is not.

        The frames of such a class count one by one. `rows` [k] are those of `compared_rows`; `is_fake` [n] and
        `clusters` are of all test frames.
        """
        units = clusters.subset(rows)
        for is_single, members in zip(self.one_source, (is_fake[rows], ~is_fake[rows]), strict=True):
            if is_single:
                units = units.separated(members)
        return units


@dataclass(frozen=True)
class Slicing:
    """The groups on which every variant is scored; `left_out` says which columns were not sliced, and why."""

    groups: tuple[SliceGroup, ...]
    left_out: tuple[str, ...]

    @property
    def level(self) -> float:
        """The level at which the intervals of all groups hold at once with 95 % (Bonferroni)."""
        return 1 - 0.05 / max(1, sum(group.enough for group in self.groups))


def slicing(test: LabelledFrames, clusters: Clusters | None) -> Slicing:
    """Group the test frames by every attribute, and by source where sources are groups rather than videos.

    A column of 2 to 50 values makes one group a value; numbers with more than 12 distinct values are cut into
    quartiles. Frames without a value are in no group. A group whose AUC would be that of all test frames is left out.
    `clusters` are those of the frames' sources, None where each frame stands alone.
    """
    import pandas as pd

    columns: dict[str, pd.Series[str]] = {str(name): column for name, column in test.attributes.items()}
    if _is_group(test.sources):
        columns.setdefault("source", test.sources)
    groups: list[SliceGroup] = []
    left_out: list[str] = []
    divided: dict[str, NDArray[np.int64]] = {}
    sources = Clusters.disjoint(np.arange(len(test.labels))) if clusters is None else clusters
    for name, column in columns.items():
        codes, values, reasons = cut(name, column)
        left_out += reasons
        if not values:
            continue
        parts = list(groups_of(name, codes, values, test.labels, sources))
        division = pd.factorize(codes)[0]
        same = next((other for other, cut in divided.items() if np.array_equal(cut, division)), None)
        if same is not None:
            left_out.append(f"`{name}` divides the frames as `{same}` does")
        elif not parts:
            left_out.append(f"`{name}` tells only real from fake frames")
        else:
            groups += parts
            divided[name] = division
    return Slicing(tuple(groups), tuple(left_out))


def evaluate(
    slicing: Slicing, variant: Placements, baseline: Placements | None, clusters: Clusters | None
) -> tuple[Slice, ...]:
    """The AUC of every group, and its difference to the baseline's; `baseline` is None for the baseline itself.

    `variant`, `baseline` and `clusters` are of all test frames. Groups with fewer than 10 frames of a class have
    no AUC, nor those with fewer than 5 sources of a class. A class that comes from one source counts frame by frame.
    p-values are corrected over the groups (Holm), and simultaneous intervals too (Bonferroni).
    """
    slices = [_slice(group, variant, baseline, clusters, slicing.level) for group in slicing.groups]
    corrected = iter(holm([p for _, p in slices if p is not None]))
    return tuple(part if p is None else replace(part, p_holm=next(corrected)) for part, p in slices)


def _slice(
    group: SliceGroup,
    variant: Placements,
    baseline: Placements | None,
    clusters: Clusters | None,
    level: float,
) -> tuple[Slice, float | None]:
    """The slice, with `simultaneous` at `level`, and the uncorrected p-value of its difference."""
    part = Slice(group.column, group.value, group.fake, group.real, group.against, None)
    if not group.enough:
        return part, None
    rows = group.compared_rows(variant.is_fake)
    units = None if clusters is None else group.units(rows, variant.is_fake, clusters)
    placed = subset(variant, rows)
    part = replace(part, auc=estimate(placed, units))
    if baseline is None:
        return part, None
    baseline_placed = subset(baseline, rows)
    compared = contrast(placed, baseline_placed, units)
    (delta, p), (simultaneous, _) = compared.at(), compared.at(level)
    return replace(part, delta=delta, simultaneous=simultaneous.interval), p


def _is_group(sources: pd.Series[str]) -> bool:
    distinct = int(sources.nunique())
    return 2 <= distinct <= MOST_VALUES and int(sources.notna().sum()) >= LEAST_FRAMES_OF_A_SOURCE * distinct


def groups_of(
    name: str,
    codes: NDArray[np.int64],
    values: list[str],
    labels: NDArray[np.integer],
    sources: Clusters,
) -> Iterator[SliceGroup]:
    """A group for each value, unless its AUC would be that of all test frames."""
    is_fake = labels == 1
    all_fake = int(is_fake.sum())
    all_real = len(labels) - all_fake
    all_fake_sources, all_real_sources = _source_counts(is_fake, sources)
    for code, value in enumerate(values):
        rows = np.flatnonzero(codes == code)
        fake = int(is_fake[rows].sum())
        real = len(rows) - fake
        fake_sources, real_sources = _source_counts(is_fake[rows], sources.subset(rows))
        if fake and real and len(rows) < len(labels):
            yield SliceGroup(name, value, rows, fake, real, None, 0, (fake_sources, real_sources))
        elif not real and fake < all_fake:
            yield SliceGroup(name, value, rows, fake, real, "real", all_real, (fake_sources, all_real_sources))
        elif not fake and real < all_real:
            yield SliceGroup(name, value, rows, fake, real, "fake", all_fake, (all_fake_sources, real_sources))


def _source_counts(is_fake: NDArray[np.bool_], sources: Clusters) -> tuple[int, int]:
    """How many sources the fake and the real frames come from; of those that overlap, how many they are worth."""
    return _source_count(is_fake, sources), _source_count(~is_fake, sources)


def _source_count(rows: NDArray[np.bool_], sources: Clusters) -> int:
    return math.ceil(sources.count(rows)) if rows.any() else 0
