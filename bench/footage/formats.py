"""Opening a stranger's video: regular files alone, in formats of footage, without network or further files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import stored
from bench.errors import UserError
from bench.footage.outcomes import Status

if TYPE_CHECKING:
    from types import ModuleType

MOST_PIXELS = 34_000_000
"""A frame in 8K (7680 x 4320) is smaller; decoding a larger one may fill the memory."""

_FORMATS = (
    "mov", "avi", "matroska", "mpeg", "mpegts", "mpegvideo", "m4v", "asf", "flv", "ogg", "mxf", "dv", "yuv4mpegpipe",
    "h264", "hevc", "ivf", "mjpeg", "obu",
)  # fmt: skip
"""FFmpeg's names of what is read. Playlists, which name further files, are not among them, whatever they are called."""

_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": ",".join(_FORMATS)}


class VideoError(Exception):
    """A video gives no frames. The message says why, without the file's name; `status` is the kind of that."""

    def __init__(self, message: str, status: Status = "unreadable") -> None:
        super().__init__(message)
        self.status: Status = status


def library() -> ModuleType:
    """PyAV; `UserError` where it is not installed."""
    try:
        import av
    except ImportError as error:
        raise UserError(
            f"reading videos needs PyAV, which can't be imported here ({error}): python -m pip install 'av>=14'"
        ) from None
    av.logging.set_level(None)
    return av


@contextmanager
def opened(file: Path, threads: int = 1) -> Iterator[tuple[Any, Any]]:
    """PyAV's container and its video stream, decoded by so many threads. Raises `VideoError`."""
    av = library()
    try:
        stored.refuse_other_than_file(file)
        # With "file:" in front, no part of a name is taken for another protocol.
        container = av.open(f"file:{file.absolute()}", container_options=dict(_OPTIONS), metadata_errors="replace")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        status: Status = "no frames" if isinstance(error, av.error.EOFError) else "unreadable"
        raise VideoError(_reason(file, error), status) from None
    with container:
        stream = _video_stream(container)
        context = stream.codec_context
        if context is None:
            raise VideoError("its codec is unknown to this FFmpeg")
        if context.width * context.height > MOST_PIXELS:
            raise VideoError(
                f"{context.width} × {context.height} pixels; expected at most {MOST_PIXELS:,}", "too large"
            )
        # Frames may grow later in the stream: the decoder itself must refuse them.
        context.options = {"max_pixels": str(MOST_PIXELS)}
        context.thread_count, context.thread_type = threads, "AUTO"
        yield container, stream


def _video_stream(container: Any) -> Any:
    """The first stream of moving pictures; the cover of a song is none."""
    import av

    is_cover = av.stream.Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & is_cover]
    if not streams:
        held = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise VideoError(f"no video stream ({held} only)", "no video")
    return streams[0]


def _reason(file: Path, error: Exception) -> str:
    """Why a file can't be opened, as a person wants it."""
    import av

    if isinstance(error, stored.DamagedError):
        return str(error)
    if file.exists() and not file.stat().st_size:
        return "an empty file"
    if isinstance(error, av.error.EOFError):
        return "no frames"
    if isinstance(error, av.error.ArgumentError):
        return "no video, or a playlist, which is not followed"
    if isinstance(error, av.error.InvalidDataError):
        return "no video, or broken at its start"
    return str(getattr(error, "strerror", None) or error)
