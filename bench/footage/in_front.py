"""The face in front of a detector: out of a picture of any kind, what a preset of crops cuts out of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.footage import crops, faces
from bench.footage.cutting import largest
from bench.records import Crop, Face, Finder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEAST_PX = 20
"""Of a face in a frame that is a crop already: sets of small frames have such."""


def finder(preset: str) -> Finder:
    """What finds faces for a preset; `UserError` where it is not installed, or the preset needs other points."""
    loaded = faces.load(faces.DEFAULT, LEAST_PX)
    crops.check(preset, loaded)
    return loaded


def cut(picture: NDArray[np.uint8], preset: str, by: Finder) -> list[Crop]:
    """The crops of the faces in uint8 RGB [h, w, 3], the surest face first; none where there is no face."""
    return crops.crop(preset, picture, by.find(picture))


def as_it_is(picture: NDArray[np.uint8], by: Finder) -> Crop:
    """The whole picture, and the largest face in it where there is one, which nothing is cut by."""
    face: Face | None = next(iter(largest(by.find(picture))), None)
    return Crop(picture, face)
