"""What becomes of a variant's answers when regions of a frame are blurred: how faithful its heatmaps are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.records.weights import ClassName

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEAST_FALL = 0.01
"""In logits: what blurring a square changes less is noise of the arithmetic, and matters to nobody."""


def as_p_fake(logit_diff: float) -> float:
    """P(fake) of `logit_fake - logit_real`."""
    return 0.5 + 0.5 * math.tanh(logit_diff / 2)


@dataclass(frozen=True)
class BlurredFrame:
    """The answers to a test frame with squares of it blurred, beside the one to the frame as it is.

    `row` is the frame's row in the predictions, `fake` whether it is called fake. All answers are
    `logit_fake - logit_real`: `logit_diff` as it is, `blurred` without the square that the heatmap points at,
    `elsewhere` without each of the other squares. `window` is the left and the upper edge of the first square, as
    shares of the frame's side. Where the map shows nothing for the called class, it points nowhere: then both are
    None, and there are no others.
    """

    row: int
    fake: bool
    logit_diff: float
    window: tuple[float, float] | None = None
    blurred: float | None = None
    elsewhere: tuple[float, ...] = ()

    @property
    def falls(self) -> tuple[float, ...]:
        """By how many logits the called class loses, by the map's square first, then by each of the others."""
        blurred = () if self.blurred is None else (self.blurred, *self.elsewhere)
        return tuple((self.logit_diff - each) * (1 if self.fake else -1) for each in blurred)

    @property
    def is_right(self) -> bool:
        """Whether no other square costs the called class as much as the one that the map points at."""
        first, *others = self.falls
        return first >= LEAST_FALL and first > max(others)

    @property
    def p_fake_blurred(self) -> float | None:
        return None if self.blurred is None else as_p_fake(self.blurred)

    @property
    def p_fake_elsewhere(self) -> float:
        """The mean over the other squares."""
        return sum(map(as_p_fake, self.elsewhere)) / len(self.elsewhere)


@dataclass(frozen=True)
class Faithfulness:
    """How often heatmaps point at what matters: in `right` of `frames` frames that are called the same class.

    `fall` is by how much the probability of that class falls, on average, where the square is blurred that the map
    points at, `fall_elsewhere` where another one is. `baseline` is that of the baseline's maps on the same frames, each
    for the class that it calls them; None for the baseline itself, or where it failed.
    """

    frames: int
    right: int
    fall: float
    fall_elsewhere: float
    baseline: Faithfulness | None = None


@dataclass(frozen=True)
class Occlusion:
    """What blurring did to the frames of a variant's galleries, by row: its heatmaps judged, or maps in their place.

    `maps` [h, w] are by how much `logit_fake - logit_real` falls where the square around each cell is blurred.
    `faithfulness` is by the class that frames are called, where there are any.
    """

    judged: Mapping[int, BlurredFrame] = field(default_factory=dict)
    maps: Mapping[int, NDArray[np.float32]] = field(default_factory=dict)
    faithfulness: Mapping[ClassName, Faithfulness] = field(default_factory=dict)
