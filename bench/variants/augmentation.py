"""Frames as they might have been taken otherwise: mirrored, shifted, in other colours, saved as JPEG again.

For what compares two networks on the same frames, so that no label has to fit. What is changed is what differs between
frames of the field anyway: crops of faces are never centred alike, cameras see other colours, and most frames were
compressed more than once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

_MIRRORED, _SHIFTED, _COLOURED, _SAVED_AGAIN = 0.5, 0.75, 0.75, 0.5
"""The shares of frames that each change is made to."""
_MOST_SHIFT = 0.04
"""Of a side; in whole pixels, since values between pixels would blur what a detector looks for."""
_MOST_COLOUR = 0.1
"""By how much brightness, contrast and every channel change at most, as a share; saturation by twice that."""
_QUALITIES = 50, 95


def varied(frames: Tensor, seed: int, step: int, *, all_ways: bool) -> Tensor:
    """Frames uint8 RGB [N, 3, H, W], each changed by chance, as the seed and the step draw it.

    Without `all_ways` half of them are mirrored, and nothing else is done.
    """
    import numpy as np
    import torch

    rng = np.random.default_rng([seed, step])
    pixels = frames.cpu().numpy()
    changed = [_varied(frame.transpose(1, 2, 0), rng, all_ways=all_ways) for frame in pixels]
    stacked = np.stack([frame.transpose(2, 0, 1) for frame in changed])
    return torch.from_numpy(stacked).to(frames.device)


def _varied(frame: NDArray[np.uint8], rng: np.random.Generator, *, all_ways: bool) -> NDArray[np.uint8]:
    """One frame [H, W, 3]."""
    if rng.random() < _MIRRORED:
        frame = frame[:, ::-1]
    if not all_ways:
        return frame
    if rng.random() < _SHIFTED:
        frame = _shifted(frame, rng)
    if rng.random() < _COLOURED:
        frame = _coloured(frame, rng)
    if rng.random() < _SAVED_AGAIN:
        frame = _saved_again(frame, int(rng.integers(*_QUALITIES, endpoint=True)))
    return frame


def _shifted(frame: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """What comes in at a border is the mirror image of what lies there."""
    import numpy as np

    height, width = frame.shape[:2]
    rows, columns = (max(1, round(_MOST_SHIFT * side)) for side in (height, width))
    padded = np.pad(frame, ((rows, rows), (columns, columns), (0, 0)), mode="symmetric")
    down, right = rng.integers(2 * rows, endpoint=True), rng.integers(2 * columns, endpoint=True)
    return padded[down : down + height, right : right + width]


def _coloured(frame: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    import numpy as np

    brightness, contrast, saturation, *channels = 1 + _MOST_COLOUR * rng.uniform(-1, 1, 6)
    colours = frame * (brightness * np.array(channels, np.float32))
    mean = colours.mean()
    colours = (colours - mean) * contrast + mean
    grey = colours.mean(2, keepdims=True)
    colours = grey + (colours - grey) * saturation**2
    changed: NDArray[np.uint8] = np.clip(np.rint(colours), 0, 255).astype(np.uint8)
    return changed


def _saved_again(frame: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    import cv2
    import numpy as np

    _, data = cv2.imencode(".jpg", np.ascontiguousarray(frame[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.asarray(decoded[..., ::-1], dtype=np.uint8)
