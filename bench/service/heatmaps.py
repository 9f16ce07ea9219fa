"""Heatmaps of an answer as base64: over what was judged, and alone."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from bench.inference.joint_maps import moved
from bench.reports.pictures.overlay import draw, shades, supporting

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from bench.inference.served import Served
    from bench.service.engine import Judged

LONGEST_PX = 640
"""Of what is sent back: networks see no more of it."""


@dataclass(frozen=True)
class Pictures:
    """Base64: the crop as JPEG, the map over it as PNG, the map alone and each member's as PNG with transparency."""

    crop: str
    overlay: str
    heatmap: str | None
    by_member: dict[str, str]


def pictures(
    pixels: NDArray[np.uint8],
    joint: NDArray[np.floating] | None,
    by_member: dict[str, NDArray[np.float32]],
    fake: bool,
) -> Pictures:
    """What was judged, uint8 RGB [h, w, 3], and what of its maps [h, w] speaks for the class that it is called."""
    size = (pixels.shape[1], pixels.shape[0])
    scale = 1.0 if joint is None else float(supporting(joint, fake).max(initial=0)) or 1.0
    return Pictures(
        base64.b64encode(jpeg(pixels)).decode(),
        _encoded(draw(pixels, joint, fake, scale)),
        None if joint is None else _encoded(alone(joint, fake, size)),
        {name: _encoded(alone(each, fake, size)) for name, each in by_member.items()},
    )


def placed(served: Served, judged: Judged) -> dict[str, NDArray[np.float32] | None]:
    """The members' maps, each over the crop of the first member: others may cut a face out more widely, or fit less."""
    onto = next(iter(judged.crops.values()))
    specs = {member.name: member.preprocessing.input_spec for member in served.members}
    return {
        name: cam if cam is None else moved(cam, judged.crops[name], specs[name], onto)
        for name, cam in judged.maps.items()
    }


def joint(
    served: Served, judged: Judged, maps: Mapping[str, NDArray[np.float32] | None]
) -> NDArray[np.floating] | None:
    """The map of all members together, of theirs as they lie over the first one's crop."""
    answers = [judged.by_member.get(name, math.nan) for name in served.names]
    return served.joint_map([maps.get(name) for name in served.names], answers)


def small(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture with at most `LONGEST_PX` on its longest side."""
    import numpy as np
    from PIL import Image

    image = Image.fromarray(crop)
    image.thumbnail((LONGEST_PX, LONGEST_PX))
    return np.asarray(image)


def jpeg(pixels: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return file.getvalue()


def alone(cam: NDArray[np.floating], fake: bool, size: tuple[int, int]) -> Image:
    """What of a signed map speaks for a class, RGBA of this (width, height), clear where nothing does."""
    import numpy as np
    from PIL import Image

    scale = float(supporting(cam, fake).max(initial=0))
    if not scale > 0:
        return Image.new("RGBA", size)
    colour, alpha = shades(cam, fake, scale, size)
    return Image.fromarray(np.concatenate([colour, 255 * alpha], axis=-1).round().astype(np.uint8))


def png(image: Image) -> bytes:
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _encoded(image: Image) -> str:
    return base64.b64encode(png(image)).decode()
