"""Uploads, which are strangers': what they are is told by their content, and how large they may be is known before."""

from __future__ import annotations

import re
from io import BytesIO
from typing import TYPE_CHECKING

from bench.datasets.decoding import opened_picture, picture_of
from bench.errors import UserError
from bench.service.refusals import RefusedError

if TYPE_CHECKING:
    import numpy as np
    from fastapi import UploadFile
    from numpy.typing import NDArray

READABLE = "JPEG, PNG, WebP, BMP, GIF, TIFF, JPEG 2000, AVIF or PPM"
_MIB = 2**20
_UNSAFE = re.compile(r"[^\w .()+=@-]+")
_MOST_NAME = 100
_LONGEST_PX = 32_766
"""OpenCV, which cuts faces out, counts pixels of a side with 16 bits."""


def clean_name(name: str | None, default: str = "upload") -> str:
    """The last part of a file's name with letters, digits and a few signs alone; a path in it leads nowhere."""
    last = (name or "").replace("\\", "/").rpartition("/")[2]
    return _UNSAFE.sub("_", last).strip(" .")[-_MOST_NAME:] or default


async def read(upload: UploadFile, most_mib: float) -> bytes:
    """The content of an upload. Raises `RefusedError` where it is empty or too large."""
    data = await upload.read(int(most_mib * _MIB) + 1)
    if len(data) > most_mib * _MIB:
        raise RefusedError(
            413, f"the file is larger than {most_mib:g} MiB, the limit of this service; send a smaller one"
        )
    if not data:
        raise RefusedError(422, f"the file is empty; expected a picture: {READABLE}")
    return data


def picture(data: bytes, megapixels: float) -> NDArray[np.uint8]:
    """The pixels of a picture, uint8 RGB [h, w, 3], upright. Raises `RefusedError` where it is none, or too large.

    Its size is read from its header before a pixel is decoded. An animation is refused: which of its pictures is meant,
    nobody said. Further pictures of a photograph (MPO: a depth map, a preview) are left aside.
    """
    width, height = _inspected(data)
    if width * height > megapixels * 1e6:
        raise RefusedError(
            413, f"the picture has {width} × {height} pixels, more than {megapixels:g} million; send a smaller one"
        )
    if max(width, height) > _LONGEST_PX:
        raise RefusedError(
            413, f"the picture has {width} × {height} pixels, a side of more than {_LONGEST_PX:,}; send a smaller one"
        )
    try:
        return picture_of(data)
    except UserError as error:
        raise RefusedError(422, str(error)) from error


def _inspected(data: bytes) -> tuple[int, int]:
    """Width and height as the header says."""
    from PIL import Image, UnidentifiedImageError

    try:
        with opened_picture(BytesIO(data)) as opened:
            # Whether there is a second one: to count them all takes a TIFF of many pages minutes.
            is_several = opened.format != "MPO" and bool(getattr(opened, "is_animated", False))
            size = opened.size
    except MemoryError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise RefusedError(413, "the picture has too many pixels to be decoded; send a smaller one") from error
    except UnidentifiedImageError as error:
        raise RefusedError(415, f"the file is no picture; expected {READABLE}, told by its content") from error
    except Exception as error:  # whatever a decoder says, it is about this upload
        raise RefusedError(422, f"the picture can't be read; expected {READABLE}, whole") from error
    if is_several:
        raise RefusedError(422, "the file holds several pictures; send one alone, or a video to /api/video/detect")
    return int(size[0]), int(size[1])
