"""The part of the face on which a map is hottest: frames are searched for slices by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.records import GRID
from bench.records.inspection import PARTS
from bench.results.localisation.measuring import speaks_for, up_sampled
from bench.results.regions.measuring import parts_of

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

HOTTEST_PART = "heatmap hottest on"
"""What the column is called."""


def hottest_part(cam: NDArray[np.floating], points: NDArray[np.float64], called: NDArray[np.bool_]) -> pd.Series[str]:
    """The part of the face that speaks most for the class that is `called` [n], by maps `cam` [n, h, w]; true is fake.

    `points` [n, 5, 2] are those of faces, NaN without one. Missing where there is none, where a map is not finite, or
    nothing speaks for that class.
    """
    import pandas as pd

    parts = [_of_frame(*of_frame) for of_frame in zip(cam, points, called.tolist(), strict=False)]
    return pd.Series(parts, dtype="object")


def _of_frame(cam: NDArray[np.floating], points: NDArray[np.float64], fake: bool) -> str | None:
    if not np.isfinite(points).all() or not speaks_for(cam, fake=fake):
        return None
    fine = up_sampled(cam)
    row, column = divmod(int((fine if fake else -fine).argmax()), GRID)
    return PARTS[int(parts_of(points)[row, column])]
