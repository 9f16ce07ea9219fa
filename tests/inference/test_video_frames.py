"""Frames of a video whose packets' times are wrong: what is left is numbered as the decoder gives frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.footage import video
from bench.footage.video import Damage, Picture, UnorderedError
from bench.inference.video_frames import decoded
from tests.support.footage import number_of, write_video


@pytest.mark.parametrize("before", [0, 2])
def test_times_that_prove_wrong_cost_no_frame(before: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_video(tmp_path / "clip.mp4", 20)
    line, decode = video.timeline(file), video.decode

    def proves_wrong(file: Path, line: Any, numbers: Any, damage: Any, **options: Any) -> Iterator[Picture]:
        for index, picture in enumerate(decode(file, line, numbers, damage, **options)):
            if line.has_times and index == before:
                raise UnorderedError
            yield picture

    monkeypatch.setattr(video, "decode", proves_wrong)
    pictures = list(decoded(file, line, [0, 5, 10, 19], Damage()))
    assert [(picture.number, number_of(picture.pixels)) for picture in pictures] == [(0, 0), (5, 5), (10, 10), (19, 19)]
