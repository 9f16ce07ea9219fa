"""By how much P(fake) falls where a part of the face is blurred: what a network needs, whatever its maps show.

Where P(fake) is near 0 or 1 little moves it, and the logit difference says more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.records import Session
from bench.records.face_template import part_map
from bench.records.inspection import PARTS
from bench.results.occlusion.blurring import EDGE, with_blurred
from bench.results.score import p_fake

if TYPE_CHECKING:
    from numpy.typing import NDArray


def part_masks(points: Sequence[tuple[float, float]], side: int) -> dict[str, NDArray[np.float64]]:
    """How much of each pixel [side, side] belongs to each part that the frame shows, with soft edges."""
    from PIL import Image, ImageFilter

    parts = part_map(points, side, side)
    soft = ImageFilter.GaussianBlur(EDGE / 2 * side)
    masks = {}
    for index, name in enumerate(PARTS):
        if (parts == index).any():
            picture = Image.fromarray(((parts == index) * 255).astype(np.uint8)).filter(soft)
            masks[name] = np.asarray(picture, np.float64) / 255
    return masks


@dataclass(frozen=True)
class Falls:
    """By how much P(fake), and the logit difference, fall where each part of a face is blurred."""

    p_fake: dict[str, float]
    logit_diff: dict[str, float]


def falls(
    session: Session, pixels: NDArray[np.uint8], points: Sequence[tuple[float, float]], logits: tuple[float, float]
) -> Falls:
    """The answer to a fitted frame, uint8 RGB [side, side, 3], less those to the frame with a part of its face blurred.

    `logits` (real, fake) are those as it is. Raises `ValueError` where an answer is not finite.
    """
    masks = part_masks(points, len(pixels))
    frames = with_blurred(pixels, list(masks.values()))
    blurred = np.concatenate([session.predict(frames[index : index + 1]).logits for index in range(len(frames))])
    if not np.isfinite(blurred).all():
        raise ValueError("logits of a blurred frame are not finite")
    real, fake = np.array(logits, np.float32).reshape(2, 1)
    of_score = p_fake(real, fake) - p_fake(blurred[:, 0], blurred[:, 1])
    of_difference = (logits[1] - logits[0]) - (blurred[:, 1] - blurred[:, 0])
    return Falls(
        dict(zip(masks, map(float, of_score), strict=True)), dict(zip(masks, map(float, of_difference), strict=True))
    )
