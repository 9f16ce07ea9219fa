"""Pictures to uint8 RGB of an `InputSpec`, decoded ahead of whoever reads them."""

from __future__ import annotations

import importlib
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from bench import stored
from bench.datasets import degradations
from bench.datasets.appearance import Appearance, appearance
from bench.datasets.headers import READABLE, further_format
from bench.errors import UserError
from bench.provenance import versions
from bench.records import AnySpec, DegradedSpec, Frame, InputSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

Look: TypeAlias = "Callable[[Frame, Appearance], None]"

VERSION = 2
"""Raised whenever the same file would be decoded to other pixels."""

LIBRARIES = ("opencv-python-headless", "pillow")

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "JPEG2000", "AVIF", "PPM")
"""Pillow's names of the formats that are read. No other is ever opened: for EPS and others, Pillow starts programs."""
_PLUGINS = ("Jpeg", "Png", "WebP", "Bmp", "Gif", "Tiff", "Jpeg2K", "Avif", "Ppm")
_ORIENTATION = 0x0112  # EXIF tag
_TRANSPOSED = 5  # from this orientation on, width and height change places
LONGEST = 16
"""`crop` resizes at most so many squares in a row: a strip of one pixel's height would fill the memory."""


def decoder_versions() -> dict[str, str]:
    """What turns files into pixels, by version, for ids and keys."""
    return {"version": str(VERSION), **versions(LIBRARIES)}


def decode(file: Path, spec: InputSpec) -> NDArray[np.uint8]:
    """One frame as RGB, uint8 [size, size, 3].

    The camera's orientation is applied, of an animation the first picture is taken, 16-bit greys
    are scaled to 8, and transparency is dropped, as `cv2.imread` does, not blended over a colour.
    A file that can't be decoded raises `UserError`.
    """
    return _fitted(file, [spec])[spec]


def picture(file: Path) -> NDArray[np.uint8]:
    """A picture of any size as RGB, uint8 [height, width, 3], otherwise as `decode`."""
    with _naming(file):
        return _decoded(file)[0]


def picture_of(data: bytes) -> NDArray[np.uint8]:
    """The same of the content of a file that nobody named; `UserError` where it can't be decoded."""
    try:
        return _decoded(BytesIO(data))[0]
    except MemoryError:
        raise
    except Exception as error:
        raise UserError(f"the picture can't be decoded: {_reason(error)}; send it whole") from error


def opened_picture(source: BinaryIO) -> Image.Image:
    """A picture of which the header alone is read yet; whatever Pillow raises where it is none of `FORMATS`."""
    return _opened(source)


def shown_size(file: Path) -> tuple[int, int]:
    """Width and height in pixels, the camera's orientation applied, from the header alone; `UserError` as `decode`."""
    with _naming(file), stored.open_file(file) as source, _opened(source) as opened:
        width, height = opened.size
        return (height, width) if opened.getexif().get(_ORIENTATION, 1) >= _TRANSPOSED else (width, height)


@contextmanager
def _naming(file: Path) -> Iterator[None]:
    """Whatever a decoder says is about this file."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        raise _undecodable(file, error) from error


def _undecodable(file: Path, error: Exception) -> UserError:
    return UserError(f"{file}: can't be decoded: {_reason(error)}. Expected {READABLE}; replace it")


def _reason(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "no picture, or its header is broken"  # Pillow's own words name an object of Python
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).strip()


def _fitted(
    file: Path, specs: Iterable[AnySpec], look: Callable[[Appearance], None] | None = None
) -> dict[AnySpec, NDArray[np.uint8]]:
    """A file decoded once, re-compressed once for each degradation, and fitted to each spec.

    `look` is given what the picture looks like.
    """
    with _naming(file):
        frame, tables = _decoded(file)
        if look:
            look(appearance(frame, tables))
        fitted = {spec: fit(frame, spec) for spec in specs if isinstance(spec, InputSpec)}
    return fitted | _degraded(file, frame, [spec for spec in specs if isinstance(spec, DegradedSpec)])


def _degraded(file: Path, frame: NDArray[np.uint8], specs: Sequence[DegradedSpec]) -> dict[AnySpec, NDArray[np.uint8]]:
    """A decoded frame re-compressed once for each degradation, and fitted to each spec of that."""
    fitted: dict[AnySpec, NDArray[np.uint8]] = {}
    for degradation in dict.fromkeys(spec.degradation for spec in specs):
        try:
            degraded = degradations.degraded(frame, degradation)
        except MemoryError:
            raise
        except Exception as error:  # whatever the encoder says, it is about this frame
            reason = str(error) or type(error).__name__
            raise UserError(
                f"{file}: {degradation.title} can't be applied: {reason}; leave it out of `robustness:`, or the file"
            ) from error
        fitted |= {spec: fit(degraded, spec.spec) for spec in specs if spec.degradation == degradation}
    return fitted


def fault(data: bytes) -> str:
    """Why the bytes of a file can't be decoded; empty where they can."""
    from PIL import UnidentifiedImageError

    try:
        _decoded(BytesIO(data))
    except MemoryError:
        raise
    except UnidentifiedImageError:
        return "can't be decoded: broken header"
    except Exception as error:  # whatever the decoder says, it is about this file
        return f"can't be decoded: {str(error) or type(error).__name__}".replace("\n", " ")
    return ""


def size_of(data: bytes) -> tuple[int, int]:
    """Width and height in pixels of a picture of a further format; ValueError where Pillow can't read its header."""
    try:
        with _opened(BytesIO(data)) as picture:
            width, height = picture.size
            return int(width), int(height)
    except MemoryError:
        raise
    except Exception as error:  # whatever the decoder says, it is about this file
        raise ValueError(f"can't be decoded: broken {further_format(data)} header") from error


def is_mask(data: bytes) -> bool:
    """Whether a sound picture holds two greys alone, as masks of forged regions do; one channel may hold a single one.

    JPEG and WebP files are none: their compression leaves more values.
    """
    import numpy as np

    is_png = data[:8] == b"\x89PNG\r\n\x1a\n"
    in_colour = is_png and data[25] not in (0, 3)  # its colour type: neither grey nor palette
    if in_colour and 8 * len(data) > int.from_bytes(data[16:20], "big") * int.from_bytes(data[20:24], "big"):
        return False  # no photograph takes less than a bit for a pixel, and few files are decoded once more
    if not is_png and not further_format(data):
        return False
    with _opened(BytesIO(data)) as picture:
        if len(picture.getbands()) > 1 and not in_colour:
            return False
        values = np.atleast_3d(np.asarray(picture.convert("RGB") if in_colour else picture))
    grey = values[..., :1]
    low, high = grey.min(), grey.max()
    is_grey = bool((values == grey).all() and ((grey == low) | (grey == high)).all())
    return is_grey and bool(low < high or not in_colour)


def read_batches(
    frames: Sequence[Frame], spec: InputSpec, batch_size: int, *, threads: int = 2
) -> Iterator[NDArray[np.uint8]]:
    """uint8 RGB batches [n, 3, size, size] in the order of `frames`; the last may be smaller. See `read_for_each`."""
    with closing(read_for_each(frames, [spec], batch_size, threads=threads)) as batches:
        for batch in batches:
            yield batch[spec]


def read_for_each(
    frames: Sequence[Frame], specs: Sequence[AnySpec], batch_size: int, *, threads: int = 2, look: Look | None = None
) -> Generator[dict[AnySpec, NDArray[np.uint8]], None, None]:
    """Batches of frames, each decoded once, as every spec has them: uint8 RGB [n, 3, size, size] by spec.

    They come in the order of `frames`, and the last may be smaller. A frame is re-compressed once for all specs with
    the same degradation. `look` is given what every frame looks like, in the threads that decode.

    `threads` decode while the caller computes, at most one batch ahead of it, so memory does not
    grow with the number of frames. They end with the iterator, also when it is left early.

    One batch ahead is enough, however many variants a caller gives it to: either the threads finish it while the
    caller is busy, and then computing is the limit, or they never rest, and then decoding is. More would only even
    out frames that differ much in size, for as much memory again.
    """
    import numpy as np

    pending: deque[Future[None]] = deque()
    batches: deque[dict[AnySpec, NDArray[np.uint8]]] = deque()
    pool = ThreadPoolExecutor(threads, "decode")
    submitted = 0
    try:
        for start in range(0, len(frames), batch_size):
            for _ in frames[start : start + batch_size]:
                while submitted < len(frames) and len(pending) < batch_size + threads:
                    if submitted % batch_size == 0:
                        count = min(batch_size, len(frames) - submitted)
                        batches.append({spec: np.empty((count, 3, spec.size, spec.size), np.uint8) for spec in specs})
                    slots = {spec: batch[submitted % batch_size] for spec, batch in batches[-1].items()}
                    pending.append(pool.submit(_decode_into, slots, frames[submitted], look))
                    submitted += 1
                pending.popleft().result()
            yield batches.popleft()
    finally:
        pool.shutdown(cancel_futures=True)


def _decode_into(slots: Mapping[AnySpec, NDArray[np.uint8]], frame: Frame, look: Look | None) -> None:
    """In the thread that decodes: whoever reads the batches need not copy frames together."""
    for spec, picture in _fitted(frame.file, slots, partial(look, frame) if look else None).items():
        slots[spec][...] = picture.transpose(2, 0, 1)


def _opened(source: BinaryIO) -> Image.Image:
    """A picture whose header is read, of one of `FORMATS`.

    One of very many pixels raises Pillow's `DecompressionBombError`; itself it warns of these, and raises of twice as
    many.
    """
    image = _pillow()
    picture: Image.Image = image.open(source, formats=FORMATS)
    pixels = picture.width * picture.height
    if image.MAX_IMAGE_PIXELS is not None and pixels > image.MAX_IMAGE_PIXELS:
        picture.close()
        raise image.DecompressionBombError(
            f"Image size ({pixels} pixels) exceeds limit of {image.MAX_IMAGE_PIXELS} pixels, could be decompression "
            "bomb DOS attack."
        )
    return picture


def _decoded(file: Path | BytesIO) -> tuple[NDArray[np.uint8], Mapping[int, Sequence[int]] | None]:
    """A picture as RGB, uint8 [height, width, 3], and the quantisation tables of a JPEG, None of others."""
    import numpy as np
    from PIL import ImageOps

    # Opened here: a pipe in a frame's place would be waited for.
    source = stored.open_file(file) if isinstance(file, Path) else file
    with source, _opened(source) as picture:
        tables = getattr(picture, "quantization", None)
        if picture.getexif().get(_ORIENTATION, 1) != 1:
            ImageOps.exif_transpose(picture, in_place=True)
        picture.info.pop("transparency", None)  # dropped anyway, but of some palettes Pillow would warn
        return np.asarray(_eight_bit(picture).convert("RGB")), tables


def _eight_bit(picture: Image.Image) -> Image.Image:
    """16-bit greys scaled by 255/65535; Pillow's own conversion would clip them.

    `ValueError` for numbers of which nobody knows what is white.
    """
    import numpy as np
    from PIL import Image

    if picture.mode == "F":
        raise ValueError("its pixels are floating-point numbers; expected 8 or 16 bits a channel")
    if not picture.mode.startswith("I"):
        return picture
    wide = np.asarray(picture)
    if wide.size and not 0 <= int(wide.min()) <= int(wide.max()) <= 65535:
        raise ValueError("its pixels have 32 bits; expected 8 or 16 bits a channel")
    return Image.fromarray(((wide.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))


def fit(frame: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.uint8]:
    """RGB of any size, uint8 [height, width, 3], as the network takes it, [size, size, 3]."""
    size, (height, width) = spec.size, frame.shape[:2]
    if (height, width) == (size, size) and (spec.fit, spec.crop_pct < 1) != ("crop", True):
        return frame
    if spec.fit == "stretch":
        return _resized(frame, size, size, spec)
    if spec.fit == "crop":
        frame = _middle(frame)
        height, width = frame.shape[:2]
        # The long side is cut to whole pixels and the offsets rounded as torchvision does.
        short, target = min(height, width), int(size / spec.crop_pct)
        tall, wide = int(target * height / short), int(target * width / short)
        top, left = round((tall - size) / 2), round((wide - size) / 2)
        return _resized(frame, tall, wide, spec)[top : top + size, left : left + size]
    long = max(height, width)

    def shortened(side: int) -> int:
        """To whole pixels, as the code that pads so: the DFDC winner's, and that before it."""
        if side == long:
            return size
        return max(1, int(side * (size / long)) if spec.pad == "centre" else side * size // long)

    return _padded(_resized(frame, shortened(height), shortened(width), spec), spec)


def _middle(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The middle of a picture more than `LONGEST` times as long as it is wide; any other as it is."""
    short, middle = min(frame.shape[:2]), []
    for side in frame.shape[:2]:
        cut = max(0, side - LONGEST * short) // 2  # as much on either side, so that the middle stays where it was
        middle.append(slice(cut, side - cut))
    return frame[tuple(middle)]


def _padded(frame: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.uint8]:
    import numpy as np

    square = np.zeros((spec.size, spec.size, 3), dtype=np.uint8)
    height, width = frame.shape[:2]
    top, left = ((spec.size - height) // 2, (spec.size - width) // 2) if spec.pad == "centre" else (0, 0)
    square[top : top + height, left : left + width] = frame
    return square


def _resized(frame: NDArray[np.uint8], height: int, width: int, spec: InputSpec) -> NDArray[np.uint8]:
    import numpy as np

    name = spec.filter_for(larger=max(height, width) > max(frame.shape[:2]))
    if name.startswith("pil-"):
        image = _pillow()
        filters = {"pil-bilinear": image.Resampling.BILINEAR, "pil-bicubic": image.Resampling.BICUBIC}
        return np.asarray(image.fromarray(frame).resize((width, height), filters[name]))
    cv2 = _opencv()
    filters = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC, "area": cv2.INTER_AREA}
    return np.asarray(cv2.resize(frame, (width, height), interpolation=filters[name]), dtype=np.uint8)


@cache
def _pillow() -> ModuleType:
    """Pillow's `Image`, silent: what it warns of (odd EXIF data, transparency) is mended or said by us of a file.

    Set once for the process, since `warnings.catch_warnings` is not for threads.
    """
    from PIL import Image

    for name in _PLUGINS:  # or Pillow would load all of its plugins to look for these
        importlib.import_module(f"PIL.{name}ImagePlugin")
    warnings.filterwarnings("ignore", module=r"PIL\.")
    return Image


@cache
def _opencv() -> ModuleType:
    """OpenCV without threads of its own: there are enough frames to go round, and the model needs the cores."""
    import cv2

    cv2.setNumThreads(1)
    return cv2
