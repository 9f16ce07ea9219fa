"""occlusion.json in a variant's results: the blurred frames of its galleries, and for which galleries they are whole.

Frames that no gallery shows any more stay: they are shown again when the threshold goes back.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench import stored
from bench.files import remove, write_text
from bench.records import BlurredFrame
from bench.results.occlusion.judging import ANSWERS_PER_JUDGED, CELLS, VERSION

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

OCCLUSION = "occlusion.json"
_MOST_BYTES = 64 * stored.MIB
_MOST_LOGIT = 1e38


@dataclass(frozen=True)
class _Map:
    row: int
    falls: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class _File:
    """What the file holds. `key` is that of the predictions whose frames these are, `complete` see `Blurred`."""

    version: int
    key: str
    complete: str
    judged: tuple[BlurredFrame, ...]
    maps: tuple[_Map, ...]


@dataclass
class Blurred:
    """Blurred frames of a variant by row; `complete` is the key of the galleries of which they are all frames."""

    judged: dict[int, BlurredFrame] = field(default_factory=dict)
    maps: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    complete: str = ""


def write(folder: Path, key: str, blurred: Blurred) -> None:
    """Write the blurred frames of the predictions with this key."""
    maps = tuple(_Map(row, tuple(map(tuple, cells.tolist()))) for row, cells in sorted(blurred.maps.items()))
    judged = tuple(frame for _, frame in sorted(blurred.judged.items()))
    path = folder / OCCLUSION
    if path.is_dir():
        remove(path)
    write_text(path, json.dumps(asdict(_File(VERSION, key, blurred.complete, judged, maps))) + "\n")


def read(folder: Path, key: str) -> Blurred:
    """The blurred frames of the predictions with this key; none where they are absent, damaged or of another version.

    Then they are made again.
    """
    import numpy as np

    try:
        content: _File = stored.typed(_File, stored.read_json(folder / OCCLUSION, _MOST_BYTES, links=False))
    except (OSError, ValueError):
        return Blurred()
    if content.version != VERSION or content.key != key or not _is_sound(content):
        return Blurred()
    maps = {each.row: np.array(each.falls, np.float32) for each in content.maps}
    return Blurred({frame.row: frame for frame in content.judged}, maps, content.complete)


def is_complete(folder: Path, key: str, galleries: str) -> bool:
    """Whether all frames are there that the galleries with the key `galleries` show."""
    return read(folder, key).complete == galleries


def _is_sound(content: _File) -> bool:
    """Whether rows, squares, answers and maps can be those of blurred frames."""
    numbers = [number for each in content.maps for cells in each.falls for number in cells]
    for frame in content.judged:
        others = 0 if frame.window is None else ANSWERS_PER_JUDGED - 1
        if (frame.window is None) != (frame.blurred is None) or len(frame.elsewhere) != others:
            return False
        if not all(0 <= edge <= 1 for edge in frame.window or ()):
            return False
        numbers += [frame.logit_diff, *frame.elsewhere, *([] if frame.blurred is None else [frame.blurred])]
    shapes = all(len(each.falls) == CELLS and all(len(cells) == CELLS for cells in each.falls) for each in content.maps)
    rows = [*(frame.row for frame in content.judged), *(each.row for each in content.maps)]
    return shapes and min(rows, default=0) >= 0 and all(math.isfinite(n) and abs(n) <= _MOST_LOGIT for n in numbers)
