"""Masks of what was forged in frames, and what became of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GRID = 64
"""Masks and maps are compared at so many places along each side of what the network sees."""


@dataclass(frozen=True)
class ForgeryMask:
    """The picture of what was forged in a frame.

    `digest` is the SHA-256 of the file, empty where nobody has read it, `fault` what is wrong with it. `native` is
    whether the layout found it, and not the experiment file or a manifest named it.
    """

    file: Path
    digest: str = ""
    fault: str = ""
    native: bool = False


@dataclass(frozen=True)
class MaskCounts:
    """What became of the masks of test frames.

    `key` is that of the fitted masks. Of `fakes` fakes, `used` have a mask that counts; of the others, `missing` have
    none, `unreadable` have a file that is no picture, `misshapen` one whose sides are in another proportion than the
    frame's, `black` one in which nothing is forged (of which `faint` have nothing brighter than 127, and are not black
    throughout), what is forged in `outside` is cut off before the network sees it, and `whole` leave nothing that is
    not forged. `marked_real` counts real frames with a mask that is not black: these are not used.
    """

    key: str
    fakes: int
    used: int
    missing: int = 0
    unreadable: int = 0
    misshapen: int = 0
    black: int = 0
    faint: int = 0
    outside: int = 0
    whole: int = 0
    marked_real: int = 0


@dataclass(frozen=True, eq=False)
class FittedMasks:
    """The masks of test fakes as the network sees them.

    `rows` [n] are the rows of the test frames, rising, `positions` [n] those of their masks among `shares` [m, GRID,
    GRID], how much of each place is forged, 0 to 255; that may be a memory map. Copies of a frame have no mask.
    """

    counts: MaskCounts
    rows: NDArray[np.int64]
    positions: NDArray[np.int64]
    shares: NDArray[np.uint8]

    def of(self, row: int) -> NDArray[np.uint8] | None:
        """The mask of a test frame; None where it has none."""
        index = int(self.rows.searchsorted(row))
        is_masked = index < len(self.rows) and self.rows[index] == row
        return self.shares[self.positions[index]] if is_masked else None
