"""False-positive and false-negative rates by group of frames, and the gap between groups before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from bench.records.scores import Interval

MOST_VALUES = 50
"""A column with more values, if they are no numbers, names single frames rather than groups of frames."""

LEAST_GROUP, LEAST_GROUP_SOURCES = 20, 5
"""With fewer frames of a class, or from fewer sources, a group's rate says little, and a gap would be by chance."""

Rate: TypeAlias = Literal["fpr", "fnr"]
RATES: tuple[Rate, ...] = ("fpr", "fnr")
"""The share of real frames called fake, and that of fakes called real."""


@dataclass(frozen=True)
class GroupRate:
    """A rate of a variant on the frames of a group that it is about: `count` real ones or fakes, `wrong` of them wrong.

    `counts` is whether there are enough of them for the gap to go by. `sources` is from how many sources they come, or
    are worth where sources overlap; None where no frames share one.
    """

    value: str
    count: int
    wrong: int
    counts: bool
    sources: float | None = None

    @property
    def rate(self) -> float | None:
        return self.wrong / self.count if self.count else None


@dataclass(frozen=True)
class GroupGap:
    """The gap of a rate between the groups of a column: the largest rate less the smallest, at the fixed threshold.

    `highest` and `lowest` are the groups between which it lies. `before` is the baseline's gap, and `change` is this
    one minus that, with its paired 95 % interval; `simultaneous` holds for all columns and rates of a variant at once.
    All are None for the baseline itself, or where it failed; all but `groups` are where fewer than two groups have
    enough frames. `by_source` is whether frames that share sources made the interval wider.
    """

    column: str
    rate: Rate
    groups: tuple[GroupRate, ...]
    gap: float | None = None
    highest: str | None = None
    lowest: str | None = None
    before: float | None = None
    change: float | None = None
    change_ci: Interval | None = None
    simultaneous: Interval | None = None
    by_source: bool = False
