"""One map beside one mask: is its hottest place forged, how much of its evidence, how well does it rank places?

Both are compared at `GRID` places a side of what the network sees. Maps are up-sampled to these as heatmaps are
drawn, signed: what is positive speaks for fake. A place counts by the share of it that is forged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.records import GRID

if TYPE_CHECKING:
    from numpy.typing import NDArray

CENTRE = 0.25
"""Standard deviation of the guess that what is forged is in the centre, as a share of the side."""
HALF = 0.5
"""From this share on, a place is inside of the mask."""


def up_sampled(cam: NDArray[np.floating]) -> NDArray[np.float32]:
    """A signed map [h, w] at all places; one that is not finite is 0 throughout."""
    from PIL import Image

    signed = np.asarray(cam, np.float32)
    if not np.isfinite(signed).all():
        return np.zeros((GRID, GRID), np.float32)
    fine = Image.fromarray(signed).resize((GRID, GRID), Image.Resampling.BICUBIC)
    return np.asarray(fine, np.float32)


def speaks_for(cam: NDArray[np.floating], *, fake: bool) -> bool:
    """Whether a map [h, w] shows anything for a class. Up-sampling swings over: what it adds is no evidence."""
    return bool(np.isfinite(cam).all() and (cam if fake else -cam).max() > 0)


def centre() -> NDArray[np.float32]:
    """A map that knows nothing of a frame: a Gaussian around its centre."""
    distance = (np.arange(GRID) + 0.5) / GRID - 0.5
    profile = np.exp(-((distance / CENTRE) ** 2) / 2)
    return np.asarray(np.outer(profile, profile), np.float32)


def measured(
    fine: NDArray[np.float32], mask: NDArray[np.uint8], *, blank: bool = False
) -> tuple[float, float, float, bool]:
    """Whether the hottest place is inside of the mask, the share of evidence inside, the AUC, and whether it is blank.

    `fine` is a map, `mask` how much of each place is forged, 0 to 255; both [GRID, GRID]. A `blank` map has
    nothing that is positive: it points nowhere and has no evidence, so that the first two are 0. Of places with the
    same value, the first in reading order is the hottest. A mask has something inside and something outside.
    """
    forged = mask.reshape(-1) / 255
    values = fine.reshape(-1)
    hottest, area = int(values.argmax()), _auc(values, forged)
    evidence = np.maximum(values, 0).astype(np.float64)
    total = float(evidence.sum())
    if blank or not total > 0:
        return 0.0, 0.0, area, True
    return float(forged[hottest] >= HALF), float(evidence @ forged) / total, area, False


def _auc(values: NDArray[np.float32], forged: NDArray[np.float64]) -> float:
    """How often a forged place has the higher value of two, ties being half; each place weighs by its shares."""
    order = np.argsort(values)
    ordered, inside = values[order], forged[order]
    ties = np.concatenate([[0], np.cumsum(ordered[1:] != ordered[:-1])])
    positive, negative = np.bincount(ties, inside), np.bincount(ties, 1 - inside)
    below = np.cumsum(negative) - negative / 2
    return float(positive @ below) / float(inside.sum() * (1 - inside).sum())
