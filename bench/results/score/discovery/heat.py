"""Where on a frame the baseline's class-activation map is hottest: one of nine parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.results.score.drift import FRAMES_AT_ONCE, forget

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

HOTTEST = "heatmap hottest"
"""What the column is called."""
ACROSS, DOWN = ("left", "middle", "right"), ("top", "centre", "bottom")


def hottest(cam: NDArray[np.floating], called: NDArray[np.bool_]) -> pd.Series[str]:
    """The part of the first frames [n] of maps `cam` […, h, w] that speaks most for the class that is `called` [n].

    Missing where a map is not finite, or nothing speaks for that class. True is fake.
    """
    import pandas as pd

    names = np.array([f"{down} {across}" for down in DOWN for across in ACROSS], dtype=object)
    parts: list[NDArray[np.object_]] = []
    for start in range(0, len(called), FRAMES_AT_ONCE):
        piece = slice(start, min(start + FRAMES_AT_ONCE, len(called)))
        maps = cam[piece] * np.where(called[piece], 1, -1)[:, None, None]
        height, width = maps.shape[1:]
        flat = maps.reshape(len(maps), -1)
        speaks = np.isfinite(flat).all(1) & (flat.max(1) > 0)
        down, across = np.divmod(flat.argmax(1), width)
        part = names[down * len(DOWN) // height * len(ACROSS) + across * len(ACROSS) // width]
        part[~speaks] = None
        parts.append(part)
        forget(cam)
    return pd.Series(np.concatenate(parts) if parts else [], dtype="object")
