"""Axes of plots as data: what they show, from where to where, and their ticks."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bench.reports.content.text import number


@dataclass(frozen=True)
class Axis:
    """An axis from `low` to `high`, with the value and the text of each tick.

    `by_factors` is whether equal distances are equal factors (a logarithmic axis).
    """

    label: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    by_factors: bool = False


@dataclass(frozen=True)
class Mark:
    """A point with its 95 % interval, drawn as the variant at `index` is; `faint` where little is known of it."""

    index: int
    name: str
    x: float
    y: float
    low: float
    high: float
    faint: bool = False


def axis(label: str, low: float, high: float) -> Axis:
    """An axis with about five round ticks."""
    values = ticks(low, high)
    digits = next(count for count in range(12) if all(abs(round(value, count) - value) < 1e-9 for value in values))
    return Axis(label, low, high, tuple((value, number(value, digits)) for value in values))


def factor_axis(label: str, low: float, high: float) -> Axis:
    """A logarithmic axis with ticks at 1, 2 and 5 times powers of ten."""
    return Axis(label, low, high, tuple((value, f"{value:g}") for value in factor_ticks(low, high)), by_factors=True)


def part_axis(label: str, start: float, length: float, edge: tuple[float, float] = (0.0, 0.0)) -> Axis:
    """An axis of rates from `start` on, with ticks at its ends and its middle.

    `edge` is what it shows before the first and after the last tick, for the thickness of lines there.
    """
    values = (round(start + part * length, 3) for part in (0.0, 0.5, 1.0))
    labelled = tuple((value, f"{value:g}") for value in values)
    return Axis(label, start - edge[0], start + length + edge[1], labelled)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from `low` to `high`."""
    unit = 10 ** math.floor(math.log10((high - low) / about))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if (high - low) / (unit * factor) <= about + 0.5)
    first = math.ceil(low / step - 1e-9)
    return [round(step * index, 10) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def factor_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten from `low` to `high`."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [value for power in powers for factor in (1, 2, 5) if low <= (value := factor * 10.0**power) <= high]
