"""The face in front of a detector: out of a picture of any kind, what a preset of crops cuts out of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bench.errors import UserError
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


class UnsearchableError(UserError):
    """A picture of a shape in which no face can be sought."""


@contextmanager
def searching(picture: NDArray[np.uint8]) -> Iterator[None]:
    """What OpenCV refuses in a picture, uint8 RGB [h, w, 3], is `UnsearchableError`."""
    import cv2

    try:
        yield
    except cv2.error as error:
        height, width = picture.shape[:2]
        raise UnsearchableError(f"{width} × {height} pixels: no face can be sought in it ({error.err})") from error


def cut(picture: NDArray[np.uint8], preset: str, by: Finder) -> list[Crop]:
    """The crops of the faces in uint8 RGB [h, w, 3], the surest face first; none where there is no face."""
    return crops.crop(preset, picture, by.find(picture))


def cut_for_each(
    picture: NDArray[np.uint8], presets: Sequence[str | None], faces_in_it: Sequence[Face]
) -> list[tuple[Crop, ...]]:
    """For each face that any of the presets takes, the surest first, what every preset cuts out of that one face.

    So detectors that are asked together judge the same person, whichever face each would take alone. None in the place
    of a preset is all of the picture. Without any preset that is judged once, with the largest face in it, if any.
    """
    of_faces = [preset for preset in presets if preset is not None]
    if not of_faces:
        return [(Crop(picture, next(iter(largest(faces_in_it)), None)),) * len(presets)]
    taken = {crop.face for preset in of_faces for crop in crops.crop(preset, picture, faces_in_it)}
    candidates = []
    for face in faces_in_it:
        of_face = {preset: crops.crop(preset, picture, [face]) for preset in of_faces} if face in taken else {}
        if of_face and all(of_face.values()):
            whole = Crop(picture, face)
            candidates.append(tuple(whole if preset is None else of_face[preset][0] for preset in presets))
    return candidates
