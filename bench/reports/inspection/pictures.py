"""What an inspection shows, as pictures: uint8 RGB [h, w, 3], by the name of their file below steps/."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from bench.records.inspection import Inspection, Look, Stage
from bench.reports.pictures.overlay import draw

if TYPE_CHECKING:
    from numpy.typing import NDArray

STAGE_SIDE, THUMBNAIL = 190, 112
"""Pixels of a side of what stands in the journey's table, as a file and in the page."""
LONGEST = 1280
"""Pixels of the longest side of the picture that was given, as it is shown."""
_BOX, _POINT, _OUTLINE = (255, 217, 59), (56, 232, 255), (255, 255, 255)

MAP, AGREED = "map", "agreed"
STEPS = ("a_input", "b_crop", "c_preprocessing", "d_journey", "e_evidence")
"""The folders of pictures of an inspection."""


def folder_of(name: str) -> str:
    """A variant or a part of a network as the name of a folder."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name).strip(".") or "_"


def of_input(inspected: Inspection) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Steps A to C: the picture, the face in it, what is judged, and what the network reads."""
    subject, prepared = inspected.subject, inspected.network_input
    yield "a_input/original.png", _reduced(subject.pixels)
    if subject.face is not None:
        yield "a_input/face.png", _reduced(_with_face(inspected))
    yield "b_crop/frame.png", _reduced(subject.frame)
    if subject.points is not None:
        yield "b_crop/parts.png", _with_outlines(subject.fitted, subject.points)
    yield "c_preprocessing/before.png", subject.fitted
    yield "c_preprocessing/after.png", _planes(prepared.after, prepared.colours)
    if prepared.approximation is not None:
        yield "c_preprocessing/low_band.png", _planes(prepared.approximation, prepared.colours)


def of_look(inspected: Inspection, look: Look) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Step E: the variant's map, the maps of each level, and what they agree on."""
    pixels, fake, folder = inspected.subject.fitted, look.target == "fake", f"e_evidence/{folder_of(look.judge.name)}"
    yield f"{folder}/{MAP}.png", overlay(pixels, look.heat, fake)
    for number, level in enumerate(look.journey.levels[: max(look.levels, 1)], 1):
        yield f"{folder}/level_{number}.png", overlay(pixels, level, fake)
    if look.agreed is not None:
        yield f"{folder}/{AGREED}.png", overlay(pixels, look.agreed, fake)


def of_stage(inspected: Inspection, look: Look, stage: Stage) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Step D: a part of the network; `activation` and `overlay` as far as there are such."""
    folder = f"d_journey/{folder_of(look.judge.name)}/{folder_of(stage.name)}"
    if stage.activation is not None:
        yield f"{folder}/activation.png", coloured(stage.activation, STAGE_SIDE)
    if stage.heat is not None:
        small = _resized(inspected.subject.fitted, STAGE_SIDE)
        yield f"{folder}/overlay.png", overlay(small, stage.heat, look.target == "fake")


def overlay(pixels: NDArray[np.uint8], heat: NDArray[np.floating] | None, fake: bool) -> NDArray[np.uint8]:
    """A frame under what speaks for a class, from nothing to the strongest place of this map."""
    signed = None if heat is None else np.asarray(heat if fake else -heat, np.float32)
    strongest = 1.0 if heat is None else float(heat.max(initial=0)) or 1.0
    return np.asarray(draw(pixels, signed, fake, strongest).convert("RGB"))


def coloured(values: NDArray[np.floating], side: int) -> NDArray[np.uint8]:
    """Numbers [h, w] from their smallest to their largest, dark to light (viridis), each a square of pixels."""
    import cv2

    low, high = float(values.min()), float(values.max())
    scaled = np.zeros(values.shape, np.uint8) if high <= low else ((values - low) / (high - low) * 255).astype(np.uint8)
    height, width = (max(1, round(side * count / max(values.shape))) for count in values.shape)
    nearest = cv2.resize(scaled, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.ascontiguousarray(cv2.applyColorMap(nearest, cv2.COLORMAP_VIRIDIS)[..., ::-1])


def as_png(picture: NDArray[np.uint8]) -> bytes:
    import cv2

    written, data = cv2.imencode(".png", picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 3])
    assert written
    return data.tobytes()


def data_uri(picture: NDArray[np.uint8], side: int, quality: int = 82) -> str:
    """The picture with its longest side at most `side` pixels, as a JPEG in the page."""
    from PIL import Image

    image = Image.fromarray(picture)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _planes(planes: NDArray[np.float32], colours: Sequence[str]) -> NDArray[np.uint8]:
    """What a network reads as a picture, from its smallest number, black, to its largest."""
    rgb = np.stack([planes[list(colours).index(colour)] for colour in ("red", "green", "blue")], axis=-1)
    low, high = float(rgb.min()), float(rgb.max())
    return ((rgb - low) / max(high - low, 1e-9) * 255).round().astype(np.uint8)


def _with_face(inspected: Inspection) -> NDArray[np.uint8]:
    """The picture with the face's box and its five points."""
    import cv2

    face, picture = inspected.subject.face, inspected.subject.pixels.copy()
    assert face is not None
    width = max(1, round(max(picture.shape[:2]) / 250))
    x0, y0, x1, y1 = (round(edge) for edge in face.box)
    cv2.rectangle(picture, (x0, y0), (x1, y1), _BOX, width)
    for x, y in face.points:
        cv2.circle(picture, (round(x), round(y)), 2 * width, _POINT, -1)
    return picture


def _with_outlines(pixels: NDArray[np.uint8], points: Sequence[tuple[float, float]]) -> NDArray[np.uint8]:
    """A fitted frame, twice as large where it is small, with the outlines of the parts of the face."""
    import cv2

    scale = max(1, round(380 / len(pixels)))
    picture = _resized(pixels, scale * len(pixels))
    from bench.records.face_template import outlines

    for polygons in outlines(points).values():
        for polygon in polygons:
            cv2.polylines(picture, [(polygon * scale).round().astype(np.int32)], True, _OUTLINE, 1, cv2.LINE_AA)
    return picture


def _reduced(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return _resized(picture, LONGEST) if max(picture.shape[:2]) > LONGEST else picture


def _resized(picture: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    import cv2

    factor = longest / max(picture.shape[:2])
    size = (max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[0] * factor)))
    return np.array(cv2.resize(picture, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR))
