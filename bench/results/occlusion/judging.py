"""Does blurring what a heatmap points at change the answer? And where there is no heatmap: what does?

A square of 16 % of the frame is blurred where the map shows most for the called class, and, for comparison, the same
square moved by half of the frame to the side, down, and both, around the frame's edges. Each answer is one of the
variant's session, so a map is judged in the runtime, with the numbers and kernels that it was made by.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bench.records import BlurredFrame, Session

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

VERSION = 1
"""Raised whenever the same frame would be blurred otherwise."""

SIDE = 0.4
"""Of the square, as a share of the frame's side: four of them, half a frame apart, do not touch."""
_MOVED = ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.5))
CELLS = 7
"""A side of an occlusion map: as fine as a class-activation map at 224 px."""
_CELL_SIDE = 2 / CELLS
"""Squares overlap: what lies on the border of two cells is in one of them whole."""

ANSWERS_PER_JUDGED, ANSWERS_PER_MAP = len(_MOVED), CELLS**2


def judged(
    session: Session, pixels: NDArray[np.uint8], cam: NDArray[np.floating], frame: BlurredFrame, batch: int
) -> BlurredFrame:
    """The frame with the answers to it where what its map [h, w] points at is blurred, and where the others are.

    `pixels` are uint8 RGB [size, size, 3], `batch` is how many frames a call takes. Raises `ValueError` where an answer
    is not finite.
    """
    from bench.results.occlusion.blurring import square, window_of, with_blurred

    window = window_of(cam, frame.fake, SIDE)
    if window is None:
        return frame
    left, top = window
    squares = [square(left + right, top + down, SIDE, len(pixels), around=True) for right, down in _MOVED]
    blurred, *elsewhere = _answers(session, with_blurred(pixels, squares), batch).tolist()
    return replace(frame, window=window, blurred=blurred, elsewhere=tuple(elsewhere))


def occlusion_map(session: Session, pixels: NDArray[np.uint8], logit_diff: float, batch: int) -> NDArray[np.float32]:
    """By how much `logit_fake - logit_real` falls where the square around each cell is blurred, [7, 7].

    Positive is what speaks for fake, as in a class-activation map. Raises `ValueError` where an answer is not finite.
    """
    import numpy as np

    from bench.results.occlusion.blurring import square, with_blurred

    edges = (np.arange(CELLS) + 0.5) / CELLS - _CELL_SIDE / 2
    squares = [square(left, top, _CELL_SIDE, len(pixels)) for top in edges for left in edges]
    falls = logit_diff - _answers(session, with_blurred(pixels, squares), batch)
    return np.asarray(falls.reshape(CELLS, CELLS), np.float32)


def _answers(session: Session, frames: NDArray[np.uint8], batch: int) -> NDArray[np.float64]:
    """`logit_fake - logit_real` [n] of frames [n, 3, H, W]; in smaller batches where memory runs out."""
    import numpy as np

    parts, done = [], 0
    while done < len(frames):
        try:
            logits = session.predict(frames[done : done + batch]).logits.astype(np.float64)
        except MemoryError:
            if batch == 1:
                raise
            batch //= 2
            continue
        parts.append(logits[:, 1] - logits[:, 0])
        done += len(logits)
    answers = np.concatenate(parts)
    if not np.isfinite(answers).all():
        raise ValueError("logits of a blurred frame are not finite")
    return answers
