"""Masks as the network sees them: through the same geometry as their frames, as shares of so many places."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.datasets.decoding import decoder_versions, fit, picture, shown_size
from bench.errors import UserError
from bench.records import GRID, Frame, InputSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORGED_ABOVE = 127
"""What is brighter in any of its channels, of 8 bits, is forged."""
_VERSION = 1
"""Raised whenever the same mask would be fitted otherwise."""


@dataclass(frozen=True, eq=False)
class FittedMask:
    """A mask that was read. `shares` [GRID, GRID] are how much of each place is forged, 0 to 255.

    `is_black` is whether nothing is forged in the file, `is_faint` whether that is so though it is not black
    throughout.
    """

    shares: NDArray[np.uint8]
    is_black: bool
    is_faint: bool


def fitting_versions() -> dict[str, str]:
    """What turns files of masks into shares, by version, for keys."""
    return {"masks": str(_VERSION), "places": str(GRID), **decoder_versions()}


def misshapen(frame: Frame) -> str:
    """Why the mask of a frame does not lie over it; empty where it does. Both headers are read.

    The sides of a mask are those of its frame, or in the same proportion, to one pixel. Raises `UserError` for a file
    that can't be read.
    """
    assert frame.mask is not None
    (width, height), (mask_width, mask_height) = shown_size(frame.file), shown_size(frame.mask.file)
    fits_width = abs(mask_height * width / height - mask_width) <= 1
    fits_height = abs(mask_width * height / width - mask_height) <= 1
    if fits_width or fits_height:
        return ""
    return (
        f"{frame.mask.file}: {mask_width} × {mask_height} pixels, and its frame has {width} × {height}; expected that "
        "size, or one in the same proportion"
    )


def mask_of(frame: Frame, height: int, width: int) -> NDArray[np.uint8]:
    """How far each pixel of a frame of this size is forged, uint8 [height, width]: its mask's brightest channel.

    Raises `UserError` for a file that can't be read.
    """
    import cv2
    import numpy as np

    assert frame.mask is not None
    values: NDArray[np.uint8] = picture(frame.mask.file).max(axis=2)
    if values.shape == (height, width):
        return values
    filters = cv2.INTER_AREA if values.shape[0] > height else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(values, (width, height), interpolation=filters), np.uint8)


def fitted(frame: Frame, spec: InputSpec) -> FittedMask:
    """The mask of a frame as the network sees it.

    It is brought to the frame's size, then resized, cut and padded as the frame is, by area. Raises `UserError` for a
    file that can't be read, or is misshapen.
    """
    import cv2
    import numpy as np

    assert frame.mask is not None
    if problem := misshapen(frame):
        raise UserError(problem)
    values = picture(frame.mask.file).max(axis=2)
    forged = np.where(values > FORGED_ABOVE, np.uint8(255), np.uint8(0))
    width, height = shown_size(frame.file)
    if forged.shape != (height, width):
        filters = cv2.INTER_AREA if forged.shape[0] > height else cv2.INTER_NEAREST
        forged = np.asarray(cv2.resize(forged, (width, height), interpolation=filters), np.uint8)
    # Where a frame is cut and padded does not hang on its filter.
    seen = fit(np.repeat(forged[..., None], 3, axis=2), replace(spec, interpolation="area"))[..., 0]
    shares = cv2.resize(np.ascontiguousarray(seen), (GRID, GRID), interpolation=cv2.INTER_AREA)
    is_black = not bool((values > FORGED_ABOVE).any())
    return FittedMask(np.asarray(shares, np.uint8), is_black, is_black and bool(values.any()))
