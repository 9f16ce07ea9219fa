"""What a person gives to the service's page: pictures, a video, a camera, and what is none of these."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.support.portraits import Pasted, picture, scene

CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
"""Arguments of Chromium: there is a camera, and it may be used."""


@dataclass(frozen=True)
class Files:
    fake: Path
    real: Path
    broken: Path
    text: Path
    large: Path
    video: Path
    camera: Path


def tinted(seed: int, red: float, blue: float) -> NDArray[np.uint8]:
    pixels = scene(320, 240, Pasted(seed, 200, 60, 20)).astype(float) * [red, 1, blue]
    return np.asarray(np.clip(pixels, 0, 255), dtype=np.uint8)


def write_video(path: Path) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx", rate=5)
        stream.width, stream.height, stream.pix_fmt = 96, 96, "yuv420p"
        for index in range(10):
            frame = av.VideoFrame.from_ndarray(picture(index % 2, 96), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_camera(path: Path) -> None:
    """Portraits as the uncompressed video that Chromium takes for a camera."""
    import av

    frames = [av.VideoFrame.from_ndarray(tinted(seed, 1.3, 0.5), format="rgb24") for seed in range(3)]
    planes = [frame.reformat(format="yuvj420p").to_ndarray().tobytes() for frame in frames]
    head = b"YUV4MPEG2 W320 H240 F10:1 Ip A1:1 C420jpeg\n"
    path.write_bytes(head + b"".join(b"FRAME\n" + plane for plane in planes))


def write_files(folder: Path) -> Files:
    names = ("fake one.png", "real.png", "broken.jpg", "notes.txt", "large.png", "talk.webm", "camera.y4m")
    result = Files(*(folder / name for name in names))
    Image.fromarray(tinted(0, 1.4, 0.5)).save(result.fake)
    Image.fromarray(tinted(1, 0.5, 1.4)).save(result.real)
    result.broken.write_bytes(b"no picture at all")
    result.text.write_text("no picture either", encoding="utf-8")
    Image.new("RGB", (2000, 1000)).save(result.large)
    write_video(result.video)
    write_camera(result.camera)
    return result
