"""Crops: what is cut out of a frame for a detector, as its training did. One file a preset.

A preset's module has

- `cut(picture, faces)`: a list of `bench.records.Crop`, empty where there is no face;
- where it needs the five points: `NEEDS_POINTS = True`;
- where it treats what one kind of network finds in another way: `remark(network)`, what the manifest says of that.

A crop comes before all that `InputSpec` says: its pixels are a frame, of any size.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bench.errors import UserError, nearest, quoted
from bench.records import NO_CROP, Crop, Face, Finder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PRESETS: tuple[str, ...] = tuple(module.name for module in pkgutil.iter_modules(__path__))
"""The names of the presets, without importing them."""


def find(preset: str) -> Any:
    """The preset's module; a `UserError` names the choices."""
    if preset not in PRESETS:
        raise UserError(f"unknown crop {quoted(preset)}{nearest(preset, PRESETS)}; crops are: {', '.join(PRESETS)}")
    return importlib.import_module(f"{__name__}.{preset}")


def check(preset: str, finder: Finder) -> None:
    """Raise `UserError` where there is no such preset, or it needs points that the finder does not give."""
    if getattr(find(preset), "NEEDS_POINTS", False) and not getattr(finder, "gives_points", True):
        raise UserError(_without_points(preset, finder.NAME))


def _without_points(preset: str, network: str) -> str:
    return (
        f"crop {preset}: needs the five points of a face, which this {network} does not give; take `yunet`, a network "
        f"with points, or another crop: {', '.join(name for name in PRESETS if name != preset)}"
    )


def crop(preset: str, picture: NDArray[np.uint8], faces: Sequence[Face]) -> list[Crop]:
    """What a preset cuts out of uint8 RGB [h, w, 3], given the faces in it, the surest first.

    Faces keep the boxes that their finder gave. Raises `UserError` where the preset needs points that a finder does
    not give.
    """
    module = find(preset)
    if faces and getattr(module, "NEEDS_POINTS", False) and not all(face.points for face in faces):
        raise UserError(_without_points(preset, faces[0].network))
    crops: list[Crop] = module.cut(picture, faces)
    return crops


def remark(preset: str, network: str) -> str:
    """What a manifest says of how the preset treats faces of this kind of network; empty where there is nothing."""
    of_preset = getattr(find(preset), "remark", None)
    return str(of_preset(network)) if of_preset else ""


def summary(preset: str) -> str:
    """What the preset cuts out, in words: the first sentence of its module's docstring, without the full stop."""
    return " ".join(str(find(preset).__doc__).split("\n\n", maxsplit=1)[0].split()).rstrip(".")


def is_of_faces(preset: str) -> bool:
    """Whether a face finder is needed."""
    return preset != NO_CROP
