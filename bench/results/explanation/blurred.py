"""By how much P(fake) falls where a part of the face is blurred: what a network needs, whatever its maps show."""

from __future__ import annotations

from collections.abc import Sequence
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


def falls(
    session: Session, pixels: NDArray[np.uint8], points: Sequence[tuple[float, float]], score: float
) -> dict[str, float]:
    """P(fake) of a fitted frame, uint8 RGB [side, side, 3], less that of the frame with a part of its face blurred.

    `score` is P(fake) as it is. Raises `ValueError` where an answer is not finite.
    """
    masks = part_masks(points, len(pixels))
    frames = with_blurred(pixels, list(masks.values()))
    logits = np.concatenate([session.predict(frames[index : index + 1]).logits for index in range(len(frames))])
    if not np.isfinite(logits).all():
        raise ValueError("logits of a blurred frame are not finite")
    blurred = p_fake(logits[:, 0], logits[:, 1])
    return {name: score - float(each) for name, each in zip(masks, blurred, strict=True)}
