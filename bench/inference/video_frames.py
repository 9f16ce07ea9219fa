"""The frames of one video that are judged, as far as they can be decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench.footage import video
from bench.footage.video import Damage, Picture, Timeline, UnorderedError


def decoded(
    file: Path,
    line: Timeline,
    numbers: Sequence[int],
    damage: Damage,
    *,
    threads: int = 1,
    tick: Callable[[], object] = lambda: None,
) -> Iterator[Picture]:
    """The frames of these numbers, which rise; those that can't be decoded are left out, and counted in `damage`.

    `tick` is called for each packet. Where the times of packets prove wrong, what is left is numbered as the decoder
    gives frames.
    """
    last = -1
    try:
        for picture in video.decode(file, line, numbers, damage, threads=threads, tick=tick):
            last = picture.number
            yield picture
    except UnorderedError:
        left = [number for number in numbers if number > last]
        yield from video.decode(file, line.without_times(), left, damage, threads=threads, tick=tick)
