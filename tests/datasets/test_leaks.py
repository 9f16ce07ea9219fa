"""What would leak between splits, or turn labels round, in forms in which people have their frames."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

from bench import datasets
from bench.datasets.settings import FrameSetSettings
from bench.errors import UserError
from bench.records import FrameSet, Split

COUNTER = iter(range(10**6))


def picture(file: Path) -> None:
    """One that no other test or frame has."""
    file.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(next(COUNTER))
    Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(file)


def load(base: Path, **settings: Any) -> dict[Split, FrameSet]:
    return datasets.load("s", FrameSetSettings.model_validate(settings), base, base / "cache")


def refused(base: Path, **settings: Any) -> str:
    with pytest.raises(UserError) as caught:
        load(base, **settings)
    return str(caught.value)


def manifest(file: Path, rows: Iterable[tuple[object, ...]], columns: str = "path,label,source") -> None:
    """A manifest beside its pictures."""
    written = [tuple(map(str, row)) for row in rows]
    for path, *_ in written:
        picture(file.parent / path)
    with file.open("w", newline="") as target:
        csv.writer(target).writerows([columns.split(","), *written])


# ------------------------------------------------------------------------------------------- splits inside of classes
@pytest.mark.parametrize(("real", "fake"), [("real", "fake"), ("real/youtube", "fake/DF")])
def test_split_folders_inside_of_the_classes_are_splits(tmp_path: Path, real: str, fake: str) -> None:
    for folder in (real, fake):
        for split, count in (("train", 3), ("val", 2), ("test", 2)):
            for index in range(count):
                picture(tmp_path / "set" / folder / split / f"{index}.png")
    sets = load(tmp_path, path="set")
    assert {split: len(frames.frames) for split, frames in sets.items() if split != "calibration"} == {
        "test": 4, "validation": 4, "train": 6
    }  # fmt: skip
    methods = {value for frame in sets["test"].frames for name, value in frame.attributes if name == "folder"}
    assert methods == ({"youtube", "DF"} if "/" in real else set())
    assert "is split already" in refused(tmp_path, path="set", split="auto")


def test_frames_beside_split_folders_inside_of_the_classes_are_refused(tmp_path: Path) -> None:
    for path in ("real/train/0.png", "real/1.png", "fake/train/2.png", "fake/test/3.png", "real/test/4.png"):
        picture(tmp_path / "set" / path)
    assert "1 of 5 frames lie in no split folder, such as real/1.png, and others in folders for" in refused(
        tmp_path, path="set"
    )


@pytest.mark.parametrize("folders", [("test", "other"), ("train", "cat"), ("train",), ("test",)])
def test_a_single_folder_that_is_called_like_a_split_may_be_anything(tmp_path: Path, folders: tuple[str, ...]) -> None:
    for label in ("real", "fake"):
        for folder in folders:
            for index in range(6):
                picture(tmp_path / "set" / label / folder / f"{index}.png")
    assert len(load(tmp_path, path="set")["test"].frames) == 12 * len(folders)
    assert len(load(tmp_path, path="set", split="auto", source_pattern="(.+)")) > 1


# ------------------------------------------------------------------------------------------------ sources of two
def test_the_second_person_may_be_real_in_another_split_alone(tmp_path: Path) -> None:
    for split, people in (("test", ("id0", "id1")), ("train", ("id5", "id6"))):
        for person in people:
            picture(tmp_path / f"set/{split}/real/{person}_0000.png")
    for path in ("test/fake/id0_id5_0001", "test/fake/id1_id6_0001", "train/fake/id5_id6_0001"):
        picture(tmp_path / f"set/{path}.png")
    text = refused(tmp_path, path="set", source_pattern=r"(id\d+)")
    assert "the same source on both sides" in text
    assert "'id5'" in text
    assert "'id6'" in text


@pytest.mark.parametrize("between", ["_", ",", " + ", "|"])
def test_a_manifests_source_that_is_spelled_of_two_is_both(tmp_path: Path, between: str) -> None:
    reals = [(f"r{name}.png", "real", name) for name in ("953", "974", "101", "007")]
    fakes = [("f1.png", "fake", f"953{between}974"), ("f2.png", "fake", f"101{between}007")]
    manifest(tmp_path / "set/manifest.csv", [*reals, *fakes])
    test = load(tmp_path, path="set")["test"]
    assert {frame.source for frame in test.frames if frame.label == 1} == {"953;974", "007;101"}
    assert any(
        "2 fakes have a source that is spelled of several that real frames have" in text for text in test.remarks
    )


def test_names_that_real_frames_have_too_are_no_two_sources(tmp_path: Path) -> None:
    rows = [("a.png", "real", "1"), ("b.png", "real", "2"), ("c.png", "real", "1_2"), ("d.png", "fake", "2_1")]
    manifest(tmp_path / "set/manifest.csv", rows)
    assert [frame.source for frame in load(tmp_path, path="set")["test"].frames] == ["1", "2", "1_2", "2_1"]


def test_numbers_that_may_count_takes_are_no_sources(tmp_path: Path) -> None:
    rows = [(f"r{i}.png", "real", str(i)) for i in range(6)]
    rows += [(f"f{i}.png", "fake", f"{i}_{take}") for i, take in ((0, 1), (1, 2), (2, 1), (3, 1))]
    manifest(tmp_path / "set/manifest.csv", rows)
    fakes = [frame for frame in load(tmp_path, path="set")["test"].frames if frame.label == 1]
    assert [frame.source for frame in fakes] == ["0_1", "1_2", "2_1", "3_1"]


def test_what_a_pattern_finds_is_one_source(tmp_path: Path) -> None:
    for name in ("real/953", "real/974", "fake/953_974"):
        picture(tmp_path / f"set/{name}.png")
    frames = load(tmp_path, path="set", source_pattern=r"(\d+_\d+|\d+)()")["test"].frames
    assert [frame.source for frame in frames] == ["953_974", "953", "974"]


def test_a_list_in_parquet_is_several_sources(tmp_path: Path) -> None:
    rows = [{"path": "a.png", "label": 0, "source": ["001"]}, {"path": "b.png", "label": 1, "source": ["001", "002"]}]
    for row in rows:
        picture(tmp_path / "set" / str(row["path"]))
    pa.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "set/manifest.parquet")
    assert [frame.source for frame in load(tmp_path, path="set")["test"].frames] == ["001", "001;002"]


def test_sources_that_are_spelled_otherwise_in_another_manifest(tmp_path: Path) -> None:
    for split, spelled in (("test", "{}.0"), ("train", "{}")):
        rows = [(f"{split}{i}{label}.png", label, spelled.format(i)) for i in range(3) for label in (0, 1)]
        manifest(tmp_path / f"{split}.csv", rows)
    assert "the same source on both sides" in refused(tmp_path, test="test.csv", train="train.csv")
    for split, spelled in (("test", "ID{}.mp4"), ("train", "id{}")):
        rows = [(f"{split}{i}{label}.png", label, spelled.format(i)) for i in range(3) for label in (0, 1)]
        manifest(tmp_path / f"{split}.csv", rows)
    (remark,) = [text for text in load(tmp_path, test="test.csv", train="train.csv")["test"].remarks if "spell" in text]
    assert "3 sources of test or validation and of train or calibration look like one in two spellings" in remark
    assert "'ID0.mp4' and 'id0'" in remark


@pytest.mark.parametrize(
    ("real", "fake"),
    [
        (
            "original_sequences/youtube/c23/frames/{}/000/0.png",
            "manipulated_sequences/Deepfakes/c23/frames/{}/000/0.png",
        ),
        ("Celeb-real/id{}_0001/00003/0.png", "Celeb-synthesis/id{}_id{}_0001/00003/0.png"),
    ],
)  # fmt: skip
def test_a_folder_for_each_face_below_a_video_is_no_video(tmp_path: Path, real: str, fake: str) -> None:
    people = [f"{number:03d}" for number in range(4)] if "original" in real else ["1", "2", "3", "4"]
    pairs = list(zip(people, people[1:] + people[:1], strict=True))
    for target, other in pairs:
        picture(tmp_path / "set" / real.format(target))
        pair = (f"{target}_{other}",) if "original" in real else (target, other)
        picture(tmp_path / "set" / fake.format(*pair))
    sources = {name for frame in load(tmp_path, path="set")["test"].frames for name in frame.sources}
    assert sources == ({*people} if "original" in real else {f"id{person}" for person in people})


# -------------------------------------------------------------------------------------------------------- labels
def test_a_column_that_is_called_for_real_frames_is_not_read_as_fake(tmp_path: Path) -> None:
    manifest(tmp_path / "set/manifest.csv", [(f"{i}.png", i % 2, i) for i in range(4)], "filename,is_real,source")
    columns = {"path": "filename", "label": "is_real", "source": "source"}
    text = refused(tmp_path, path="set", columns=columns)
    assert "the column 'is_real' holds 0, 1, of which 1 would be read as fake" in text
    assert "`labels: {real: ['1'], fake: ['0']}`" in text
    sets = load(tmp_path, path="set", columns=columns, labels={"real": ["1"], "fake": ["0"]})
    assert [frame.label for frame in sets["test"].frames] == [1, 0, 1, 0]


def test_a_column_of_what_people_said_is_read_as_ever(tmp_path: Path) -> None:
    manifest(tmp_path / "set/manifest.csv", [(f"{i}.png", i % 2, i) for i in range(4)], "path,human_label,source")
    columns = {"path": "path", "label": "human_label", "source": "source"}
    assert [frame.label for frame in load(tmp_path, path="set", columns=columns)["test"].frames] == [0, 1, 0, 1]


def test_masks_in_colour_and_beside_their_frames(tmp_path: Path) -> None:
    for index in range(4):
        picture(tmp_path / f"set/real/{index}.png")
        picture(tmp_path / f"set/fake/{index}.png")
        forged = np.zeros((128, 128, 3), np.uint8)
        forged[20 : 60 + index, 30:90] = 255
        Image.fromarray(forged).save(tmp_path / f"set/fake/{index}_mask.png")
        Image.fromarray(forged).resize((90, 90)).convert("L").save(tmp_path / f"set/fake/{index}_gt.jpg")
    test = load(tmp_path, path="set")["test"]
    assert test.masks == tuple(f"fake/{index}_mask.png" for index in range(4))
    (remark,) = [text for text in test.remarks if "called like another one" in text]
    assert "4 of 12 test frames are called like another one with _gt behind it" in remark
    assert len(load(tmp_path, path="set", exclude=["**/*_gt.*"])["test"].frames) == 8


def test_a_black_frame_in_colour_is_a_frame(tmp_path: Path) -> None:
    for label in ("real", "fake"):
        picture(tmp_path / f"set/{label}/0.png")
        Image.new("RGB", (300, 300), (len(label) - 4,) * 3).save(tmp_path / f"set/{label}/black.png")
    Image.new("RGB", (300, 300), (7, 7, 7)).save(tmp_path / "set/fake/black.png")
    assert len(load(tmp_path, path="set")["test"].frames) == 4


def test_sources_that_end_in_the_middle_of_a_number_are_told(tmp_path: Path) -> None:
    for video in range(1, 7):
        picture(tmp_path / f"set/{('real', 'fake')[video % 2]}/{video:04d}/0000.png")
    pattern = r"/(\d{3})(?:_(\d{3}))?"
    remarks = load(tmp_path, path="set", source_pattern=pattern)["test"].remarks
    assert any("are one for all frames" in text for text in remarks)
    for video in range(10, 17):
        picture(tmp_path / f"set/{('real', 'fake')[video % 2]}/{video:04d}/0000.png")
    remarks = load(tmp_path, path="set", source_pattern=pattern)["test"].remarks
    assert any("gives end in the middle of a number: '001'" in text for text in remarks)
    assert not load(tmp_path, path="set", source_pattern=r"/(\d{4})/")["test"].remarks
