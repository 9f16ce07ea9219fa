"""Masks of videos: cut, scaled and turned as the frames, or refused with why."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from bench.commands.extract import extract_videos
from bench.records import Extraction
from tests.support.footage import Picture, portrait, write_video

COUNT = 6
MASKS = "manipulated_sequences/Deepfakes/masks"
VIDEO = "manipulated_sequences/Deepfakes/c23/videos/000_003.mp4"


def square(number: int) -> tuple[slice, slice]:
    """What is forged in a frame: it moves with the portrait, and lies on a cheek."""
    left = 10 + number % 80 + 60
    return slice(130, 160), slice(left, left + 24)


def forged(number: int) -> Picture:
    """A portrait with a green square, so that every crop shows what its mask should be."""
    picture = portrait(number).copy()
    picture[square(number)] = (0, 255, 0)
    return picture


def mask(number: int) -> Picture:
    picture = np.zeros((240, 320, 3), np.uint8)
    picture[square(number)] = 255
    return picture


def mask_of_another_size(number: int) -> Picture:
    return np.asarray(Image.fromarray(mask(number)).resize((640, 480), Image.Resampling.NEAREST))


def faceforensics(root: Path, of_fake: Callable[[Path], object], draw: Callable[[int], Picture] = forged) -> Path:
    """An original, and a fake with what `of_fake` writes below the folder of masks."""
    write_video(root / "original_sequences/youtube/c23/videos/000.mp4", COUNT, "mjpeg", draw=portrait)
    write_video(root / VIDEO, COUNT, "mjpeg", draw=draw)
    of_fake(root / MASKS)
    return root


def as_video(folder: Path, count: int = COUNT, draw: Callable[[int], Picture] = mask) -> None:
    write_video(folder / "videos/000_003.mp4", count, "mjpeg", draw=draw)


def as_pictures(folder: Path) -> None:
    (folder / "000_003").mkdir(parents=True)
    for number in range(COUNT):
        Image.fromarray(mask(number)[..., 0]).save(folder / f"000_003/{number:04}.png")


def extracted(root: Path, to: Path, **settings: str | int) -> list[dict[str, object]]:
    extract_videos([root], to, Extraction(**({"frames": 3} | settings)), workers=1)  # type: ignore[arg-type]
    return list(pyarrow.parquet.read_table(to / "manifest.parquet").to_pylist())


def problems(to: Path) -> dict[str, str]:
    with (to / "videos.csv").open(encoding="utf-8", newline="") as file:
        return {row["video"]: row["mask_problem"] for row in csv.DictReader(file)}


@pytest.mark.slow
@pytest.mark.parametrize("crop", ["fsbi", "deepfakebench", "none"])
@pytest.mark.parametrize("masks", [as_video, as_pictures, lambda f: as_video(f, draw=mask_of_another_size)])
def test_masks_lie_over_what_was_forged(tmp_path: Path, crop: str, masks: Callable[[Path], None]) -> None:
    """The frames' green is the oracle: it went through the crop as a part of the picture."""
    root = faceforensics(tmp_path / "ff", masks)
    rows = extracted(root, tmp_path / "faces", crop=crop)
    fakes = [row for row in rows if row["label"] == "fake"]
    assert len(fakes) == 3
    assert all(row["mask"] is None for row in rows if row["label"] == "real")
    for row in fakes:
        frame = np.asarray(Image.open(tmp_path / "faces" / str(row["path"]))).astype(int)
        picture = Image.open(tmp_path / "faces" / str(row["mask"]))
        inside = np.asarray(picture) > 127
        green = (frame[..., 1] > 200) & (frame[..., 0] < 90) & (frame[..., 2] < 90)
        assert picture.mode in ("1", "L")
        assert inside.shape == green.shape
        assert green.sum() > 100
        assert (inside & green).sum() / (inside | green).sum() > 0.85
    assert not any(problems(tmp_path / "faces").values())


def with_a_broken_picture(folder: Path) -> None:
    as_pictures(folder)
    (folder / "000_003/0000.png").write_bytes(b"no")


def with_two_pictures_of_a_frame(folder: Path) -> None:
    as_pictures(folder)
    Image.new("L", (320, 240)).save(folder / "000_003/1.bmp")


def with_a_broken_video(folder: Path) -> None:
    as_video(folder)
    (folder / "videos/000_003.mp4").write_bytes(b"no video")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("masks", "words"),
    [
        (lambda f: as_video(f, count=COUNT - 1), "5 frames, where the video has 6"),
        (lambda f: as_video(f, draw=lambda number: mask(number)[:, :160]), "160 × 240 pixels, where the video has 320"),
        (with_a_broken_picture, "0000.png can't be read"),
        (with_two_pictures_of_a_frame, "both of frame 1"),
        (with_a_broken_video, "no video, or broken at its start"),
    ],
)
def test_masks_that_are_not_those_of_the_frames(tmp_path: Path, masks: Callable[[Path], object], words: str) -> None:
    """The frames are extracted without them, and the list of videos says why."""
    root = faceforensics(tmp_path / "ff", masks)
    rows = extracted(root, tmp_path / "faces", crop="none", faces="none")
    assert len(rows) == 6
    assert all(row["mask"] is None for row in rows)
    assert words in problems(tmp_path / "faces")[VIDEO]
    assert not list((tmp_path / "faces").rglob("masks"))


def test_a_frame_without_its_picture_has_no_mask(tmp_path: Path) -> None:
    root = faceforensics(tmp_path / "ff", as_pictures)
    (root / MASKS / "000_003/0002.png").unlink()
    rows = extracted(root, tmp_path / "faces", crop="none", faces="none")
    assert [bool(row["mask"]) for row in rows if row["label"] == "fake"] == [True, False, True]
    assert not any(problems(tmp_path / "faces").values())


def test_a_video_whose_masks_came_is_read_again_and_no_other(tmp_path: Path) -> None:
    """Without masks nothing of the folder says that there could be any."""
    root = faceforensics(tmp_path / "ff", lambda folder: None)
    settings = {"crop": "none", "faces": "none"}
    assert "mask" not in extracted(root, tmp_path / "faces", **settings)[0]
    assert "mask_problem" not in (tmp_path / "faces/videos.csv").read_text(encoding="utf-8")
    before = {file: file.stat().st_ctime_ns for file in (tmp_path / "faces/frames").rglob("*.png")}
    as_pictures(root / MASKS)
    rows = extracted(root, tmp_path / "faces", **settings)
    changed = {file for file, time in before.items() if file.stat().st_ctime_ns != time}
    assert changed == {tmp_path / "faces" / str(row["path"]) for row in rows if row["label"] == "fake"}
    assert sum(bool(row["mask"]) for row in rows) == 3
