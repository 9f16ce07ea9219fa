"""masks.npy and masks.json beside the predictions: the masks of test fakes as the network sees them.

The record is removed before the masks are written, and written last: it never stands beside others than its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from bench import stored
from bench.errors import UserError
from bench.files import remove, write_atomically, write_text
from bench.records import GRID, FittedMasks, MaskCounts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MASKS, RECORD = "masks.npy", "masks.json"
_MOST_BYTES = 256 * stored.MIB


@dataclass(frozen=True)
class _Record:
    """What masks.json holds: `rows` of test frames with a mask that counts, and their `positions` in masks.npy."""

    counts: MaskCounts
    rows: tuple[int, ...]
    positions: tuple[int, ...]


def write_masks(folder: Path, count: int, masks: Iterator[NDArray[np.uint8]]) -> None:
    """Write `count` masks [GRID, GRID] one by one; a record that stands there is removed first."""
    import numpy as np

    remove(folder / RECORD)
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, GRID, GRID)}

    def fill(file: BinaryIO) -> None:
        np.lib.format.write_array_header_1_0(file, header)
        for mask in masks:
            file.write(np.ascontiguousarray(mask, np.uint8).tobytes())

    write_atomically(folder / MASKS, fill)


def write_record(folder: Path, counts: MaskCounts, rows: Sequence[int], positions: Sequence[int]) -> None:
    """Say what became of all masks, and which of those written count."""
    record = asdict(_Record(counts, tuple(rows), tuple(positions)))
    write_text(folder / RECORD, json.dumps(record) + "\n")


def read_counts(folder: Path, key: str) -> MaskCounts | None:
    """What became of the masks with this key; None where they are absent, damaged or others."""
    try:
        record = _record(folder)
    except (OSError, ValueError):
        return None
    return record.counts if record.counts.key == key and stored.is_file(folder / MASKS) else None


def read(folder: Path, counts: MaskCounts, frames: int) -> FittedMasks:
    """The masks of which `counts` tells, of `frames` test frames. `UserError` where they are gone or damaged."""
    path = folder / RECORD
    try:
        record = _record(folder)
        if record.counts != counts:
            raise stored.DamagedError("it is of other masks than the run")
        path = folder / MASKS
        return _fitted(path, record, frames)
    except FileNotFoundError:
        raise UserError(f"{path}: is gone; `bench run` makes it again") from None
    except (OSError, ValueError) as error:
        raise stored.damaged(path, error, "delete it, `bench run` makes it again") from error


def _record(folder: Path) -> _Record:
    record: _Record = stored.typed(_Record, stored.read_json(folder / RECORD, _MOST_BYTES, links=False))
    return record


def _fitted(path: Path, record: _Record, frames: int) -> FittedMasks:
    """Masks as a memory map; `DamagedError` where rows and positions do not fit them."""
    import numpy as np

    stored.refuse_other_than_file(path, links=False)
    try:
        shares: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # a damaged file makes its readers fail in any way
        raise stored.DamagedError(f"it is no array: {type(error).__name__}") from error
    rows, positions = (np.array(each, np.int64) for each in (record.rows, record.positions))
    is_array = shares.dtype == np.uint8 and shares.ndim == 3 and shares.shape[1:] == (GRID, GRID)
    is_rising = all((np.diff(each) > 0).all() and each.min(initial=0) >= 0 for each in (rows, positions))
    is_whole = is_rising and len(rows) == len(positions) == record.counts.used
    if not is_array or not is_whole or rows.max(initial=-1) >= frames or positions.max(initial=-1) >= len(shares):
        raise stored.DamagedError("it is of other frames")
    return FittedMasks(record.counts, rows, positions, shares)
