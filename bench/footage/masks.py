"""Masks of videos: what was forged in each frame, cut, scaled and turned as the frame is.

The masks of a video are a video of as many frames, or a folder of pictures that are called by the numbers of frames:
0003.png, or 012_345_0003.png, is that of frame 3. Forged is what is brighter than half in any channel.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bench import stored
from bench.files import make_folder, remove
from bench.footage import crops, video
from bench.footage.formats import VideoError
from bench.footage.outcomes import Row
from bench.footage.video import Damage, Picture, UnorderedError
from bench.provenance import digest
from bench.records import Face, Video

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FOLDER = "masks"
_HALF = 127
_MOST_BYTES = 256 * stored.MIB
_NUMBER = re.compile(r"(\d+)$")
_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


class _MasksError(Exception):
    """Why the masks of a video are not those of its frames."""


class _Masks(Protocol):
    def of(self, number: int) -> NDArray[np.uint8] | None:
        """The mask of a frame, uint8 RGB [h, w, 3]; None where there is none. Numbers rise."""
        ...


def path_of(row: Row) -> str:
    """The file of a crop's mask, below the folder of its video's frames."""
    return f"{FOLDER}/{Path(row.name).stem}.png"


def as_videos(videos: Sequence[Video]) -> list[Video]:
    """The mask videos of these videos, each once, as videos themselves: to be read for their content."""
    files = dict.fromkeys(each.mask for each in videos if each.mask and Path(each.mask).is_file())
    stats = {file: Path(file).stat() for file in files}
    return [
        Video(f"the mask {Path(file).name}", file, None, None, "", stat.st_size, stat.st_mtime_ns)
        for file, stat in stats.items()
    ]


def with_states(videos: Sequence[Video], contents: Mapping[str, str]) -> list[Video]:
    """The videos with what tells one state of their masks from another.

    `contents` are digests of mask videos, where these were read; other masks are told by sizes and times of change.
    """
    return [
        replace(each, mask_state=contents.get(each.mask) or _state(Path(each.mask))) if each.mask else each
        for each in videos
    ]


def _state(path: Path) -> str:
    """A digest of the name, size and time of change of a file, or of each file in a folder."""
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        stats = [(file.name, file.stat()) for file in files]
    except OSError as error:
        return digest([str(error.strerror)])
    return digest([[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats])


class MaskWriter:
    """Writes the masks of a video's crops. `problem` is why they are not used, empty where nothing is wrong."""

    def __init__(self, source: Path | None, folder: Path, preset: str) -> None:
        """`source` is None for a video without masks; `folder` is that of its crops, which `preset` cuts out."""
        self._source, self._folder, self._preset = source, folder / FOLDER, preset
        self._masks: _Masks | None = None
        self.problem = ""

    def open(self, numbers: Sequence[int], count: int, tick: Callable[[], object]) -> None:
        """Begin to read the masks of the frames of these rising numbers, of `count` that the video has."""
        if self._source is None:
            return
        try:
            if self._source.is_dir():
                self._masks = _OfPictures(self._source)
            else:
                self._masks = _OfVideo(self._source, numbers, count, tick)
        except (VideoError, _MasksError, OSError) as error:
            self.problem = str(error)

    def write(self, picture: Picture, faces: Sequence[Face], rows: list[Row]) -> list[Row]:
        """The rows of a frame's crops, marked where a mask was written for them."""
        if self._masks is None or self.problem or not rows:
            return rows
        try:
            mask = self._masks.of(picture.number)
            fitted = None if mask is None else _fitted(mask, picture.pixels.shape[:2])
        except UnorderedError:
            self.problem = "its frames come in another order than their times say"
            return rows
        except (VideoError, _MasksError, OSError) as error:
            self.problem = str(error)
            return rows
        if fitted is None:
            return rows
        make_folder(self._folder)
        for row, crop in zip(rows, crops.crop(self._preset, fitted, faces), strict=True):
            (self._folder.parent / path_of(row)).write_bytes(_encoded(crop.pixels))
        return [replace(row, mask=True) for row in rows]

    def checked(self, rows: Sequence[Row]) -> tuple[Row, ...]:
        """All rows of the video: where a mask proved to be none of its frames, no mask of it counts."""
        if not self.problem:
            return tuple(rows)
        remove(self._folder)
        return tuple(replace(row, mask=False) for row in rows)


class _OfVideo:
    """Masks that are the frames of a video."""

    def __init__(self, file: Path, numbers: Sequence[int], count: int, tick: Callable[[], object]) -> None:
        line = video.timeline(file, tick)
        if line.count != count:
            raise _MasksError(f"{line.count} frames, where the video has {count}")
        self._pictures = video.decode(file, line, numbers, Damage(), tick=tick)
        self._last: Picture | None = None

    def of(self, number: int) -> NDArray[np.uint8] | None:
        while self._last is None or self._last.number < number:
            self._last = next(self._pictures, None)
            if self._last is None:
                return None
        return self._last.pixels if self._last.number == number else None


class _OfPictures:
    """Masks that are pictures in a folder, by the number at the end of their names."""

    def __init__(self, folder: Path) -> None:
        """Raise `_MasksError` where two pictures are of one frame, or none is of any."""
        self._files: dict[int, Path] = {}
        for name in sorted(os.listdir(folder)):  # noqa: PTH208 - names are enough
            path = folder / name
            number = _NUMBER.search(path.stem)
            if name.startswith(".") or path.suffix.lower() not in _ENDINGS or number is None:
                continue
            other = self._files.setdefault(int(number[1]), path)
            if other != path:
                raise _MasksError(f"{other.name} and {name} are both of frame {int(number[1])}")
        if not self._files:
            raise _MasksError("no picture in it is called by the number of a frame, such as 0003.png")

    def of(self, number: int) -> NDArray[np.uint8] | None:
        """The picture of a frame; `_MasksError` where it can't be read."""
        import cv2
        import numpy as np

        file = self._files.get(number)
        if file is None:
            return None
        try:
            data = stored.read_bytes(file, _MOST_BYTES)
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        except (stored.DamagedError, cv2.error) as error:
            raise _MasksError(f"{file.name} can't be read") from error
        if pixels is None:
            raise _MasksError(f"{file.name} can't be read")
        return np.ascontiguousarray(pixels[..., ::-1], np.uint8)


def _fitted(mask: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """A mask in the size of its frame [h, w], to whose proportion it has to be, to one pixel."""
    import cv2
    import numpy as np

    (height, width), (mask_height, mask_width) = shape, mask.shape[:2]
    if (mask_height, mask_width) == (height, width):
        return mask
    if abs(mask_height * width / height - mask_width) > 1 and abs(mask_width * height / width - mask_height) > 1:
        raise _MasksError(f"{mask_width} × {mask_height} pixels, where the video has {width} × {height}")
    return np.asarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def _encoded(pixels: NDArray[np.uint8]) -> bytes:
    """The PNG of a mask, black and white, of what was cut out of it."""
    import cv2
    import numpy as np

    forged = np.where(pixels.max(axis=2) > _HALF, np.uint8(255), np.uint8(0))
    written, data = cv2.imencode(".png", forged)
    if not written:
        raise VideoError(f"a mask of {pixels.shape[1]} × {pixels.shape[0]} pixels can't be written")
    return data.tobytes()
