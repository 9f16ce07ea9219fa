"""Masks of what was forged: which file is that of which frame, what is wrong with them, and what hangs on them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.datasets import FrameSetSettings, digests, find
from bench.datasets.locating import gather
from bench.records import Frame, FrameSet
from tests.support.frames import load_set, picture, pictures, refused_set

FRAMES = (
    "s/test/real/a.jpg",
    "s/test/fake/a.jpg",
    "s/test/fake/sub/b.mp4.png",
    "s/train/fake/c.png",
    "s/train/real/c.png",
)


def mask(file: Path, size: tuple[int, int] = (8, 6), value: int = 255) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((size[1], size[0]), np.uint8)
    pixels[: size[1] // 2] = value
    Image.fromarray(pixels).save(file)


def by_path(frames: FrameSet) -> dict[str, Frame]:
    return {frame.path: frame for frame in frames.frames}


def files(frames: FrameSet, top: Path) -> dict[str, str]:
    return {f.path: f.mask.file.relative_to(top).as_posix() for f in frames.frames if f.mask}


# --------------------------------------------------------------------------------------- a folder of masks
def test_a_folder_of_masks_with_other_endings(tmp_path: Path) -> None:
    pictures(tmp_path, *FRAMES)
    mask(tmp_path / "m/test/fake/a.png")
    mask(tmp_path / "m/test/fake/sub/b.mp4.bmp")
    frames = load_set(tmp_path, path="s", masks="m")["test"]
    assert files(frames, tmp_path) == {
        "fake/a.jpg": "m/test/fake/a.png",
        "fake/sub/b.mp4.png": "m/test/fake/sub/b.mp4.bmp",
    }
    read_mask = by_path(frames)["fake/a.jpg"].mask
    assert read_mask is not None
    assert len(read_mask.digest) == 64
    assert not read_mask.fault
    assert not read_mask.native
    assert not frames.remarks, "every fake has one"


def test_masks_are_no_part_of_a_sets_digests(tmp_path: Path) -> None:
    pictures(tmp_path, *FRAMES)
    before = load_set(tmp_path, path="s")
    mask(tmp_path / "m/test/fake/a.png")
    after = load_set(tmp_path, path="s", masks="m")
    for split in before:
        assert (before[split].digest, before[split].content) == (after[split].digest, after[split].content)
    mask(tmp_path / "m/test/fake/a.png", value=200)
    again = load_set(tmp_path, path="s", masks="m")["test"]
    assert again.digest == before["test"].digest
    assert by_path(again)["fake/a.jpg"].mask != by_path(after["test"])["fake/a.jpg"].mask


def test_a_folder_of_masks_among_the_frames_is_not_unused(tmp_path: Path) -> None:
    pictures(tmp_path, "s/real/a.png", "s/fake/a.png")
    mask(tmp_path / "s/masks/fake/a.png")
    assert any("not used" in remark for remark in load_set(tmp_path, path="s")["test"].remarks)
    frames = load_set(tmp_path, path="s", masks="s/masks")["test"]
    assert files(frames, tmp_path) == {"fake/a.png": "s/masks/fake/a.png"}
    assert not any("not used" in remark for remark in frames.remarks)


def test_the_same_ending_comes_first_and_two_others_are_an_error(tmp_path: Path) -> None:
    pictures(tmp_path, "s/real/a.png", "s/fake/a.png")
    for ending in ("png", "bmp"):
        mask(tmp_path / f"m/fake/a.{ending}")
    assert files(load_set(tmp_path, path="s", masks="m")["test"], tmp_path) == {"fake/a.png": "m/fake/a.png"}
    (tmp_path / "m/fake/a.png").rename(tmp_path / "m/fake/a.webp")
    assert "two masks of one frame: fake/a.bmp, fake/a.webp" in refused_set(tmp_path, path="s", masks="m")


def test_masks_of_locations_of_their_own(tmp_path: Path) -> None:
    pictures(tmp_path, "t/real/a.png", "t/fake/a.png", "u/real/b.png")
    mask(tmp_path / "m/fake/a.png")
    sets = load_set(tmp_path, test={"path": "t", "masks": "m"}, train="u")
    assert files(sets["test"], tmp_path) == {"fake/a.png": "m/fake/a.png"}


def test_split_by_source_takes_masks_along(tmp_path: Path) -> None:
    names = [
        f"{label}/{video:02}_{frame}.png" for label in ("real", "fake") for video in range(20) for frame in range(2)
    ]
    pictures(tmp_path / "s", *names)
    for name in names:
        if name.startswith("fake"):
            mask(tmp_path / "m" / name)
    frames = load_set(tmp_path, path="s", split="auto", source_pattern=r"(\d\d)_", masks="m")["test"]
    assert set(files(frames, tmp_path)) == {frame.path for frame in frames.frames if frame.label == 1}


def test_missing_and_broken_masks_are_told(tmp_path: Path) -> None:
    pictures(tmp_path, *FRAMES)
    mask(tmp_path / "m/test/fake/a.png")
    (tmp_path / "m/test/fake/a.png").write_bytes(b"no picture")
    frames = load_set(tmp_path, path="s", masks="m")["test"]
    broken = by_path(frames)["fake/a.jpg"].mask
    assert broken is not None
    assert broken.fault
    assert not broken.digest
    remarks = " ".join(frames.remarks)
    assert "1 of 2 test fakes have no mask" in remarks
    assert "fake/sub/b.mp4.png" in remarks
    assert "1 test masks can't be read" in remarks


def test_unread_masks_have_no_digest(tmp_path: Path) -> None:
    from bench.datasets import read

    pictures(tmp_path, "s/real/a.png", "s/fake/a.png")
    mask(tmp_path / "m/fake/a.png")
    listing = find("mine", FrameSetSettings(path="s", masks="m"), tmp_path)
    frames = read(listing, tmp_path / ".cache", reads=False)["test"]
    read_mask = by_path(frames)["fake/a.png"].mask
    assert read_mask is not None
    assert read_mask.digest == ""


def test_masks_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures(tmp_path, "s/real/a.png", "s/fake/a.png")
    mask(tmp_path / "m/fake/a.png")
    first = load_set(tmp_path, path="s", masks="m")["test"]
    monkeypatch.setattr(digests, "fault", lambda data: pytest.fail("decoded again"))
    assert load_set(tmp_path, path="s", masks="m")["test"] == first


@pytest.mark.parametrize(
    ("masks", "words"),
    [
        ("empt", "no such folder (did you mean 'empty'?)"),
        ("s/real/a.png", "is no folder"),
        ("empty", "holds no mask of any of 1 fakes"),
    ],
)
def test_folders_that_hold_no_masks(tmp_path: Path, masks: str, words: str) -> None:
    pictures(tmp_path, "s/real/a.png", "s/fake/a.png")
    for folder in ("m", "empty"):
        (tmp_path / folder).mkdir()
    assert words in refused_set(tmp_path, path="s", masks=masks)


def test_hidden_files_and_links_to_nothing_are_no_masks(tmp_path: Path) -> None:
    pictures(tmp_path, "s/real/a.png", "s/fake/a.png")
    mask(tmp_path / "m/fake/.a.png")
    (tmp_path / "m/fake/a.png").symlink_to(tmp_path / "nowhere.png")
    frames = load_set(tmp_path, path="s", masks="m")["test"]
    broken = by_path(frames)["fake/a.png"].mask
    assert broken is not None
    assert broken.fault


# ------------------------------------------------------------------------------------- a manifest's column
def manifest(folder: Path, *rows: str, header: str = "path,label,mask") -> None:
    (folder / "manifest.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def test_a_column_of_masks_is_no_attribute(tmp_path: Path) -> None:
    pictures(tmp_path, "a.png", "b.png", "c.png")
    mask(tmp_path / "masks/b.png")
    manifest(tmp_path, "a.png,real,", "b.png,fake,masks/b.png", "c.png,fake,masks/b.png")
    frames = load_set(tmp_path, path=".")["test"]
    assert files(frames, tmp_path) == {"b.png": "masks/b.png", "c.png": "masks/b.png"}
    assert all(frame.attributes == () for frame in frames.frames)
    assert not any(unused.kind == "unlisted" for unused in frames.unused)


def test_another_name_for_the_column(tmp_path: Path) -> None:
    pictures(tmp_path, "a.png", "b.png")
    mask(tmp_path / "m.png")
    manifest(tmp_path, "a.png,real,", "b.png,fake,m.png", header="path,label,where forged")
    frames = load_set(tmp_path, path=".", columns={"mask": "where forged"})["test"]
    assert files(frames, tmp_path) == {"b.png": "m.png"}


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("m.png", "no such mask below"),
        ("../m.png", "mask must be relative to"),
        ("/etc/passwd", "mask must be relative to"),
        (".", "mask is empty"),
        ("link.png", "mask leads outside of"),
        ("1", "write `columns: {mask: …}`"),
    ],
)
def test_masks_that_a_manifest_may_not_name(tmp_path: Path, cell: str, words: str) -> None:
    folder = tmp_path / "s"
    pictures(folder, "a.png", "b.png")
    picture(tmp_path / "elsewhere.png")
    (folder / "link.png").symlink_to(tmp_path / "elsewhere.png")
    manifest(folder, "a.png,real,", f"b.png,fake,{cell}")
    refused = refused_set(tmp_path, path="s")
    assert words in refused
    assert "line 3" in refused


def test_a_column_and_a_folder_exclude_each_other(tmp_path: Path) -> None:
    pictures(tmp_path, "s/a.png", "s/b.png")
    mask(tmp_path / "s/m/b.png")
    manifest(tmp_path / "s", "a.png,real,", "b.png,fake,m/b.png")
    assert "keep one" in refused_set(tmp_path, path="s", masks="s/m")


def of_videos(folder: Path) -> tuple[dict[str, str | None], tuple[str, ...]]:
    """The masks of listed videos by their paths, below a folder; and what is wrong."""
    gathered = gather(FrameSetSettings.model_validate({"path": "v", "masks": "m", "extract": {"frames": 2}}), folder)
    entries = [entry for located in gathered.parts.values() for entry in located.part.entries]
    return {entry.path: str(Path(entry.mask).relative_to(folder)) if entry.mask else None for entry in entries}, tuple(
        gathered.problems
    )


def test_masks_of_videos_are_videos_or_folders_of_pictures(tmp_path: Path) -> None:
    for name in ("v/real/a.mp4", "v/fake/b.mp4", "v/fake/c.avi", "v/fake/d.e.mp4", "v/fake/f.mp4", "m/fake/b.mkv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"video")
    for name in ("m/fake/c/0001.png", "m/fake/d.e/0001.png", "m/fake/f.mp4/1.png"):
        mask(tmp_path / name)
    masks, problems = of_videos(tmp_path)
    assert not problems
    assert masks == {
        "real/a.mp4": None,
        "fake/b.mp4": "m/fake/b.mkv",
        "fake/c.avi": "m/fake/c",
        "fake/d.e.mp4": "m/fake/d.e",
        "fake/f.mp4": "m/fake/f.mp4",
    }
    mask(tmp_path / "m/fake/b/0001.png")
    assert "two masks of one video: fake/b, fake/b.mkv" in " ".join(of_videos(tmp_path)[1])


# --------------------------------------------------------------------------------------- FaceForensics++
def faceforensics(root: Path, masks: str) -> FrameSet:
    originals, forged = "original_sequences/youtube/c23/frames", "manipulated_sequences/Deepfakes/c23/frames"
    pictures(root, *(f"{originals}/{video}/000{n}.png" for video in ("033", "097") for n in range(2)))
    pictures(root, *(f"{forged}/033_097/000{n}.png" for n in range(2)))
    mask(root / masks / "033_097/001.png")
    (root / "test.json").write_text(json.dumps([["033", "097"]]))
    return load_set(root.parent, path=root.name)["test"]


@pytest.mark.parametrize(
    "masks", ["manipulated_sequences/Deepfakes/masks", "manipulated_sequences/Deepfakes/c23/masks"]
)
def test_faceforensics_own_masks_are_found_by_video_and_frame(tmp_path: Path, masks: str) -> None:
    frames = faceforensics(tmp_path / "ff", masks)
    forged = {path: Path(file).name for path, file in files(frames, tmp_path).items()}
    assert forged == {"manipulated_sequences/Deepfakes/c23/frames/033_097/0001.png": "001.png"}
    assert all(frame.mask.native for frame in frames.frames if frame.mask)
    assert not any(unused.name == "masks" for unused in frames.unused), "they are used"


def test_masks_of_another_compression_are_not_taken(tmp_path: Path) -> None:
    frames = faceforensics(tmp_path / "ff", "manipulated_sequences/Deepfakes/c40/masks")
    assert not files(frames, tmp_path)
    assert any(unused.name == "masks" for unused in frames.unused)
