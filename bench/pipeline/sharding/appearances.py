"""What test frames look like, measured while shards are evaluated: a small file a shard, joined with the results."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench import datasets, stored
from bench.files import write_atomically
from bench.pipeline.prepared import Prepared
from bench.records import Frame
from bench.results import appearance, predict
from bench.results.appearance import APPEARANCE, MEASURES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FOLDER = "appearance"
_DIGITS = 16
_FIRST_ROW = "[0-9]" * 9


class Appearances:
    """Collects what decoded frames look like, and writes those of a shard before the shard itself is there."""

    def __init__(self, folder: Path, digest: str, rows: Sequence[predict.FrameRow]) -> None:
        self._folder, self._digest, self._rows = folder, digest, rows
        self._by_file: dict[Path, datasets.Appearance] = {}

    def keep(self, frame: Frame, appearance: datasets.Appearance) -> None:
        """Keep what a frame looks like; called by the threads that decode."""
        self._by_file[frame.file] = appearance

    def write(self, low: int) -> None:
        """Write the measures [n, 3] of the test frames of the shard that begins at the row `low`, NaN where unknown."""
        import numpy as np

        rows = self._rows[low : low + predict.SHARD_FRAMES]
        appearances = [self._by_file.get(row.frame.file) if row.split == "test" else None for row in rows]
        for row in rows:
            self._by_file.pop(row.frame.file, None)
        if any(appearances):
            values = np.array([_numbers(each) for each in appearances])
            write_atomically(file_of(self._folder, self._digest, low), partial(_save, values))


def file_of(folder: Path, digest: str, low: int) -> Path:
    """Where the measures of the shard lie, or will, that begins at the row `low`; `digest` is that of test frames."""
    return folder / FOLDER / digest[:_DIGITS] / f"{low:09d}.npy"


def join(prepared: Prepared, folder: Path) -> None:
    """Store with the results what shards measured of test frames; the caller holds the results' lock."""
    for setups in prepared.by_frame_set.values():
        test = setups[0].frames["test"]
        files = sorted((folder / FOLDER / test.digest[:_DIGITS]).glob(f"{_FIRST_ROW}.npy"))
        values: dict[str, datasets.Appearance] = {}
        for file in files:
            low = int(file.stem)
            frames = test.frames[low : low + predict.SHARD_FRAMES]
            # Where validation frames follow, a shard has more rows than test frames.
            for frame, numbers in zip(frames, _read(file, len(frames)), strict=False):
                if not math.isnan(numbers[0]):
                    quality = None if math.isnan(numbers[2]) else int(numbers[2])
                    values[frame.path] = datasets.Appearance(float(numbers[0]), float(numbers[1]), quality)
        for results in dict.fromkeys(setup.results for setup in setups) if values else ():
            appearance.write(results / APPEARANCE, test.digest, [frame.path for frame in test.frames], values)


def _numbers(of: datasets.Appearance | None) -> list[float]:
    values = [None if of is None else getattr(of, measure) for measure in MEASURES]
    return [math.nan if value is None else float(value) for value in values]


def _save(values: NDArray[np.float64], file: object) -> None:
    import numpy as np

    save: Callable[..., None] = np.save
    save(file, values)


def _read(file: Path, least: int) -> NDArray[np.float64]:
    """The measures in a file, none where it is damaged: they are worth having, and no result hangs on them."""
    import numpy as np

    none = np.full((0, len(MEASURES)), math.nan)
    try:
        with stored.open_file(file, links=False) as opened:
            values: NDArray[np.float64] = np.load(opened, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return none
    sound = values.dtype == np.float64 and values.ndim == 2 and values.shape[1] == len(MEASURES)
    return values if sound and len(values) >= least else none
