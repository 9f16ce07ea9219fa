"""Every file of a frame set is accounted for: frames, masks, other files, and what looks like frames but is unused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.datasets import FrameSetSettings, account, digests, find, left_out, read
from bench.datasets.decoding import is_mask
from bench.records import FrameSet, Split
from tests.support.frames import load_set, picture, pictures, refused_set


def mask(file: Path, values: tuple[int, int] = (0, 255), mode: str = "L") -> None:
    """A square of one value in a frame of another; its size differs by the file's name."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((24, 30), values[0], np.uint8)
    pixels[4 : 8 + len(file.stem), 4 : 8 + sum(map(ord, file.stem)) % 16] = values[1]
    Image.fromarray(pixels).convert(mode).save(file)


def unused(sets: dict[Split, FrameSet]) -> dict[tuple[str, str], int]:
    return {(each.kind, each.name): each.count for each in sets["test"].unused}


def files_below(root: Path) -> int:
    return sum(path.is_file() for path in root.rglob("*"))


# ---------------------------------------------------------------------------------------------- files
def test_every_file_is_counted_once(tmp_path: Path) -> None:
    pictures(tmp_path, "s/test/real/a.png", "s/test/fake/b.png", "s/valid/real/c.png", "s/valid/fake/d.png")
    pictures(tmp_path, "s/test/unsure/e.png", "s/test/unsure/deep/f.png", "s/holdout/g.png", "s/test/h.png", "s/i.png")
    pictures(tmp_path, "s/test/fake/.hidden.png", "s/test/fake/masks/x.png")
    for name in ("s/test/real/v.MP4", "s/test/notes.txt", "s/valid/fake/x.json", "s/holdout/README", "s/a.heic"):
        (tmp_path / name).touch()
    sets = load_set(tmp_path, path="s", exclude=["masks"])
    assert unused(sets) == {
        ("beside", ""): 1, ("beside", "holdout"): 1, ("beside", "test/"): 1, ("beside", "test/unsure"): 2,
        ("hidden", ""): 1, ("excluded", "masks"): 1, ("video", ".mp4"): 1, ("ending", ".txt"): 1,
        ("ending", ".json"): 1, ("ending", ""): 1, ("picture", ".heic"): 1,
    }  # fmt: skip
    frames = sum(len(of_split.frames) for of_split in sets.values())
    assert frames + sum(unused(sets).values()) == files_below(tmp_path / "s")
    assert account(sets) == (
        "test 2 (1 real, 1 fake); validation 2 (1 real, 1 fake). Left out: 5 frames in folders beside (test/unsure/ 2, "
        "beside the folders 1, holdout/ 1, test/ 1), 1 video (.mp4 1), 1 picture of a format that is not read "
        "(.heic 1), 3 other files (without ending 1, .txt 1, .json 1), 1 hidden file or folder, 1 file that `exclude` "
        "leaves out (masks 1)."
    )
    remarks = " ".join(sets["test"].remarks)
    assert "test/unsure/ (2)" in remarks
    assert "Call holdout/ test/ or validation/, whichever they are" in remarks
    assert "(1 .heic)" in remarks
    assert "1 frame in " in remarks
    patterns = ["masks", "/*.*", "/test/*.*", "/holdout", "test/unsure"]
    assert load_set(tmp_path, path="s", exclude=patterns)["test"].remarks == ()


def test_all_is_well_in_one_line(tmp_path: Path) -> None:
    pictures(tmp_path, "s/real/id1_a.png", "s/real/id1_b.png", "s/fake/id2_c.png")
    sets = load_set(tmp_path, path="s", source_pattern=r"(id\d)_")
    assert account(sets) == "test 3 (2 real, 1 fake, 2 sources, the largest with 2). Every file there is used."
    assert left_out(sets) == "none"
    assert sets["test"].remarks == ()


def test_following_the_warning_ends_it(tmp_path: Path) -> None:
    pictures(tmp_path, "s/real/a.png", "s/fake/b.png", "s/FaceSwap/c.png", "s/FaceSwap/d.png", "s/unsure/e.png")
    (remark,) = load_set(tmp_path, path="s")["test"].remarks
    assert "FaceSwap/ (2)" in remark
    assert "unsure/ (1)" in remark
    assert "`labels: {fake: [FaceSwap]}`" in remark
    assert "`exclude: ['/FaceSwap', '/unsure']`" in remark
    settings: dict[str, Any] = {"labels": {"fake": ["FaceSwap"]}, "exclude": ["/unsure"]}
    sets = load_set(tmp_path, path="s", **settings)
    assert (sets["test"].fake, sets["test"].remarks) == (3, ())


def test_fakes_in_folders_of_methods_alone_are_hinted_at(tmp_path: Path) -> None:
    pictures(tmp_path, "s/real/a.png", "s/DeepFakes/b.png", "s/Face2Face/c.png")
    assert "write `labels: {fake: [DeepFakes, Face2Face]}`" in refused_set(tmp_path, path="s")


def test_a_manifest_counts_what_it_does_not_name(tmp_path: Path) -> None:
    pictures(tmp_path, "s/x/a.png", "s/x/b.png", "s/x/c.png", "s/y/d.png")
    (tmp_path / "s/x/notes.txt").touch()
    (tmp_path / "s/manifest.csv").write_text("path,label\nx/a.png,0\nx/b.png,1\n")
    sets = load_set(tmp_path, path="s")
    assert unused(sets) == {("unlisted", ""): 1, ("ending", ".txt"): 1}, "in the folders that it names"
    assert sets["test"].remarks == ()


def test_other_splits_of_a_location_are_counted(tmp_path: Path) -> None:
    pictures(tmp_path, "s/test/real/a.png", "s/test/fake/b.png", "s/train/c.png", "s/calib/d.png")
    assert unused(load_set(tmp_path, test="s", train="s")) == {("split", "calibration"): 1}


# ---------------------------------------------------------------------------------------------- masks
@pytest.mark.parametrize(
    ("mode", "values", "suffix"),
    [("L", (0, 255), "png"), ("1", (0, 255), "png"), ("P", (0, 1), "png"), ("L", (0, 1), "bmp"), ("L", (7, 7), "tif"),
     ("L", (0, 255), "gif"), ("L", (0, 255), "pgm"), ("I;16", (0, 255), "png"), ("L", (0, 128), "jp2")],
)  # fmt: skip
def test_one_channel_of_two_values_is_a_mask(tmp_path: Path, mode: str, values: tuple[int, int], suffix: str) -> None:
    mask(tmp_path / f"a.{suffix}", values, "L")
    if mode != "L":
        Image.open(tmp_path / f"a.{suffix}").convert(mode).save(tmp_path / f"a.{suffix}")
    assert is_mask((tmp_path / f"a.{suffix}").read_bytes())


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "gif", "tif", "ppm", "avif"])
def test_pictures_are_no_masks(tmp_path: Path, suffix: str) -> None:
    grey = np.linspace(0, 255, 600).reshape(20, 30).astype(np.uint8)
    for mode in ("L", "RGB"):
        Image.fromarray(grey).convert(mode).save(tmp_path / f"a.{suffix}")
        assert not is_mask((tmp_path / f"a.{suffix}").read_bytes())
    Image.fromarray(np.dstack([grey // 128 * 255] * 3)).save(tmp_path / f"b.{suffix}")
    if suffix != "gif":  # a GIF file has a palette, whatever was put in
        assert not is_mask((tmp_path / f"b.{suffix}").read_bytes()), "three channels"


def test_masks_are_left_out_with_a_warning_and_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures(tmp_path, "s/real/v/1.png", "s/fake/frames/1.png", "s/fake/frames/2.png")
    mask(tmp_path / "s/fake/masks/1.png")
    mask(tmp_path / "s/fake/masks/22.png")
    sets = load_set(tmp_path, path="s")
    assert [frame.path for frame in sets["test"].frames] == ["fake/frames/1.png", "fake/frames/2.png", "real/v/1.png"]
    assert sets["test"].masks == ("fake/masks/1.png", "fake/masks/22.png")
    (remark,) = sets["test"].remarks
    assert "2 of 5 test files are masks, of two greys" in remark
    assert "`exclude: [masks]` leaves them out without this warning" in remark
    assert account(sets).endswith("Left out: 2 masks.")
    monkeypatch.setattr(digests, "is_mask", lambda data: pytest.fail("decoded"))
    assert load_set(tmp_path, path="s") == sets
    excluded = load_set(tmp_path, path="s", exclude=["masks"])
    assert (excluded["test"].digest, excluded["test"].remarks) == (sets["test"].digest, ())


def test_a_class_of_masks_alone_is_refused(tmp_path: Path) -> None:
    pictures(tmp_path, "s/real/a.png")
    mask(tmp_path / "s/fake/b.png")
    assert "no fake frame among 1" in refused_set(tmp_path, path="s")
    assert "(after 1 masks, of two greys, were left out)" in refused_set(tmp_path, path="s")


def test_folders_of_masks_in_three_channels_are_asked_about(tmp_path: Path) -> None:
    pictures(tmp_path, "s/real/a.png", "s/fake/frames/b.png", "s/fake/Masks/b.png")
    (remark,) = load_set(tmp_path, path="s")["test"].remarks
    assert "1 of 3 test frames lie in folders called Masks/" in remark
    assert "`exclude: [Masks]`" in remark


# ------------------------------------------------------------------------------ without reading a file
def planned(base: Path, **settings: Any) -> dict[Split, FrameSet]:
    """As `bench plan` sees the set: only what is remembered."""
    listing = find("mine", FrameSetSettings.model_validate(settings), base)
    return read(listing, base / ".cache", reads=False)


def test_what_is_not_read_yet_is_counted_and_nothing_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures(tmp_path, "s/test/real/a.png", "s/test/fake/b.png", "s/train/c.png")
    mask(tmp_path / "s/test/fake/masks/m.png")
    with monkeypatch.context() as patch:
        patch.setattr(digests, "_digest", lambda entry: pytest.fail("read"))
        before = planned(tmp_path, path="s")
    assert [(s.unread, s.digest, s.content) for s in before.values()] == [(3, "", ""), (1, "", "")]
    assert not (tmp_path / ".cache").exists()
    whole = load_set(tmp_path, path="s")
    assert planned(tmp_path, path="s") == whole
    picture(tmp_path / "s/train/d.png")
    after = planned(tmp_path, path="s")
    assert after["test"] == whole["test"], "masks are remembered"
    assert (after["train"].unread, after["train"].digest, len(after["train"].frames)) == (1, "", 2)


def test_a_split_by_content_is_foreseen_in_part(tmp_path: Path) -> None:
    pictures(tmp_path, *(f"s/{word}/{i:02d}.png" for word in ("real", "fake") for i in range(30)))
    before = planned(tmp_path, path="s", split="auto")
    assert sum(s.unread for split, s in before.items() if split != "calibration") == 60
    assert not any(s.digest for s in before.values())
    whole = load_set(tmp_path, path="s", split="auto")
    assert planned(tmp_path, path="s", split="auto") == whole
