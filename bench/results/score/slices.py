"""Quality in parts of the test frames: by source group, manipulation method or whatever else is known of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from bench.records import LabelledFrames, Slice
from bench.results.score.auc import difference, estimate
from bench.results.score.intervals import holm
from bench.results.score.placements import Placements, subset

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

MOST_VALUES = 50
"""A column with more tells frames apart, not groups of them."""

MOST_NUMBERS = 12
"""A numeric column with more distinct values is cut into quartiles."""

LEAST_FRAMES_OF_A_SOURCE = 20
"""Sources with fewer on average are videos, not groups."""

LEAST_OF_A_CLASS = 10
"""With fewer frames of either class an interval says nothing."""

LEAST_SOURCES = 5
"""Nor with fewer sources of either class: at the level that many slices ask for, it is nearly all there is."""


@dataclass(frozen=True)
class Group:
    """The test frames `rows` [k] with a value of a column, `fake` and `real` of each class.

    `against` is the class that none of them has, all `others` test frames of which they are judged against.
    `sources` says how many the fake and the real frames that it is judged on come from.
    """

    column: str
    value: str
    rows: NDArray[np.int64]
    fake: int
    real: int
    against: Literal["fake", "real"] | None
    others: int
    sources: tuple[int, int]

    @property
    def one_source(self) -> tuple[bool, bool]:
        """Whether its own fake, and its own real frames, are of one source: how sources vary they can't tell."""
        fake, real = self.sources
        return self.against != "fake" and fake == 1, self.against != "real" and real == 1

    @property
    def enough(self) -> bool:
        """Whether there are frames and sources enough for an AUC."""
        fewest = min(self.fake, self.real) if self.against is None else min(len(self.rows), self.others)
        known = (one or count >= LEAST_SOURCES for one, count in zip(self.one_source, self.sources, strict=True))
        return fewest >= LEAST_OF_A_CLASS and all(known)

    def judged(self, is_fake: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The rows that it is judged on, in the order of the test frames, whose classes are `is_fake` [n]."""
        if self.against is None:
            return self.rows
        chosen = is_fake == (self.against == "fake")
        chosen[self.rows] = True
        return np.flatnonzero(chosen)

    def units(
        self, rows: NDArray[np.int64], is_fake: NDArray[np.bool_], clusters: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Which of the frames `rows` [k] vary together: those of a source, but a class of one source frame by frame.

        `rows` are those of `judged`, `is_fake` and `clusters` [n] of all test frames.
        """
        units = clusters[rows]
        for alone, members in zip(self.one_source, (is_fake[rows], ~is_fake[rows]), strict=True):
            if alone:
                units[members] = int(clusters.max()) + 1 + np.flatnonzero(members)
        return units


@dataclass(frozen=True)
class Slicing:
    """The groups that every variant is judged in; `left_out` says what was not sliced and why."""

    groups: tuple[Group, ...]
    left_out: tuple[str, ...]

    @property
    def level(self) -> float:
        """Bonferroni's, at which the intervals of all groups hold at once 95 % of the time."""
        return 1 - 0.05 / max(1, sum(group.enough for group in self.groups))


def slicing(test: LabelledFrames, clusters: NDArray[np.int64] | None) -> Slicing:
    """Groups of test frames by every further column, and by source where that is a group rather than a video.

    Text of 2 to 50 values is taken value by value, numbers of more than 12 by quartiles. Frames without
    a value are in no group, and a group that would be judged on the whole test set is none. `clusters` [n]
    are those of the frames' sources.
    """
    import pandas as pd

    columns: dict[str, pd.Series[str]] = {str(name): column for name, column in test.attributes.items()}
    if _is_group(test.sources):
        columns.setdefault("source", test.sources)
    groups: list[Group] = []
    left_out: list[str] = []
    divided: dict[str, NDArray[np.int64]] = {}
    sources = np.arange(len(test.labels)) if clusters is None else clusters
    for name, column in columns.items():
        codes, values, reasons = _cut(name, column)
        left_out += reasons
        if not values:
            continue
        found = list(_groups(name, codes, values, test.labels, sources))
        division = pd.factorize(codes)[0]
        same = next((other for other, cut in divided.items() if np.array_equal(cut, division)), None)
        if same is not None:
            left_out.append(f"`{name}` divides the frames as `{same}` does")
        elif not found:
            left_out.append(f"`{name}` tells only real from fake frames")
        else:
            groups += found
            divided[name] = division
    return Slicing(tuple(groups), tuple(left_out))


def evaluate(
    slicing: Slicing, own: Placements, baseline: Placements | None, clusters: NDArray[np.int64] | None
) -> tuple[Slice, ...]:
    """Every group's AUC, and its difference from that of `baseline` (None for the baseline itself).

    `own`, `baseline` and `clusters` [n], of the sources that `slicing` saw, are of all test frames. Groups
    with fewer than 10 frames of either class have no AUC, nor those with fewer than 5 sources, unless a class
    is of one source: that is judged frame by frame. p-values are Holm's over the groups, simultaneous
    intervals Bonferroni's.
    """
    slices = [_judged(group, own, baseline, clusters, slicing.level) for group in slicing.groups]
    corrected = iter(holm([p for _, p in slices if p is not None]))
    return tuple(one if p is None else replace(one, p_holm=next(corrected)) for one, p in slices)


def _judged(
    group: Group, own: Placements, baseline: Placements | None, clusters: NDArray[np.int64] | None, level: float
) -> tuple[Slice, float | None]:
    """The slice, with `simultaneous` at `level`, and the uncorrected p-value of its difference."""
    one = Slice(group.column, group.value, group.fake, group.real, group.against, None)
    if not group.enough:
        return one, None
    rows = group.judged(own.is_fake)
    cluster = None if clusters is None else group.units(rows, own.is_fake, clusters)
    mine = subset(own, rows)
    one = replace(one, auc=estimate(mine, cluster))
    if baseline is None:
        return one, None
    theirs = subset(baseline, rows)
    delta, p = difference(mine, theirs, cluster)
    wider, _ = difference(mine, theirs, cluster, level)
    return replace(one, delta=delta, simultaneous=wider.interval), p


def _is_group(sources: pd.Series[str]) -> bool:
    distinct = int(sources.nunique())
    return 2 <= distinct <= MOST_VALUES and int(sources.notna().sum()) >= LEAST_FRAMES_OF_A_SOURCE * distinct


def _cut(name: str, column: pd.Series[str]) -> tuple[NDArray[np.int64], list[str], list[str]]:
    """Which value each frame has [n], -1 for none, what they are called, and what isn't sliced and why."""
    import pandas as pd

    numeric = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    known = column if numeric else _text(column)
    missing, distinct = int(known.isna().sum()), int(known.nunique())
    none = np.full(len(column), -1)
    if not distinct:
        return none, [], [f"`{name}` has no values"]
    by_quartile = numeric and distinct > MOST_NUMBERS
    if distinct > MOST_VALUES and not by_quartile:
        return none, [], [f"`{name}` has {distinct:,} values, more than {MOST_VALUES}"]
    if distinct == 1:
        return none, [], [f"`{name}` has one value only"]
    reasons = [f"`{name}` is missing in {missing:,} of {len(column):,} frames"] if missing else []
    cells = pd.qcut(known, 4, labels=False, duplicates="drop") if by_quartile else known
    codes, values = pd.factorize(cells, sort=True)
    if len(values) == 1:
        return none, [], [f"`{name}` has too many equal values for quartiles"]
    names = _ranges(known, codes, len(values)) if by_quartile else [_plain(value) for value in values]
    return codes, names, reasons


def _text(column: pd.Series[str]) -> pd.Series[str]:
    text = column.astype("string")
    return text.mask(text == "")


def _ranges(numbers: pd.Series[str], codes: NDArray[np.int64], count: int) -> list[str]:
    """From the lowest to the highest number in each of the `count` cells."""
    cells = [numbers[codes == cell] for cell in range(count)]
    return [f"{_plain(cell.min())} to {_plain(cell.max())}" for cell in cells]


def _plain(value: object) -> str:
    """A value as a person would write it: 75 rather than 75.0."""
    if isinstance(value, (float, np.floating)):
        return str(int(value)) if float(value).is_integer() else f"{value:.6g}"
    return str(value)


def _groups(
    name: str,
    codes: NDArray[np.int64],
    values: list[str],
    labels: NDArray[np.integer],
    sources: NDArray[np.int64],
) -> Iterator[Group]:
    """One for each value, unless the frames that it would be judged on are all test frames."""
    is_fake = labels == 1
    all_fake = int(is_fake.sum())
    all_real = len(labels) - all_fake
    fakes_from, reals_from = _from(is_fake, sources)
    for code, value in enumerate(values):
        rows = np.flatnonzero(codes == code)
        fake = int(is_fake[rows].sum())
        real = len(rows) - fake
        own = _from(is_fake[rows], sources[rows])
        if fake and real and len(rows) < len(labels):
            yield Group(name, value, rows, fake, real, None, 0, own)
        elif not real and fake < all_fake:
            yield Group(name, value, rows, fake, real, "real", all_real, (own[0], reals_from))
        elif not fake and real < all_real:
            yield Group(name, value, rows, fake, real, "fake", all_fake, (fakes_from, own[1]))


def _from(is_fake: NDArray[np.bool_], sources: NDArray[np.int64]) -> tuple[int, int]:
    """How many sources the fake and the real frames come from."""
    return len(np.unique(sources[is_fake])), len(np.unique(sources[~is_fake]))
