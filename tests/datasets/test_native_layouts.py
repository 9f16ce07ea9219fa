"""Native layouts of the field's data sets: trees and lists as their makers hand them out, written here by hand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from bench.datasets import FrameSetSettings, layouts, load
from bench.datasets.layouts import Entry, Listing, Options
from bench.errors import UserError
from bench.records import FrameSet, Split, Unused
from bench.records.footage import VIDEO_SUFFIXES

VIDEOS = Options(suffixes=VIDEO_SUFFIXES)


def _touch(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def _pictures(root: Path, *paths: str) -> None:
    """A small picture for each path, no two alike."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        seed = int.from_bytes(hashlib.sha256(path.encode()).digest()[:4])
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)).save(root / path)


def _write(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def _read(path: Path, options: Options | None = None) -> Listing:
    return layouts.read(path, options or Options())


def _entries(listing: Listing, split: Split | None) -> dict[str, Entry]:
    assert listing.problems == ()
    return {entry.path: entry for entry in listing.parts[split].entries} if split in listing.parts else {}


def _labelled(entries: Iterable[Entry]) -> dict[str, tuple[int | None, str | None]]:
    return {entry.path: (entry.label, entry.source) for entry in entries}


def _load(base: Path, **settings: Any) -> dict[Split, FrameSet]:
    return load("mine", FrameSetSettings.model_validate(settings), base, base / ".cache")


def _problems(path: Path, options: Options | None = None) -> str:
    listing = _read(path, options)
    assert listing.problems
    return "\n".join(listing.problems)


# ------------------------------------------------------------------------------------------- Celeb-DF
LIST = """1 YouTube-real/00170.mp4
1 Celeb-real/id0_0001.mp4
0 Celeb-synthesis/id0_id1_0001.mp4
0 Celeb-synthesis/id1_id0_0007.mp4
"""


def _celeb(root: Path, form: str = "{folder}/{video}.mp4.jpg") -> None:
    """Seven videos of Celeb-DF v2, four of them test videos, in some form."""
    videos = {
        "Celeb-real": ("id0_0001", "id1_0000"),
        "YouTube-real": ("00170", "00001"),
        "Celeb-synthesis": ("id0_id1_0001", "id1_id0_0007", "id0_id2_0003"),
    }
    _touch(root, *(form.format(folder=folder, video=video) for folder, names in videos.items() for video in names))
    _write(root / "List_of_testing_videos.txt", LIST)


FORMS = {
    "{folder}/{video}.mp4.jpg": None,
    "{folder}/{video}.png": None,
    "{folder}/{video}_003.png": 3,
    "{folder}/{video}.mp4_00012.png": 12,
    "{folder}/{video}_frame_7.jpg": 7,
    "{folder}/{video}_face_1_frame_7.jpg": 7,
    "{folder}/{video}/00012.png": 12,
    "{folder}/frames/{video}/003.png": 3,
    "{folder}/frames/{video}.mp4/frame_3_1.png": 3,
    "{folder}/crops/380/{video}/{video}_010.png": 10,
}


@pytest.mark.parametrize("form", FORMS)
def test_celeb_df_in_any_form(tmp_path: Path, form: str) -> None:
    _celeb(tmp_path, form)
    listing = _read(tmp_path)
    assert {entry.path: (entry.label, entry.source) for entry in _entries(listing, "test").values()} == {
        form.format(folder=folder, video=video): expected
        for folder, video, expected in (
            ("YouTube-real", "00170", (0, "00170")),
            ("Celeb-real", "id0_0001", (0, "id0")),
            ("Celeb-synthesis", "id0_id1_0001", (1, "id0;id1")),
            ("Celeb-synthesis", "id1_id0_0007", (1, "id0;id1")),
        )
    }
    assert _labelled(_entries(listing, "train").values()) == {
        form.format(folder="Celeb-real", video="id1_0000"): (0, "id1"),
        form.format(folder="YouTube-real", video="00001"): (0, "00001"),
        form.format(folder="Celeb-synthesis", video="id0_id2_0003"): (1, "id0;id2"),
    }
    entry = _entries(listing, "test")[form.format(folder="Celeb-real", video="id0_0001")]
    assert entry.frame_index == FORMS[form]
    assert entry.video == form.partition("{video}")[0].format(folder="Celeb-real") + "id0_0001"
    assert listing.remarks == ()


def test_celeb_df_videos_and_frames_side_by_side(tmp_path: Path) -> None:
    """As SelfBlendedImages has it, which writes Youtube-real, and landmarks beside the frames."""
    _celeb(tmp_path, "{folder}/videos/{video}.mp4")
    _celeb(tmp_path, "{folder}/frames/{video}/000.png")
    _celeb(tmp_path, "{folder}/retina/{video}/000.npy")
    (tmp_path / "YouTube-real").rename(tmp_path / "Youtube-real")
    frames, videos = _read(tmp_path), _read(tmp_path, VIDEOS)
    assert set(_entries(frames, "test")) == {
        "Youtube-real/frames/00170/000.png", "Celeb-real/frames/id0_0001/000.png",
        "Celeb-synthesis/frames/id0_id1_0001/000.png", "Celeb-synthesis/frames/id1_id0_0007/000.png",
    }  # fmt: skip
    assert len(_entries(frames, "train")) == len(_entries(videos, "train")) == 3
    video = _entries(videos, "test")["Celeb-synthesis/videos/id0_id1_0001.mp4"]
    assert (video.label, video.source, video.video, video.frame_index) == (
        1, "id0;id1", "Celeb-synthesis/videos/id0_id1_0001", None,
    )  # fmt: skip


def test_celeb_df_crops_lie_in_a_folder_beside_the_videos(tmp_path: Path) -> None:
    _celeb(tmp_path, "{folder}/{video}.mp4")
    _celeb(tmp_path / "crops", "{folder}/{video}_000.png")
    (tmp_path / "crops/List_of_testing_videos.txt").unlink()
    for path in (tmp_path, tmp_path / "crops"):
        listing = _read(path)
        assert listing.root == tmp_path / "crops"
        assert len(_entries(listing, "test")) == 4
        assert "Celeb-real/id1_0000_000.png" in _entries(listing, "train")
    _celeb(tmp_path / "more", "{folder}/{video}_000.png")
    assert "crops/ (7 files), more/ (7 files); write the path of one of them" in _problems(tmp_path)


def test_celeb_df_without_its_list_is_not_split(tmp_path: Path) -> None:
    _celeb(tmp_path / "s")
    (tmp_path / "s/List_of_testing_videos.txt").unlink()
    listing = _read(tmp_path / "s")
    assert list(listing.parts) == [None]
    assert len(_entries(listing, None)) == 7


def test_celeb_df_is_loaded(tmp_path: Path) -> None:
    """Its own split shares persons: that is told, and no error; test alone has nothing to tell."""
    videos = ("id0_0001", "id0_0002"), ("00170",), ("id0_id1_0001", "id1_id0_0007")
    folders = ("Celeb-real", "YouTube-real", "Celeb-synthesis")
    paths = [f"{f}/{v}.mp4.jpg" for f, names in zip(folders, videos, strict=True) for v in names]
    _pictures(tmp_path / "celeb", *paths)
    _pictures(tmp_path, "own/real/a.png", "own/fake/b.png")
    _write(tmp_path / "celeb/List_of_testing_videos.txt", LIST)
    sets = _load(tmp_path, path="celeb")
    assert [frame.path for frame in sets["train"].frames] == ["Celeb-real/id0_0002.mp4.jpg"]
    assert sets["calibration"].frames == sets["train"].frames
    assert (sets["test"].real, sets["test"].fake) == (2, 2)
    (remark,) = sets["test"].remarks
    assert remark.startswith("List_of_testing_videos.txt names the test videos and the others are train")
    assert "id0" in remark
    alone = _load(tmp_path, test={"path": "celeb"}, train="own")
    assert [frame.path for frame in alone["test"].frames] == [frame.path for frame in sets["test"].frames]
    assert alone["test"].remarks == ()
    assert alone["test"].digest == sets["test"].digest
    with pytest.raises(UserError, match="is split already"):
        _load(tmp_path, path="celeb", split="auto", source_pattern="(id\\d+)")
    (tmp_path / "celeb/List_of_testing_videos.txt").unlink()
    sets = _load(tmp_path, path="celeb", split="auto", source_pattern=r"([^/]+)\.mp4")
    assert sum(len(frames.frames) for split, frames in sets.items() if split != "calibration") == 5


def test_a_source_pattern_goes_before_what_names_tell(tmp_path: Path) -> None:
    _celeb(tmp_path / "celeb")
    _pictures(tmp_path, *(str(path.relative_to(tmp_path)) for path in sorted((tmp_path / "celeb").rglob("*.jpg"))))
    sets = _load(tmp_path, path="celeb", source_pattern=r"([^/]+)\.mp4")
    assert sorted(frame.source or "" for frame in sets["test"].frames) == [
        "00170", "id0_0001", "id0_id1_0001", "id1_id0_0007",
    ]  # fmt: skip
    assert sets["test"].remarks == ()
    with pytest.raises(UserError, match="matches no frame"):
        _load(tmp_path, path="celeb", source_pattern="(actor)")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("0 Celeb-real/id0_0001.mp4\n", "line 1: '0 Celeb-real/id0_0001.mp4': Celeb-real/ is real, and in this list 1"),
        ("1 Celeb-real/id0_0001.mp4\nid1_0000\n", "(1 is real): line 2 'id1_0000'"),
        ("1 real/id0_0001.mp4\n", "line 1 '1 real/id0_0001.mp4'"),
        ("\n", "names no video; fetch it again"),
        (LIST + "1 Celeb-real/id9_0000.mp4\n", "1 of 5 test videos are not below"),
        (LIST + "1 Celeb-real/id9_0000.mp4\n", "Celeb-real/id9_0000.mp4; add them, or take their lines out"),
    ],
)
def test_a_wrong_list_of_celeb_df_is_refused(tmp_path: Path, lines: str, expected: str) -> None:
    _celeb(tmp_path)
    _write(tmp_path / "List_of_testing_videos.txt", lines)
    problems = _problems(tmp_path)
    assert expected in problems
    assert "List_of_testing_videos.txt" in problems


def test_a_few_missing_videos_are_told(tmp_path: Path) -> None:
    names = [f"id{i}_0000" for i in range(30)]
    _touch(tmp_path, *(f"Celeb-real/{name}.png" for name in names[1:]), "Celeb-synthesis/id0_id1_0000.png")
    lines = [*(f"1 Celeb-real/{name}.mp4" for name in names), "0 Celeb-synthesis/id0_id1_0000.mp4"]
    _write(tmp_path / "List_of_testing_videos.txt", "\r\n".join(lines))
    (remark,) = _read(tmp_path).remarks
    assert f"1 of 31 test videos are not below {tmp_path}: Celeb-real/id0_0000.mp4." in remark


def test_strange_names_are_left_out_and_told(tmp_path: Path) -> None:
    _celeb(tmp_path, "{folder}/{video}/000.png")
    _touch(tmp_path, "Celeb-real/thumbnail.png", *(f"Celeb-real/id0_0001/{i}.png" for i in range(1, 9)))
    (remark,) = _read(tmp_path).remarks
    assert remark.endswith(
        "of no video that Celeb-DF has (id0_0001, 00170): Celeb-real/thumbnail.png. They are left out."
    )
    _touch(tmp_path, *(f"Celeb-real/face{i}.png" for i in range(9)))
    assert "their names must begin with that of their video" in _problems(tmp_path)


def test_frames_of_two_kinds_are_told(tmp_path: Path) -> None:
    _celeb(tmp_path, "{folder}/frames/{video}/000.png")
    _celeb(tmp_path, "{folder}/crop/{video}/000.png")
    _celeb(tmp_path, "{folder}/masks/{video}/000.png")
    (remark,) = _read(tmp_path).remarks
    assert "are read from several folders: crop/ (7), frames/ (7). To leave one out, write `exclude: [crop]`" in remark
    _touch(tmp_path, "Celeb-real/id0_0001.png")
    assert "none (1), crop/ (7), frames/ (7)" in _read(tmp_path).remarks[0]


# ------------------------------------------------------------------------------------------- FaceForensics++
PAIRS = {"train": [["071", "054"]], "val": [["720", "672"]], "test": [["953", "974"], ["019", "018"]]}
IDS = ("071", "054", "720", "672", "953", "974", "019", "018")


def _faceforensics(root: Path, form: str = "frames/{video}/0003.png", compression: str = "c23") -> None:
    """Eight originals, and the fakes of four pairs by two methods, with the lists of pairs."""
    for video in IDS:
        _touch(root, f"original_sequences/youtube/{compression}/" + form.format(video=video))
    for method in ("Deepfakes", "NeuralTextures"):
        for first, second in (pair for pairs in PAIRS.values() for pair in pairs):
            for video in (f"{first}_{second}", f"{second}_{first}"):
                _touch(root, f"manipulated_sequences/{method}/{compression}/" + form.format(video=video))
    for split, pairs in PAIRS.items():
        _write(root / f"{split}.json", pairs)


@pytest.mark.parametrize(
    ("form", "index"),
    [
        ("frames/{video}/0003.png", 3),
        ("images/{video}/0003.png", 3),
        ("crop_dlib/{video}/003.png", 3),
        ("frames/{video}_003.png", 3),
        ("{video}.mp4.jpg", None),
        ("{video}/frame_3.png", 3),
    ],
)
def test_faceforensics_by_its_lists_of_pairs(tmp_path: Path, form: str, index: int | None) -> None:
    _faceforensics(tmp_path, form)
    listing = _read(tmp_path)
    original, fake = "original_sequences/youtube/c23/", "manipulated_sequences/Deepfakes/c23/"
    validation = _entries(listing, "validation")
    assert _labelled(validation.values()) == {
        original + form.format(video="720"): (0, "720"),
        original + form.format(video="672"): (0, "672"),
        **{
            f"manipulated_sequences/{method}/c23/{form.format(video=video)}": (1, "672;720")
            for method in ("Deepfakes", "NeuralTextures")
            for video in ("720_672", "672_720")
        },
    }
    entry = validation[fake + form.format(video="672_720")]
    assert entry.attributes == (("method", "Deepfakes"), ("compression", "c23"))
    assert (entry.video, entry.frame_index) == (fake + form.partition("{video}")[0] + "672_720", index)
    assert validation[original + form.format(video="720")].attributes == (("method", "youtube"), ("compression", "c23"))
    assert {split: len(part.entries) for split, part in listing.parts.items()} == {
        "train": 6, "validation": 6, "test": 12, "calibration": 6,
    }  # fmt: skip
    assert listing.remarks == ()


def test_faceforensics_leaves_masks_out(tmp_path: Path) -> None:
    """The download puts masks where compressions lie, DeepfakeBench beside the frames, and models are no frames."""
    _faceforensics(tmp_path)
    expected = set(_entries(_read(tmp_path), "test"))
    _touch(tmp_path, "manipulated_sequences/Deepfakes/masks/videos/953_974/000.png")
    _touch(tmp_path, "manipulated_sequences/Deepfakes/c23/masks/953_974/000.png")
    _touch(tmp_path, "manipulated_sequences/Deepfakes/models/953_974/sample.png")
    _faceforensics(tmp_path, "videos/{video}.mp4")
    _touch(tmp_path, "conversion_dict.json")
    listing = _read(tmp_path)
    assert set(_entries(listing, "test")) == expected
    videos = _entries(_read(tmp_path, VIDEOS), "test")
    assert len(videos) == 12
    assert videos["original_sequences/youtube/c23/videos/953.mp4"].video == "original_sequences/youtube/c23/videos/953"


def test_several_compressions_are_told(tmp_path: Path) -> None:
    _faceforensics(tmp_path)
    _faceforensics(tmp_path, compression="c40")
    (remark,) = _read(tmp_path).remarks
    assert "c23 (24), c40 (24). To leave one out, write `exclude: [c40]`" in remark
    assert {entry.source for entry in _entries(_read(tmp_path), "train").values()} == {"071", "054", "054;071"}
    (tmp_path / "original_sequences/youtube/c40").rename(tmp_path / "gone")
    remarks = _read(tmp_path).remarks
    assert any("real files are of c23 and fake ones of c23, c40" in remark for remark in remarks)


ACTORS = (
    "original_sequences/actors/c23/frames/01__hugging_happy/000.png",
    "original_sequences/actors/c23/frames/02__walking_outside_cafe_disgusted/000.png",
    "manipulated_sequences/DeepFakeDetection/c23/frames/01_02__hugging_happy__YVGY8LOK/000.png",
    "manipulated_sequences/DeepFakeDetection/c23/frames/02_01__meeting_serious__12345678/000.png",
)


def test_deepfakedetection_has_no_splits(tmp_path: Path) -> None:
    _touch(tmp_path / "dfd", *ACTORS)
    _write(tmp_path / "dfd/test.json", PAIRS["test"])
    expected = ((0, "01"), (0, "02"), (1, "01;02"), (1, "01;02"))
    assert _labelled(_entries(_read(tmp_path / "dfd"), None).values()) == dict(zip(ACTORS, expected, strict=True))
    _faceforensics(tmp_path / "both")
    _touch(tmp_path / "both", *ACTORS)
    listing = _read(tmp_path / "both")
    assert sum(len(part.entries) for split, part in listing.parts.items() if split != "calibration") == 24
    (remark,) = listing.remarks
    assert "4 files of 4 videos (DeepFakeDetection, actors) are left out" in remark


def test_flat_frames_of_deepfakedetection(tmp_path: Path) -> None:
    _touch(tmp_path, "original_sequences/actors/raw/01__kitchen_pan_0012.png")
    _touch(tmp_path, "manipulated_sequences/DeepFakeDetection/raw/01_02__kitchen_pan__ABCDEFG1_0012.png")
    entries = _entries(_read(tmp_path), None)
    videos = {entry.video: (entry.frame_index, entry.source) for entry in entries.values()}
    assert videos == {
        "original_sequences/actors/raw/01__kitchen_pan": (12, "01"),
        "manipulated_sequences/DeepFakeDetection/raw/01_02__kitchen_pan__ABCDEFG1": (12, "01;02"),
    }


def test_faceforensics_with_some_lists(tmp_path: Path) -> None:
    """Lists may lie in splits/, as in its repository; what they do not name is left out and told."""
    _faceforensics(tmp_path)
    for name in ("train", "val"):
        (tmp_path / f"{name}.json").unlink()
    (tmp_path / "splits").mkdir()
    (tmp_path / "test.json").rename(tmp_path / "splits/test.json")
    listing = _read(tmp_path)
    assert list(listing.parts) == ["test"]
    (remark,) = listing.remarks
    assert "12 files of 8 videos (Deepfakes, NeuralTextures, youtube) are left out: test.json names none" in remark
    (tmp_path / "splits/test.json").unlink()
    assert len(_entries(_read(tmp_path), None)) == 24


def test_a_list_whose_videos_were_not_fetched(tmp_path: Path) -> None:
    _faceforensics(tmp_path)
    _write(tmp_path / "train.json", [["111", "112"], ["113", "114"]])
    listing = _read(tmp_path)
    assert set(listing.parts) == {"validation", "test"}
    assert "train.json: none of its 4 ids has a file below" in listing.remarks[0]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("test.json", '[["953", "974"], ["019"', "test.json, line 1: is no JSON"),
        ("test.json", [["953", "974", "975"]], "pair 1: expected two ids of"),
        ("test.json", [["953", 974]], "found ['953', 974]"),
        ("test.json", {"953": "974"}, "expected a list of pairs of ids"),
        ("val.json", [["720", "071"]], "id '071' is in train.json too"),
        ("test.json", [*PAIRS["test"], ["900", "901"]], "2 of 6 ids have no file below"),
        ("val.json", [["720", "672"], ["111", "112"]], "111, 112; add the files, or take the pairs out of the list"),
    ],
)
def test_wrong_lists_of_faceforensics_are_refused(tmp_path: Path, name: str, content: Any, expected: str) -> None:
    _faceforensics(tmp_path)
    _write(tmp_path / name, content)
    assert expected in _problems(tmp_path)


def test_a_fake_of_two_splits_is_refused(tmp_path: Path) -> None:
    _faceforensics(tmp_path)
    _touch(tmp_path, "manipulated_sequences/Deepfakes/c23/frames/071_953/000.png")
    assert "fakes of two videos that the lists put into two splits; remove them: 071_953" in _problems(tmp_path)


def test_faceforensics_is_loaded(tmp_path: Path) -> None:
    _faceforensics(tmp_path / "ff")
    _pictures(tmp_path / "ff", *(str(p.relative_to(tmp_path / "ff")) for p in sorted((tmp_path / "ff").rglob("*.png"))))
    sets = _load(tmp_path, path="ff")
    assert {split: (frames.real, frames.fake) for split, frames in sets.items()} == {
        "test": (4, 8), "validation": (2, 4), "calibration": (2, 4), "train": (2, 4),
    }  # fmt: skip
    assert sets["test"].remarks == ()
    for split in ("train", "val", "test"):
        (tmp_path / f"ff/{split}.json").unlink()
    sets = _load(tmp_path, path="ff", split="auto")
    assert "train" in sets


# ------------------------------------------------------------------------------------------- DFDC
PART_0: dict[str, dict[str, Any]] = {
    "owxbbpjpch.mp4": {"label": "FAKE", "split": "train", "original": "wynotylpnm.mp4"},
    "vpmyeepbep.mp4": {"label": "REAL", "split": "train"},
    "wynotylpnm.mp4": {"label": "REAL", "split": "train", "original": None},
}
PART_1: dict[str, dict[str, Any]] = {
    "nlvvgrinhn.mp4": {"label": "FAKE", "split": "train", "original": "kczkjyntbx.mp4"},
    "kczkjyntbx.mp4": {"label": "REAL", "split": "train"},
}


def _dfdc(root: Path, form: str = "{part}/{video}.mp4") -> None:
    for part, metadata in (("dfdc_train_part_0", PART_0), ("dfdc_train_part_1", PART_1)):
        _write(root / part / "metadata.json", metadata)
        _touch(root, *(form.format(part=part, video=name.removesuffix(".mp4")) for name in metadata))


@pytest.mark.parametrize(
    ("form", "index"),
    [
        ("{part}/{video}.mp4", None),
        ("{part}/frames/{video}/003.png", 3),
        ("{part}/{video}_003.png", 3),
        ("crops/{video}/10_0.png", 10),
        ("crops/{video}.mp4.jpg", None),
    ],
)
def test_dfdc_by_its_metadata(tmp_path: Path, form: str, index: int | None) -> None:
    """Crops lie beside the parts, as the winner's code has them. All of it is train: that splits nothing."""
    _dfdc(tmp_path, form)
    listing = _read(tmp_path, VIDEOS if form.endswith(".mp4") else Options())
    assert list(listing.parts) == [None]
    expected = {
        ("dfdc_train_part_0", "owxbbpjpch"): (1, "wynotylpnm"),
        ("dfdc_train_part_0", "vpmyeepbep"): (0, "vpmyeepbep"),
        ("dfdc_train_part_0", "wynotylpnm"): (0, "wynotylpnm"),
        ("dfdc_train_part_1", "nlvvgrinhn"): (1, "kczkjyntbx"),
        ("dfdc_train_part_1", "kczkjyntbx"): (0, "kczkjyntbx"),
    }
    entries = _entries(listing, None)
    assert _labelled(entries.values()) == {
        form.format(part=part, video=video): values for (part, video), values in expected.items()
    }
    assert {entry.frame_index for entry in entries.values()} == {index}
    assert listing.remarks == ()


def test_dfdc_in_one_folder_with_splits(tmp_path: Path) -> None:
    metadata = {
        name: {**values, "split": "test" if name == "owxbbpjpch.mp4" else "train"} for name, values in PART_0.items()
    }
    _write(tmp_path / "metadata.json", metadata)
    _touch(tmp_path, *metadata, "sample_submission.csv")
    for path in (tmp_path, tmp_path / "metadata.json"):
        listing = _read(path, VIDEOS)
        assert set(_entries(listing, "test")) == {"owxbbpjpch.mp4"}
        assert set(_entries(listing, "train")) == {"vpmyeepbep.mp4", "wynotylpnm.mp4"}


@pytest.mark.parametrize("form", ["{video}.mp4", "videos/{video}.mp4", "frames/{video}/000.png"])
def test_dfdc_test_set_by_its_labels(tmp_path: Path, form: str) -> None:
    _write(tmp_path / "labels.csv", "filename,label\r\naalscayrfi.mp4,1\r\naamqkzvtfz.mp4,0\r\n")
    _touch(tmp_path, form.format(video="aalscayrfi"), form.format(video="aamqkzvtfz"))
    listing = _read(tmp_path, VIDEOS if form.endswith(".mp4") else Options())
    assert _labelled(_entries(listing, None).values()) == {
        form.format(video="aalscayrfi"): (1, "aalscayrfi"), form.format(video="aamqkzvtfz"): (0, "aamqkzvtfz"),
    }  # fmt: skip


def test_dfdc_below_split_folders(tmp_path: Path) -> None:
    """Its folders train/ and test/ are split folders, each with a list of its own form."""
    _dfdc(tmp_path / "train", "{part}/frames/{video}/000.png")
    _write(tmp_path / "test/labels.csv", "filename,label\naalscayrfi.mp4,1\naamqkzvtfz.mp4,0\n")
    _touch(tmp_path, "test/frames/aalscayrfi/000.png", "test/frames/aamqkzvtfz/000.png")
    listing = _read(tmp_path)
    assert {split: len(part.entries) for split, part in listing.parts.items()} == {"test": 2, "train": 5}
    assert {entry.source for entry in _entries(listing, "train").values()} == {"wynotylpnm", "vpmyeepbep", "kczkjyntbx"}


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({**PART_0, "a.mp4": {"label": "MAYBE"}}, "the label must be REAL or FAKE: 'a.mp4' 'MAYBE'"),
        ({**PART_0, "a.mp4": {"split": "train"}}, "the label must be REAL or FAKE: 'a.mp4' None"),
        ({**PART_0, "a.mp4": {"label": "REAL", "split": "tset"}}, "the split is none of test, testing"),
        ({**PART_0, "kczkjyntbx.mp4": {"label": "FAKE"}}, "says the other label of it; correct one of them"),
        ({**PART_0, "a.mp4": {"label": "REAL"}}, "1 of 4 videos are not below"),
        (json.dumps(PART_0)[:-20], "metadata.json, line 1: is no JSON"),
    ],
)
def test_wrong_metadata_of_dfdc_is_refused(tmp_path: Path, metadata: Any, expected: str) -> None:
    _dfdc(tmp_path)
    _write(tmp_path / "dfdc_train_part_0/metadata.json", metadata)
    problems = _problems(tmp_path, VIDEOS)
    assert expected in problems
    assert "metadata.json" in problems


def test_two_videos_of_dfdc_of_one_name_are_refused(tmp_path: Path) -> None:
    content = {
        f"{folder}/v0.mp4": {"label": "FAKE", "split": split, "original": f"{folder}.mp4"}
        for folder, split in (("a", "train"), ("b", "test"))
    }
    _write(tmp_path / "metadata.json", content)
    assert "another video is called so too, in another folder, split or of another original" in _problems(tmp_path)


def test_wrong_labels_of_dfdc_are_refused(tmp_path: Path) -> None:
    _touch(tmp_path, "a.mp4")
    _write(tmp_path / "labels.csv", "filename,label\na.mp4,2\n")
    assert "the label must be REAL or FAKE: 'a.mp4' '2'" in _problems(tmp_path, VIDEOS)
    _write(tmp_path / "labels.csv", "filename,label\na.mp4,1,x\n")
    assert "labels.csv, line 2: 3 cells; expected filename,label" in _problems(tmp_path, VIDEOS)


def test_metadata_of_something_else_makes_no_dfdc(tmp_path: Path) -> None:
    _touch(tmp_path, "a/1.png")
    _write(tmp_path / "metadata.json", {"license": "MIT"})
    _write(tmp_path / "labels.csv", "image,age\n1.png,30\n")
    assert [entry.label for entry in _read(tmp_path).parts[None].entries] == [None]


# ------------------------------------------------------------------------------------------- DeepfakeBench
def _video(folder: str, name: str, label: str, *numbers: int) -> dict[str, Any]:
    """As DeepfakeBench's files for Windows have it: paths with backslashes."""
    frames = [f"{folder}/{name}/{number:03d}.png".replace("/", "\\") for number in numbers or (0, 14, 1000)]
    return {name: {"label": label, "frames": frames}}


REAL, YOUTUBE, FAKE = (f"Celeb-DF-v2/{name}/frames" for name in ("Celeb-real", "YouTube-real", "Celeb-synthesis"))
CELEB = {
    "Celeb-DF-v2": {
        "CelebDFv2_real": {
            "train": {
                **_video(YOUTUBE, "00001", "CelebDFv2_real"),
                **_video(YOUTUBE, "00170", "CelebDFv2_real"),
                **_video(REAL, "id0_0001", "CelebDFv2_real"),
                **_video(REAL, "id0_0002", "CelebDFv2_real"),
            },
            "val": {**_video(YOUTUBE, "00170", "CelebDFv2_real"), **_video(REAL, "id0_0001", "CelebDFv2_real")},
            "test": {**_video(YOUTUBE, "00170", "CelebDFv2_real"), **_video(REAL, "id0_0001", "CelebDFv2_real")},
        },
        "CelebDFv2_fake": {
            "train": {
                **_video(FAKE, "id1_id0_0007", "CelebDFv2_fake"),
                **_video(FAKE, "id0_id2_0003", "CelebDFv2_fake"),
            },
            "val": _video(FAKE, "id1_id0_0007", "CelebDFv2_fake"),
            "test": _video(FAKE, "id1_id0_0007", "CelebDFv2_fake"),
        },
    }
}
"""Celeb-DF v2 as DeepfakeBench writes it: test videos stand under train and val too."""


def _frames(content: Any, root: Path) -> list[Path]:
    """Make the frames that a file lists, below a folder."""
    if isinstance(content, dict):
        return [path for value in content.values() for path in _frames(value, root)]
    paths = [root / frame.replace("\\", "/") for frame in content] if isinstance(content, list) else []
    for path in paths:
        _touch(path.parent, path.name)
    return paths


@pytest.mark.parametrize(
    ("json_at", "frames_at", "given"),
    [
        ("dataset_json/Celeb-DF-v2.json", ".", "."),
        ("dataset_json/Celeb-DF-v2.json", ".", "dataset_json"),
        ("dataset_json/Celeb-DF-v2.json", ".", "dataset_json/Celeb-DF-v2.json"),
        ("Celeb-DF-v2.json", ".", "Celeb-DF-v2.json"),
        ("preprocessing/dataset_json/Celeb-DF-v2.json", "datasets/rgb", "."),
        ("preprocessing/dataset_json/Celeb-DF-v2.json", "datasets/rgb", "preprocessing/dataset_json"),
    ],
)
def test_deepfakebench_finds_its_frames(tmp_path: Path, json_at: str, frames_at: str, given: str) -> None:
    _write(tmp_path / json_at, CELEB)
    _frames(CELEB, tmp_path / frames_at)
    listing = _read(tmp_path / given)
    test = _entries(listing, "test")
    below = "" if frames_at == "." else f"{frames_at}/"
    assert set(_entries(listing, "train")) == {
        f"{below}{folder}/{number}.png"
        for folder in (f"{YOUTUBE}/00001", f"{REAL}/id0_0002", f"{FAKE}/id0_id2_0003")
        for number in ("000", "014", "1000")
    }
    assert "validation" not in listing.parts
    entry = test[f"{below}{FAKE}/id1_id0_0007/1000.png"]
    assert (entry.label, entry.source, entry.video, entry.frame_index) == (
        1, "id0;id1", f"{below}{FAKE}/id1_id0_0007", 1000,
    )  # fmt: skip
    assert entry.attributes == (("method", "CelebDFv2_fake"),)
    assert Path(entry.file).is_file()
    in_video = sorted((e.frame_index or 0, e.path) for e in test.values() if "00170" in e.path)
    assert [Path(path).stem for _, path in in_video] == ["000", "014", "1000"]
    (remark,) = listing.remarks
    assert "3 test videos listed under train, validation too; read as test alone" in remark


def _forensics(head: str, levels: Iterable[str] = ("c23",)) -> dict[str, Any]:
    """FaceForensics++ by one method, with a compression after the split."""

    def videos(folder: str, label: str, names: Iterable[str]) -> dict[str, Any]:
        return {
            level: {
                k: v for name in names for k, v in _video(f"{head}{folder}/{level}/frames", name, label, 0, 7).items()
            }
            for level in levels
        }

    original, fake = "FaceForensics++/original_sequences/youtube", "FaceForensics++/manipulated_sequences/Deepfakes"
    return {
        "FF-DF": {
            "FF-real": {
                "train": videos(original, "FF-real", ["071"]),
                "val": videos(original, "FF-real", ["720"]),
                "test": videos(original, "FF-real", ["953"]),
            },
            "FF-DF": {
                "train": videos(fake, "FF-DF", ["071_054"]),
                "val": videos(fake, "FF-DF", ["720_672"]),
                "test": videos(fake, "FF-DF", ["953_974"]),
            },
        }
    }


@pytest.mark.parametrize("head", ["", "T:/Study Material/datasets/rgb/", "../dataset/", "/data/rgb/", "./"])
def test_deepfakebench_with_paths_of_another_machine(tmp_path: Path, head: str) -> None:
    _frames(_forensics(""), tmp_path)
    _write(tmp_path / "dataset_json/FF-DF.json", _forensics(head))
    listing = _read(tmp_path)
    assert listing.remarks == ()
    assert {split: len(part.entries) for split, part in listing.parts.items()} == {
        "test": 4, "train": 4, "validation": 4, "calibration": 4,
    }  # fmt: skip
    fake = "FaceForensics++/manipulated_sequences/Deepfakes/c23/frames/953_974"
    entry = _entries(listing, "test")[f"{fake}/007.png"]
    assert (entry.label, entry.source, entry.video, entry.frame_index) == (1, "953;974", fake, 7)
    assert entry.attributes == (("method", "FF-DF"), ("compression", "c23"))


def test_another_version_of_a_data_set_is_not_taken(tmp_path: Path) -> None:
    """Celeb-DF's versions have the same names inside; so have FaceForensics++'s compressions."""
    _write(tmp_path / "rgb/dataset_json/Celeb-DF-v2.json", CELEB)
    _frames(CELEB, tmp_path / "rgb")
    (tmp_path / "rgb/Celeb-DF-v2").rename(tmp_path / "rgb/Celeb-DF-v1")
    assert "none of its" in _problems(tmp_path / "rgb")
    (tmp_path / "rgb/dataset_json").rename(tmp_path / "rgb/Celeb-DF-v1/dataset_json")
    assert "none of its" in _problems(tmp_path / "rgb/Celeb-DF-v1")
    (tmp_path / "rgb/Celeb-DF-v1").rename(tmp_path / "rgb/Celeb-DF-v2")
    assert len(_entries(_read(tmp_path / "rgb/Celeb-DF-v2"), "test")) == 9


def test_deepfakebench_with_two_compressions(tmp_path: Path) -> None:
    content = _forensics("", ("c23", "c40"))
    _frames(content, tmp_path)
    _write(tmp_path / "dataset_json/FF-DF.json", content)
    (remark,) = _read(tmp_path).remarks
    assert "c23 (12), c40 (12). To leave one out, write `exclude: [c40]`" in remark


@pytest.mark.parametrize(
    ("word", "label"),
    [
        ("FF-real", 0), ("DFD_real", 0), ("DFDC_Real", 0), ("UADFV_Real", 0), ("roop_Real", 0), ("real", 0),
        ("FF-DF", 1), ("FF-F2F", 1), ("FF-FH", 1), ("DFD_fake", 1), ("DFDCP_FakeA", 1), ("EFSAll_Fake", 1),
        ("RealVis_Fake", 1), ("real_or_not", None), ("", None), ("17", None), (1, None), (None, None),
    ],
)  # fmt: skip
def test_labels_of_deepfakebench(tmp_path: Path, word: Any, label: int | None) -> None:
    content = {"S": {"a": {"test": _video("S/frames", "v0", word)}}}
    _frames({"frames": content["S"]["a"]["test"]["v0"]["frames"]}, tmp_path)
    _write(tmp_path / "dataset_json/S.json", content)
    if label is None:
        assert f"a label must end in real, or name a kind of fake: 'S/a/test/v0' {word!r}" in _problems(tmp_path)
    else:
        entries = _entries(_read(tmp_path), "test")
        assert {(entry.label, entry.source) for entry in entries.values()} == {(label, "S/frames/v0")}


def test_same_named_videos_of_deepfakebench_are_two(tmp_path: Path) -> None:
    content = {
        "DFDC": {
            "DFDC_Real": {"test": _video("DFDC/test/frames", "0000", "DFDC_Real")},
            "DFDC_Fake": {"test": _video("DFDC/more/frames", "0000", "DFDC_Fake")},
        }
    }
    _frames(content, tmp_path)
    _write(tmp_path / "dataset_json/DFDC.json", content)
    assert {e.video for e in _entries(_read(tmp_path), "test").values()} == {
        "DFDC/test/frames/0000", "DFDC/more/frames/0000",
    }  # fmt: skip


def test_a_split_that_is_a_video_itself(tmp_path: Path) -> None:
    """As DeepfakeBench's program writes DFDC's val, whose videos it puts beside the last video's keys."""
    last = _video("DFDC/test/frames", "zzz", "DFDC_Real")["zzz"]
    content = {
        "DFDC": {
            "DFDC_Real": {
                "test": {"zzz": last},
                "val": {**last, **_video("DFDC/train/frames", "aaa", "DFDC_Real")},
                "train": _video("DFDC/train/frames", "aaa", "DFDC_Real"),
            },
            "DFDC_Fake": {"test": _video("DFDC/test/frames", "yyy", "DFDC_Fake"), "train": {}, "val": {}},
        }
    }
    _frames(content, tmp_path)
    _write(tmp_path / "dataset_json/DFDC.json", content)
    listing = _read(tmp_path)
    assert {e.video for e in _entries(listing, "test").values()} == {"DFDC/test/frames/zzz", "DFDC/test/frames/yyy"}
    assert {e.video for e in _entries(listing, "train").values()} == {"DFDC/train/frames/aaa"}


def _without(listing_root: Path, frames: list[Path], count: int) -> Listing:
    for frame in frames[:count]:
        frame.unlink(missing_ok=True)
    return _read(listing_root)


def test_frames_of_deepfakebench_that_are_not_there(tmp_path: Path) -> None:
    content = {
        "S": {"a": {"test": {**_video("S/f", "000", "A_real", *range(30)), **_video("S/f", "001", "A_fake", 0)}}}
    }
    frames = _frames(content, tmp_path)
    _write(tmp_path / "dataset_json/S.json", content)
    (remark,) = _without(tmp_path, frames, 3).remarks
    assert f"S.json: 3 of 31 test frames are not below {tmp_path}: S/f/000/000.png, S/f/000/001.png" in remark
    (problem,) = _without(tmp_path, frames, 4).problems
    assert "4 of 31 test frames" in problem
    assert "add them, or take them out of the list" in problem
    (problem,) = _without(tmp_path, frames, 31).problems
    assert "none of its 31 frames" in problem
    assert "put dataset_json/ beside the folder that their paths begin with" in problem


def test_a_split_of_deepfakebench_without_frames_is_left_out(tmp_path: Path) -> None:
    _write(tmp_path / "dataset_json/FF-DF.json", _forensics(""))
    _frames({key: value["test"] for key, value in _forensics("")["FF-DF"].items()}, tmp_path)
    listing = _read(tmp_path)
    assert list(listing.parts) == ["test"]
    assert [remark.partition("none of its ")[2].partition(" is")[0] for remark in listing.remarks] == [
        "4 train frames", "4 validation frames",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "S.json, line 1: is no JSON"),
        ([], "expected {set: {label: {split: {video: {label, frames}}}}}: the file is []"),
        ({"S": {"real": {"test": {"v": {"label": "real", "frames": "a.png"}}}}}, "`frames` must be a list of paths"),
        ({"S": {"real": {"tset": {}}}}, "the split is none of test,"),
        ({"S": {"real": {"test": {}}}}, "lists no video with frames"),
        ({"license": "MIT"}, "'license' is 'MIT'"),
    ],
)
def test_wrong_files_of_deepfakebench_are_refused(tmp_path: Path, content: Any, expected: str) -> None:
    _write(tmp_path / "dataset_json/S.json", content)
    assert expected in _problems(tmp_path)


def test_one_set_of_deepfakebench_is_named(tmp_path: Path) -> None:
    for name in ("FF-DF", "FF-F2F"):
        _write(tmp_path / f"dataset_json/{name}.json", _forensics(""))
    assert "holds several sets; write the path of one of them: FF-DF.json, FF-F2F.json" in _problems(tmp_path)
    _frames(_forensics(""), tmp_path)
    assert _entries(_read(tmp_path / "dataset_json/FF-F2F.json"), "test")


def test_deepfakebench_is_loaded(tmp_path: Path) -> None:
    _write(tmp_path / "rgb/dataset_json/Celeb-DF-v2.json", CELEB)
    paths = _frames(CELEB, tmp_path / "rgb")
    _pictures(tmp_path / "rgb", *(str(path.relative_to(tmp_path / "rgb")) for path in paths))
    sets = _load(tmp_path, path="rgb")
    assert (sets["test"].real, sets["test"].fake, len(sets["train"].frames)) == (6, 3, 9)
    assert any("the same persons" in remark and "(id0" in remark for remark in sets["test"].remarks)
    assert _load(tmp_path, test={"path": "rgb/dataset_json/Celeb-DF-v2.json"})["test"].digest == sets["test"].digest


# ------------------------------------------------------------------------------------------- any of them
def test_the_plain_form_stays_plain(tmp_path: Path) -> None:
    """Folders real/ and fake/, or of splits, whatever lies beside them."""
    _touch(tmp_path, "real/a.png", "fake/b.png", "Celeb-real/id0_0000.png", "original_sequences/youtube/c23/000.png")
    _write(tmp_path / "metadata.json", PART_0)
    assert set(_entries(_read(tmp_path), None)) == {"real/a.png", "fake/b.png"}


def _tree_of_each(root: Path) -> dict[str, Path]:
    _celeb(root / "celeb")
    _faceforensics(root / "ff")
    _dfdc(root / "dfdc", "{part}/{video}.png")
    _write(root / "bench/dataset_json/S.json", CELEB)
    _frames(CELEB, root / "bench")
    return {name: root / name for name in ("celeb", "ff", "dfdc", "bench")}


def test_what_is_left_out_is_not_missed(tmp_path: Path) -> None:
    """A pattern of `exclude` leaves frames out of every split, and no list misses them."""
    patterns = {"celeb": "YouTube-real", "ff": "NeuralTextures", "dfdc": "owxbbpjpch.png", "bench": "YouTube-real"}
    for name, path in _tree_of_each(tmp_path).items():
        everything, rest = _read(path), _read(path, Options(exclude=(patterns[name],)))
        assert rest.problems == ()
        assert rest.remarks == everything.remarks
        left_out = {e.path for p in everything.parts.values() for e in p.entries if patterns[name] in e.path}
        kept_paths = {e.path for p in rest.parts.values() for e in p.entries}
        assert left_out
        assert kept_paths == {e.path for p in everything.parts.values() for e in p.entries} - left_out
        assert (Unused("excluded", patterns[name], len(left_out))) in rest.unused
        (problem,) = _read(path, Options(exclude=("nowhere",))).problems
        assert "matches no file there" in problem


def test_what_lies_beside_frames_is_counted(tmp_path: Path) -> None:
    paths = _tree_of_each(tmp_path)
    _touch(paths["celeb"], "Celeb-real/notes.txt", "Celeb-real/id0_0001.mp4", "Celeb-real/.DS_Store")
    _touch(paths["ff"], "manipulated_sequences/Deepfakes/masks/videos/953_974/000.png")
    _touch(paths["ff"], "manipulated_sequences/Deepfakes/masks/videos/953_974/001.png")
    _touch(paths["dfdc"], "dfdc_train_part_0/vpmyeepbep.mp4")
    _touch(paths["bench"], f"{REAL}/id0_0001/777.png")
    assert {unused.kind: unused.count for unused in _read(paths["celeb"]).unused} == {
        "ending": 1, "video": 1, "hidden": 1,
    }  # fmt: skip
    assert _read(paths["ff"]).unused == (Unused("beside", "masks", 2),)
    assert Unused("video", ".mp4", 1) in _read(paths["dfdc"]).unused
    assert _read(paths["bench"]).unused == (Unused("unlisted", "", 1),)


def test_what_a_data_set_says_itself_is_not_said_again(tmp_path: Path) -> None:
    for path in _tree_of_each(tmp_path).values():
        (problem,) = _read(path, Options(labels={"celeb-real": 0})).problems
        assert "`labels` is for folders and manifests" in problem
        assert "`columns` is for" in _problems(path, Options(columns={"path": "file"}))


def test_a_manifest_goes_before_any_of_them(tmp_path: Path) -> None:
    _celeb(tmp_path)
    _write(tmp_path / "manifest.csv", "path,label\nCeleb-real/id0_0001.mp4.jpg,real\n")
    assert set(_entries(_read(tmp_path), None)) == {"Celeb-real/id0_0001.mp4.jpg"}


def test_frames_that_are_not_there_are_named(tmp_path: Path) -> None:
    _celeb(tmp_path / "celeb", "{folder}/{video}.mp4")
    _faceforensics(tmp_path / "ff", "videos/{video}.mp4")
    _dfdc(tmp_path / "dfdc")
    for name in ("celeb", "ff", "dfdc"):
        assert f"{tmp_path / name}: no frames (.jpg" in _problems(tmp_path / name)


def test_links_are_followed_once(tmp_path: Path) -> None:
    _celeb(tmp_path / "s", "{folder}/frames/{video}/000.png")
    (tmp_path / "s/Celeb-real/frames").rename(tmp_path / "elsewhere")
    (tmp_path / "s/Celeb-real/frames").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/again").symlink_to(tmp_path / "elsewhere")
    assert "Celeb-real/frames/id0_0001/000.png" in _entries(_read(tmp_path / "s"), "test")
    assert len(_entries(_read(tmp_path / "s"), "train")) == 3


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 999) | st.sampled_from(("a.mp4", "REAL", "../x", "953", "\0", "é", "")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(("a.mp4", "label", "split", "original", "frames", "test", "train", "c23", "S", "\0")),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


def _deep_inside(content: Any) -> Any:
    return {"S": {"FF-real": {"test": content}}, "a.mp4": content}


def _frames_of_a_video(content: Any) -> Any:
    frames = ["a.png", content, "\ud800\\a.png", "/", "..", "x/\0/a.png"]
    video = {
        "label": content if isinstance(content, str) else "REAL",
        "frames": frames if isinstance(content, str) else [],
    }
    return {"S": {"FF-real": {"test": {"a": video, "b": content}}}, "a.mp4": video}


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=ANY_JSON | ANY_JSON.map(_deep_inside) | ANY_JSON.map(_frames_of_a_video) | ANY_JSON.map(lambda x: [x, x])
)
def test_any_list_is_read_or_refused(tmp_path: Path, content: Any) -> None:
    """Whatever a stranger's list holds, what comes back is a listing, and its problems are sentences."""
    roots = [tmp_path / name for name in ("bench", "dfdc", "ff")]
    for root, name in zip(roots, ("dataset_json/S.json", "metadata.json", "test.json"), strict=True):
        _write(root / name, json.dumps(content))
    _touch(tmp_path, "bench/a.png", "dfdc/a.png", "ff/original_sequences/youtube/c23/953/000.png")
    for path in (roots[0], roots[1] / "metadata.json", roots[2]):
        listing = _read(path)
        assert listing.problems or listing.parts
        assert all(str(tmp_path) in problem for problem in listing.problems)
