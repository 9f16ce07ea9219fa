"""H.264 at a CRF: the frame as one intra frame of libx264's preset `medium`, 8 bits, chroma of half the size (4:2:0).

A frame of a video is mostly predicted from others, with errors of its own; this is the part that any single frame can
be given. Odd sides get their last row or column twice, since chroma needs even ones, and lose it again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from bench.errors import no_boolean

if TYPE_CHECKING:
    import av
    import numpy as np
    from numpy.typing import NDArray

Level = Annotated[int, BeforeValidator(no_boolean), Field(strict=True, ge=0, le=51)]
LIBRARIES, VERSION, SECONDS = ("av",), 1, 0.03
ENCODER = "libx264"
_WAY_OUT = "`pip install --force-reinstall av` installs PyAV's own build, which has it; or leave `h264` out"


def degraded(frame: NDArray[np.uint8], level: float) -> NDArray[np.uint8]:
    """The frame after H.264 with the constant rate factor `level`, 0 to 51."""
    import numpy as np

    height, width = frame.shape[:2]
    even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return _decoded(_encoded(np.ascontiguousarray(even), int(level)))[:height, :width]


def _encoded(frame: NDArray[np.uint8], crf: int) -> bytes:
    """A stream of one intra frame; both sides are even."""
    from fractions import Fraction

    import av

    encoder: Any = av.CodecContext.create(ENCODER, "w")  # its type does not say that it is one of videos
    encoder.height, encoder.width = frame.shape[:2]
    encoder.pix_fmt, encoder.time_base = "yuv420p", Fraction(1, 25)
    # One thread: there are enough frames to go round.
    encoder.options = {"crf": str(crf), "preset": "medium", "threads": "1"}
    picture = _converted(av.VideoFrame.from_ndarray(frame, format="rgb24"), "yuv420p")
    picture.pts, picture.time_base = 0, encoder.time_base
    return b"".join(bytes(packet) for packet in (*encoder.encode(picture), *encoder.encode(None)))


def _decoded(stream: bytes) -> NDArray[np.uint8]:
    """The one frame of a stream. ValueError where it has another number of frames."""
    import av
    import numpy as np

    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    frames = [*decoder.decode(av.Packet(stream)), *decoder.decode(None)]
    if len(frames) != 1:
        raise ValueError(f"its H.264 stream has {len(frames)} frames; expected 1")
    return np.asarray(_converted(frames[0], "rgb24").to_ndarray(), dtype=np.uint8)


def _converted(picture: av.VideoFrame, form: str) -> av.VideoFrame:
    """The picture in another pixel format, rounded to the nearest: by default, FFmpeg makes it darker by a step."""
    from av.video.reformatter import Interpolation

    rounded = Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.BITEXACT
    return picture.reformat(format=form, interpolation=Interpolation.BICUBIC | rounded, threads=1)


def unavailable() -> str:
    """Why PyAV can't encode H.264 here."""
    try:
        import av
        from av.video.reformatter import Interpolation

        av.Codec(ENCODER, "w")
    except ImportError as error:
        return f"PyAV can't be imported ({error}): {_WAY_OUT}"
    except ValueError:  # what PyAV raises for a codec that its FFmpeg lacks
        return f"this PyAV was built without {ENCODER}: {_WAY_OUT}"
    if not hasattr(Interpolation, "ACCURATE_RND"):
        return f"PyAV {av.__version__} converts colours with a bias: `pip install --upgrade av`; or leave `h264` out"
    return ""
