"""What pictures go through before a detector sees them: one file a kind of re-compression.

Each module is called as its kind in the experiment file, and has

- `Level`: the type of its levels there, checked by pydantic;
- `LIBRARIES` and `VERSION`: what determines its pixels, for keys;
- `SECONDS`: about how long a frame of `RATED_PIXELS` pixels takes, of processor time;
- `degraded(frame, level)`: RGB uint8 [height, width, 3] of any size to the same shape; the same frame and level give
  the same pixels;
- `unavailable()`: why it can't be done here and what to do, "" where it can.

Imports are light: a library is imported where pixels are changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

from bench.datasets.degradations import blur, h264, jpeg, resize
from bench.provenance import versions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.records import Degradation, DegradationKind

RATED_PIXELS = 380 * 380


class _Kind(Protocol):
    LIBRARIES: tuple[str, ...]
    VERSION: int
    SECONDS: float

    def degraded(self, frame: NDArray[np.uint8], level: float) -> NDArray[np.uint8]: ...

    def unavailable(self) -> str: ...


_KINDS: dict[DegradationKind, _Kind] = {
    "jpeg": cast("_Kind", jpeg),
    "resize": cast("_Kind", resize),
    "blur": cast("_Kind", blur),
    "h264": cast("_Kind", h264),
}


def degraded(frame: NDArray[np.uint8], degradation: Degradation) -> NDArray[np.uint8]:
    """A re-compressed frame, RGB uint8 [height, width, 3] as `frame`."""
    return _KINDS[degradation.kind].degraded(frame, degradation.level)


def unavailable(kind: DegradationKind) -> str:
    """Why a kind can't be done with what is installed here, and what to do; "" where it can."""
    return _KINDS[kind].unavailable()


def versions_of(kind: DegradationKind) -> dict[str, str]:
    """What determines the pixels of a kind, for keys."""
    return {"version": str(_KINDS[kind].VERSION), **versions(_KINDS[kind].LIBRARIES)}


def seconds(kind: DegradationKind) -> float:
    """About how many seconds of processor time a frame of `RATED_PIXELS` pixels takes."""
    return _KINDS[kind].SECONDS
