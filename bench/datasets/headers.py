"""Width and height of JPEG, PNG and WebP files from their bytes, and whether the file is all there.

Nothing is decoded, so a picture that would fill the memory is refused unseen. Formats: ITU-T T.81
annex B, the PNG specification section 5 and 11.2, RFC 9649. Of further formats, only the first bytes are known here:
Pillow reads their headers.
"""

from __future__ import annotations

import re
import zlib

# Start-of-frame markers; C4, C8 and CC lie among them and mean something else.
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_STANDALONE_MARKERS = frozenset(range(0xD0, 0xD9)) | {0x01}
_SCAN, _END = 0xDA, b"\xff\xd9"
_FURTHER = re.compile(
    rb"(?P<BMP>BM)|(?P<GIF>GIF8[79]a)|(?P<TIFF>II[*+]\0|MM\0[*+])|(?P<JPEG_2000>\0\0\0\x0cjP  |\xff\x4f\xff\x51)"
    rb"|(?P<AVIF>.{4}ftypavi[fs]|.{4}ftypmi[fa]1.{4}.*?avif)|(?P<PNM>P[1-6]\s)",
    re.DOTALL,
)
_STRANGERS = re.compile(
    rb"(?P<EPS>%!PS|\xc5\xd0\xd3\xc6)|(?P<PDF>%PDF)|(?P<Photoshop>8BPS)|(?P<JPEG_XL>\xff\x0a|\0\0\0\x0cJXL )"
    rb"|(?P<HEIC>.{4}ftyp(?:hei|hev|mif1|msf1))|(?P<a_video>.{4}ftyp|\x1aE\xdf\xa3|RIFF.{4}AVI )"
    rb"|(?P<a_float_map>P[fF]\s)"
    rb"|(?P<a_web_page_or_XML>\s*<)|(?P<a_ZIP_archive>PK\x03\x04)|(?P<a_NumPy_array>\x93NUMPY)",
    re.DOTALL,
)
READABLE = "a JPEG, PNG, WebP, BMP, GIF, TIFF, JPEG 2000, AVIF or PNM picture"


def further_format(data: bytes) -> str:
    """The format of a picture that Pillow alone can tell the size of, by its first bytes; "" for any other file."""
    match = _FURTHER.match(data[:64])
    return str(match.lastgroup).replace("_", " ") if match else ""


def dimensions(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels of a whole JPEG, PNG or WebP file, None for a picture of a further format.

    `ValueError` says what is wrong with it.
    """
    try:
        if data[:3] == b"\xff\xd8\xff":
            return _jpeg(data)
        if data[:8] == b"\x89PNG\r\n\x1a\n":
            return _png(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data)
    except IndexError:
        raise ValueError("cut off within its header") from None
    if further := further_format(data):
        # What OpenJPEG makes of half a file is a picture; data never holds an end marker, as in JPEG.
        if further == "JPEG 2000" and _END not in data:
            raise ValueError("JPEG 2000 cut off: no end marker")
        return None
    raise ValueError(_stranger(data))


def _stranger(data: bytes) -> str:
    """What a file is that is no frame, where its first bytes give it away."""
    if not data:
        return "empty file"
    if data.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the picture; `git lfs pull` fetches it"
    match = _STRANGERS.match(data[:64])
    return f"not {READABLE}" + (f" but {str(match.lastgroup).replace('_', ' ')}" if match else "")


def _jpeg(data: bytes) -> tuple[int, int]:
    """Width and height in pixels, from the markers up to the scan data; ValueError where the file is cut off."""
    at, size = 2, None
    while True:
        if data[at] != 0xFF:
            raise ValueError("broken JPEG header")
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker == _SCAN:
            break
        if marker in _FRAME_MARKERS:
            size = _big(data, at + 7, 2), _big(data, at + 5, 2)
        at += 2 if marker in _STANDALONE_MARKERS else 2 + _big(data, at + 2, 2)
    if size is None:
        raise ValueError("JPEG without dimensions")
    # Scan data never holds an end marker, so a file without one has lost its end.
    if data.find(_END, at) < 0:
        raise ValueError("JPEG cut off: no end marker")
    return size


def _png(data: bytes) -> tuple[int, int]:
    """Width and height in pixels; ValueError where a chunk is cut off or its checksum is wrong."""
    if data[12:16] != b"IHDR":
        raise ValueError("broken PNG header")
    size = _big(data, 16, 4), _big(data, 20, 4)
    at, kind = 8, b""
    while kind != b"IEND":
        if at + 12 > len(data):
            raise ValueError("PNG cut off: no end chunk")
        end, kind = at + 8 + _big(data, at, 4), data[at + 4 : at + 8]
        if end + 4 > len(data):
            raise ValueError("PNG cut off: no end chunk")
        # Pillow does not compare the checksums of the pixels' chunks.
        if zlib.crc32(data[at + 4 : end]) != _big(data, end, 4):
            raise ValueError(f"PNG damaged: wrong checksum at byte {at:,}")
        at = end + 4
    return size


def _webp(data: bytes) -> tuple[int, int]:
    """Width and height in pixels of the three kinds of WebP; ValueError where the file is cut off."""
    kind = data[12:16]
    if kind == b"VP8X":
        size = _little(data, 24, 3) + 1, _little(data, 27, 3) + 1
    elif kind == b"VP8L":
        bits = _little(data, 21, 4)
        size = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 ":
        size = _little(data, 26, 2) & 0x3FFF, _little(data, 28, 2) & 0x3FFF
    else:
        raise ValueError("broken WebP header")
    if _little(data, 4, 4) + 8 > len(data):
        raise ValueError("WebP cut off")
    return size


def _big(data: bytes, at: int, count: int) -> int:
    data[at + count - 1]  # a slice would be cut short in silence
    return int.from_bytes(data[at : at + count], "big")


def _little(data: bytes, at: int, count: int) -> int:
    data[at + count - 1]
    return int.from_bytes(data[at : at + count], "little")
