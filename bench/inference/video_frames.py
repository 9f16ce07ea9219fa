"""The frames of one video that are judged, as far as they can be decoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.footage import video
from bench.footage.video import Damage, Picture, Timeline, UnorderedError


def decoded(
    file: Path, line: Timeline, numbers: Sequence[int], damage: Damage, *, threads: int = 1
) -> Iterator[Picture]:
    """The frames of these numbers, which rise; those that can't be decoded are left out, and counted in `damage`.

    Where the times of packets prove wrong before any frame was given, frames are numbered as the decoder gives them;
    after that, `UnorderedError`, which is a `VideoError`.
    """
    given = False
    try:
        for picture in video.decode(file, line, numbers, damage, threads=threads):
            given = True
            yield picture
    except UnorderedError:
        if given:
            raise
        yield from video.decode(file, line.without_times(), numbers, damage, threads=threads)
