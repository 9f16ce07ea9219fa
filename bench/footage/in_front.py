"""The face in front of a detector: out of a picture of any kind, what a preset of crops cuts out of it."""

from __future__ import annotations

from collections.abc import Sequence
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
