"""A column of the frames cut into groups: one a value, or quartiles of numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.records import MOST_VALUES

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

MOST_NUMBERS = 12
"""A numeric column with more distinct values is cut into ranges."""


def cut(name: str, column: pd.Series[str]) -> tuple[NDArray[np.int64], list[str], list[str]]:
    """Cut a column into values: codes [n], -1 for none, the values' names, and what is not sliced and why.

    Numbers with more than 12 distinct values are cut into quartiles. Without names, the column is not sliced at all.
    """
    import pandas as pd

    cells = column if is_numeric(column) else _text(column)
    missing, distinct = int(cells.isna().sum()), int(cells.nunique())
    none = np.full(len(column), -1)
    if not distinct:
        return none, [], [f"`{name}` has no values"]
    by_quartile = has_ranges(column)
    if distinct > MOST_VALUES and not by_quartile:
        return none, [], [f"`{name}` has {distinct:,} values, more than {MOST_VALUES}"]
    if distinct == 1:
        return none, [], [f"`{name}` has one value only"]
    reasons = [f"{missing:,} of {len(column):,} frames have no `{name}`"] if missing else []
    binned = pd.qcut(cells, 4, labels=False, duplicates="drop") if by_quartile else cells
    codes, values = pd.factorize(binned, sort=True)
    if len(values) == 1:
        return none, [], [f"`{name}` has too many equal values for quartiles"]
    if by_quartile:
        return codes, [range_of(cells[codes == code]) for code in range(len(values))], reasons
    return codes, [plain(value) for value in values], reasons


def is_numeric(column: pd.Series[str]) -> bool:
    import pandas as pd

    return bool(pd.api.types.is_numeric_dtype(column)) and not pd.api.types.is_bool_dtype(column)


def has_ranges(column: pd.Series[str]) -> bool:
    """Whether it has so many numbers that ranges of them make groups, not single values."""
    return is_numeric(column) and int(column.nunique()) > MOST_NUMBERS


def _text(column: pd.Series[str]) -> pd.Series[str]:
    text = column.astype("string")
    return text.mask(text == "")


def range_of(numbers: pd.Series[str]) -> str:
    """From the lowest to the highest of these numbers."""
    return f"{plain(numbers.min())} to {plain(numbers.max())}"


def plain(value: object) -> str:
    """A value as a person would write it: 75 rather than 75.0."""
    if isinstance(value, (float, np.floating)):
        return str(int(value)) if float(value).is_integer() else f"{value:.6g}"
    return str(value)
