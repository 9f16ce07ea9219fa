"""Batches of random frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def frames(count: int) -> NDArray[np.uint8]:
    """uint8 RGB [count, 3, 32, 32], the same each time."""
    return np.random.default_rng(0).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
