"""Sample predictions as a grid: validation frames with their label and what the best epoch says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.files import write_bytes
from bench.records import CLASSES, class_of
from bench.records.trainings import SampleFrame
from bench.reports.content.text import number, shortened
from bench.reports.inspection.pictures import as_png, data_uri
from bench.reports.pictures.decisions import HIT, MISS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FILE = "samples.png"
_SIDE, _ACROSS, _EDGE, _GAP = 160, 4, 6, 6


@dataclass(frozen=True)
class Card:
    """A frame of the page: its picture as data, its name, and what is said of it."""

    uri: str
    name: str
    answer: str
    is_right: bool


def cards(samples: Sequence[SampleFrame], threshold: float) -> list[Card]:
    """The samples for the page."""
    return [
        Card(
            data_uri(sample.pixels, _SIDE),
            shortened(sample.path, 30),
            _answer(sample, threshold),
            _right(sample, threshold),
        )
        for sample in samples
    ]


def write(samples: Sequence[SampleFrame], threshold: float, folder: Path) -> list[tuple[str, str, bool]]:
    """Write the grid as one picture; for each frame in its order the name, what is said of it, and whether it is right.

    Green edges are right, orange ones wrong.
    """
    import cv2
    import numpy as np

    if not samples:
        return []
    rows = -(-len(samples) // _ACROSS)
    cell = _SIDE + 2 * _EDGE + _GAP
    sheet = np.full((rows * cell + _GAP, _ACROSS * cell + _GAP, 3), 255, np.uint8)
    for index, sample in enumerate(samples):
        top, left = (_GAP + offset * cell for offset in divmod(index, _ACROSS))
        small = cv2.resize(sample.pixels, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        framed = _framed(np.asarray(small, np.uint8), _right(sample, threshold))
        sheet[top : top + len(framed), left : left + len(framed)] = framed
    write_bytes(folder / FILE, as_png(sheet))
    return [(shortened(s.path, 30), _answer(s, threshold), _right(s, threshold)) for s in samples]


def _framed(pixels: NDArray[np.uint8], is_right: bool) -> NDArray[np.uint8]:
    import numpy as np
    from PIL import ImageColor

    framed = np.empty((_SIDE + 2 * _EDGE, _SIDE + 2 * _EDGE, 3), np.uint8)
    framed[:] = ImageColor.getrgb(HIT if is_right else MISS)
    framed[_EDGE:-_EDGE, _EDGE:-_EDGE] = pixels
    return framed


def _right(sample: SampleFrame, threshold: float) -> bool:
    return class_of(sample.p_fake, threshold) == CLASSES[sample.label]


def _answer(sample: SampleFrame, threshold: float) -> str:
    called = class_of(sample.p_fake, threshold)
    return f"{CLASSES[sample.label]}, called {called}: P(fake) {number(sample.p_fake, 3)}"
