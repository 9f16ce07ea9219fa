"""No face finder: frames are taken as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.records import Face


class NoFinder:
    """Finds nothing."""

    NAME = "none"
    digest = ""

    def find(self, picture: NDArray[np.uint8]) -> list[Face]:
        return []


def load(min_face_px: int, min_score: float) -> NoFinder:
    return NoFinder()


def digest() -> str:
    return ""
