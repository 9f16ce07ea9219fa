"""Tables as data: what a cell says, the interval that belongs to it, and what it sorts by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from bench.reports.content.spans import Part, Sentence, joined, sentence
from bench.reports.content.text import NONE

Align: TypeAlias = Literal["left", "right", "center"]


@dataclass(frozen=True)
class Cell:
    """What a cell says. A writer puts `interval` in parentheses after it, and a star where it is `significant`.

    `interval` may also be what a number was measured at. `value` is the number that the cell sorts by, None where it
    has none. `variant` is set where the cell is a variant's name. `stressed` marks the cell of a row or column that a
    reader should see first.
    """

    text: Sentence
    interval: str = ""
    value: float | None = None
    variant: str | None = None
    stressed: bool = False
    significant: bool = False

    def __str__(self) -> str:
        interval = f" ({self.interval})" if self.interval else ""
        return f"{self.text}{interval}{' ∗' if self.significant else ''}"

    @property
    def is_empty(self) -> bool:
        return not self.interval and str(self.text) in ("", NONE)


@dataclass(frozen=True)
class Column:
    """A title, on which side its cells stand, and whether each interval gets a line of its own.

    `key` names the column where one is picked out of a table.
    """

    title: str
    align: Align = "right"
    key: str = ""
    stacked: bool = False


@dataclass(frozen=True)
class Table:
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


EMPTY = Cell(sentence(NONE))
NOT_PRINTED, ON_SET = "not printed", "on set "
"""The key of columns with which a table would not fit across a page of paper; how that of a frame set's begins."""


def cell(*parts: Part, value: float | None = None) -> Cell:
    """A cell of these parts, which sorts by `value`."""
    return Cell(sentence(*parts), value=value)


def with_interval(text: str, interval: str, value: float | None = None) -> Cell:
    """A number as written, and its interval."""
    return Cell(sentence(text), interval, value)


def several(parts: Sequence[Part]) -> Cell:
    """Remarks with semicolons between them; empty where there are none."""
    return Cell(joined(parts, "; ")) if parts else EMPTY


def variant_cell(name: str) -> Cell:
    """The name of a variant at the head of its row."""
    return Cell(sentence(name), variant=name)


def columns(titles: Iterable[str], align: Align = "right") -> list[Column]:
    return [Column(title, align) for title in titles]


def table(columns: Sequence[Column], rows: Iterable[Sequence[Cell]]) -> Table:
    """A table without the columns that are empty in every row."""
    body = list(rows)
    filled = [index for index in range(len(columns)) if any(not row[index].is_empty for row in body)]
    return Table(
        tuple(columns[index] for index in filled), tuple(tuple(cells[index] for index in filled) for cells in body)
    )
