"""Videos that tests write: every frame shows its own number as blocks, so that it can be read back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from bench.datasets.portraits import draw_portrait, to_uint8

BITS, SIDE = 10, 32
WIDTH, HEIGHT = BITS * SIDE, 96
Picture = NDArray[np.uint8]
X264 = {"x264-params": "keyint=12:min-keyint=12:scenecut=0:bframes=3:b-pyramid=normal"}


def numbered(number: int) -> Picture:
    """A frame [96, 320, 3] with its number in white blocks over grey, the lowest bit left, black below."""
    picture = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    for bit in range(BITS):
        if number >> bit & 1:
            picture[: HEIGHT // 2, bit * SIDE : (bit + 1) * SIDE] = 255
    picture[HEIGHT // 2 :] = 10
    return picture


def number_of(picture: Picture) -> int:
    """The number that such a frame shows; -1 where it shows none."""
    levels = [picture[8 : HEIGHT // 2 - 8, bit * SIDE + 8 : (bit + 1) * SIDE - 8].mean() for bit in range(BITS)]
    if picture.shape != (HEIGHT, WIDTH, 3) or picture[HEIGHT // 2 + 8 :].mean() > 50 or min(levels) < 50:
        return -1
    return sum(1 << bit for bit, level in enumerate(levels) if level > 170)


def portrait(number: int, seed: int = 0) -> Picture:
    """A frame [240, 320, 3] with a drawn portrait that moves with its number."""
    picture = np.full((240, 320, 3), 60, np.uint8)
    left = 10 + number % 80
    picture[20:220, left : left + 200] = _portrait(seed)
    return picture


@cache
def _portrait(seed: int) -> Picture:
    return to_uint8(draw_portrait(np.random.default_rng(seed), 200)[0])


def write_video(
    path: Path,
    count: int = 40,
    codec: str = "libx264",
    *,
    options: Mapping[str, str] | None = None,
    rate: int = 25,
    times: Sequence[int] | None = None,
    rotation: int = 0,
    draw: Callable[[int], Picture] = numbered,
    sound: bool = False,
    container: str | None = None,
) -> Path:
    """A video of `count` frames; `times` are in units of 1/1000 s where the rate varies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format=container) as file:
        stream: Any = file.add_stream(codec, rate=rate, options=dict(options or (X264 if codec == "libx264" else {})))
        first = draw(0)
        stream.width, stream.height = first.shape[1], first.shape[0]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        audio: Any = file.add_stream("aac", rate=48000, layout="mono") if sound else None
        file.start_encoding()
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(draw(number), format="rgb24")
            frame.pts = times[number] if times else number
            frame.time_base = Fraction(1, 1000) if times else Fraction(1, rate)
            for packet in stream.encode(frame):
                file.mux(packet)
        for packet in stream.encode():
            file.mux(packet)
        if audio:
            _write_silence(file, audio)
    return path


def write_sound(path: Path) -> Path:
    """A file without any picture."""
    with av.open(str(path), "w") as file:
        _write_silence(file, file.add_stream("aac", rate=48000, layout="mono"))
    return path


def _write_silence(file: Any, stream: Any) -> None:
    for index in range(10):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate, frame.pts, frame.time_base = 48000, index * 1024, Fraction(1, 48000)
        for packet in stream.encode(frame):
            file.mux(packet)
    for packet in stream.encode():
        file.mux(packet)
