"""One picture as the network saw it, with what speaks for its class, in a frame that says whether it is right."""

from __future__ import annotations

import hashlib
import re
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from bench.files import write_bytes
from bench.records import CLASSES, class_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LONGEST_NAME, _LEAST_SIDE = 60, 224


def name_of(file: str, frame: int | None, face: int | None) -> str:
    """What the heatmap of a picture is called: like its file, with digits that no other file has."""
    path = Path(file)
    stem = re.sub(r"[^A-Za-z0-9_-]", "_", path.stem)[:_LONGEST_NAME]
    code = hashlib.sha256(file.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    parts = [stem, code, *([f"frame{frame:06d}"] if frame is not None else [])]
    return "-".join([*parts, *([f"face{face}"] if face is not None else [])]) + ".jpg"


def draw(
    file: Path,
    pixels: NDArray[np.uint8],
    cam: NDArray[np.floating],
    p_fake: float,
    threshold: float,
    label: int | None,
) -> None:
    """Write the heatmap of a frame, uint8 RGB [3, size, size], for the class that it is called, as a JPEG.

    `cam` [h, w] is its signed map. Small frames are enlarged, so that what stands below them can be read.
    """
    from PIL import Image

    from bench.reports.pictures.overlay import draw as overlay
    from bench.reports.pictures.overlay import supporting
    from bench.reports.predictions.frames import framed

    called = class_of(p_fake, threshold)
    image = Image.fromarray(pixels.transpose(1, 2, 0))
    if image.width < _LEAST_SIDE:
        image = image.resize((_LEAST_SIDE, _LEAST_SIDE), Image.Resampling.BICUBIC)
    scale = float(supporting(cam, called == "fake").max(initial=0)) or 1.0
    drawn = overlay(_array(image), cam, called == "fake", scale)
    truth = None if label is None else CLASSES[label]
    content = BytesIO()
    framed(drawn.convert("RGB"), called, truth, p_fake).save(content, "JPEG", quality=90)
    write_bytes(file, content.getvalue())


def _array(image: object) -> NDArray[np.uint8]:
    import numpy as np

    return np.asarray(image, np.uint8)
