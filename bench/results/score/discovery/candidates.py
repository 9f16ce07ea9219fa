"""Candidate slices: the values of columns of text, and ranges of numbers from an eighth of the frames to a half."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.results.score.cuts import cut, has_ranges, range_of

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

FINEST = 8
"""Ranges of numbers have at least this part of the frames."""


@dataclass(frozen=True, eq=False)
class Column:
    """A column of n frames and its candidates: `cells` [n] are codes from 0, -1 where a frame has no value.

    A candidate has those cells that `parts` [candidates, cells] says, and is called by its `values`.
    """

    name: str
    cells: NDArray[np.int64]
    parts: NDArray[np.bool_]
    values: tuple[str, ...]

    def rows(self, candidate: int) -> NDArray[np.bool_]:
        """The frames [n] of a candidate."""
        return np.append(self.parts[candidate], False)[self.cells]


def columns(frames: Mapping[str, pd.Series[str]]) -> tuple[Column, ...]:
    """The columns that divide the frames, each division once; a column of more than 50 names, or of one, is none."""
    divisions: list[NDArray[np.int64]] = []
    candidates = []
    for column in filter(None, (_column(name, cells) for name, cells in frames.items())):
        division = _division(column.cells)
        if not any(np.array_equal(division, other) for other in divisions):
            divisions.append(division)
            candidates.append(column)
    return tuple(candidates)


def _column(name: str, cells: pd.Series[str]) -> Column | None:
    if has_ranges(cells):
        return _of_ranges(name, cells)
    codes, values, _ = cut(name, cells)
    return Column(name, codes, np.eye(len(values), dtype=bool), tuple(values)) if values else None


def _of_ranges(name: str, numbers: pd.Series[str]) -> Column | None:
    """Eighths, quarters and halves of the frames that have a number, in their order; equal numbers stay together."""
    values = numbers.to_numpy(np.float64)
    missing = np.isnan(values)
    edges = np.quantile(values[~missing], np.arange(1, FINEST) / FINEST)
    eighths = np.where(missing, -1, np.searchsorted(edges, values, side="right"))
    used, cells = np.unique(eighths, return_inverse=True)
    cells = cells.reshape(-1) - int(missing.any())
    used = used[used >= 0]
    distinct: dict[bytes, NDArray[np.bool_]] = {}
    for part in ((used >= low) & (used < high) for low, high in _dyadic()):
        if 0 < part.sum() < len(used):
            distinct.setdefault(part.tobytes(), part)
    parts = list(distinct.values())
    if not parts:
        return None
    spans = tuple(range_of(numbers[np.append(part, False)[cells]]) for part in parts)
    return Column(name, cells, np.array(parts), spans)


def _dyadic() -> Iterator[tuple[int, int]]:
    """From which eighth on, and up to which: eighths, quarters, halves."""
    width = 1
    while width < FINEST:
        yield from ((low, low + width) for low in range(0, FINEST, width))
        width *= 2


def _division(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """Codes in the order in which they appear: the same of columns that divide the frames alike."""
    import pandas as pd

    return pd.factorize(cells)[0]
