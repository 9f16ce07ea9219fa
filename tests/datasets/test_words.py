"""Words for classes and splits, patterns of files that are left out, and hints for what people write instead."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.datasets import FrameSetSettings, exclude
from bench.datasets.label_hints import line_to_write
from bench.records import FrameSet, label_word, meaning
from tests.support.frames import load_set, pictures, refused_set


def _labels(frames: FrameSet) -> dict[str, int | None]:
    return {frame.path: frame.label for frame in frames.frames}


# ---------------------------------------------------------------------------------------------- cells
@pytest.mark.parametrize(
    ("cell", "word"),
    [
        (1, "1"), (1.0, "1"), ("1.0", "1"), (" 01 ", "1"), ("1.00", "1"), (0.0, "0"), ("+1", "1"), (True, "true"),
        ("FAKE", "fake"), (" Real\n", "real"), (None, ""), (float("nan"), ""), ("NaN", ""), ("", ""), ("  ", ""),
        ("<NA>", ""), ("0.5", "0.5"), ("-1", "-1"), ("1e0", "1e0"), ("Zoe\u0308", "zoë"),
    ],
)  # fmt: skip
def test_a_cell_is_one_word_however_it_is_written(cell: object, word: str) -> None:
    assert label_word(cell) == word


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize(
    "labels", [[0.0, 1.0, None], [False, True, None], ["REAL", "Fake", ""], ["0", "1.0", "nan"]], ids=str
)
def test_a_manifest_reads_labels_as_pandas_writes_them(tmp_path: Path, kind: str, labels: list[Any]) -> None:
    pictures(tmp_path, "a.png", "b.png", "c.png")
    rows = {"path": ["a.png", "b.png", "c.png"], "label": labels, "split": ["test", "test", "calibration"]}
    table = pd.DataFrame(rows)
    table.to_csv(tmp_path / "m.csv", index=False)
    table.to_parquet(tmp_path / "m.parquet")
    sets = load_set(tmp_path, path=f"m.{kind}")
    assert _labels(sets["test"]) == {"a.png": 0, "b.png": 1}
    assert _labels(sets["calibration"]) == {"c.png": None}


def test_a_number_between_is_no_label(tmp_path: Path) -> None:
    pictures(tmp_path, "a.png", "b.png")
    (tmp_path / "m.csv").write_text("path,label\na.png,0.5\nb.png,1\n")
    assert "label is neither real, 0 nor fake, 1: line 2 '0.5'" in refused_set(tmp_path, path="m.csv")


# ------------------------------------------------------------------------------------------ own words
def test_words_of_the_owner_for_folders_and_cells(tmp_path: Path) -> None:
    pictures(tmp_path, "s/test/Nature/a.png", "s/test/ai/v/b.png", "s/valid/nature/c.png", "s/valid/AI/d.png")
    settings = {"labels": {"real": ["nature"], "fake": ["ai"]}}
    sets = load_set(tmp_path, path="s", **settings)
    assert _labels(sets["test"]) == {"Nature/a.png": 0, "ai/v/b.png": 1}
    assert _labels(sets["validation"]) == {"AI/d.png": 1, "nature/c.png": 0}
    rows = [("path", "label"), ("s/test/Nature/a.png", "NATURE"), ("s/test/ai/v/b.png", "ai")]
    with (tmp_path / "m.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    assert list(_labels(load_set(tmp_path, path="m.csv", **settings)["test"]).values()) == [0, 1]
    assert load_set(tmp_path, test={"path": "s/test", **settings})["test"].fake == 1


def test_a_folder_a_method_beside_real(tmp_path: Path) -> None:
    """The folders are then what the report slices by."""
    pictures(tmp_path, "s/real/v/a.png", "s/DeepFakes/x/b.png", "s/Face2Face/c.png")
    frames = load_set(tmp_path, path="s", labels={"fake": ["DeepFakes", "Face2Face"]})["test"].frames
    assert [(f.path, f.label, dict(f.attributes)) for f in frames] == [
        ("DeepFakes/x/b.png", 1, {"folder": "DeepFakes"}),
        ("Face2Face/c.png", 1, {"folder": "Face2Face"}),
        ("real/v/a.png", 0, {"folder": "v"}),
    ]


def test_numbers_may_be_turned_round(tmp_path: Path) -> None:
    """In the list file of Celeb-DF 1 is real. YAML reads 1 and true as what they are."""
    pictures(tmp_path, "a.png", "b.png")
    (tmp_path / "m.csv").write_text("path,label\na.png,1.0\nb.png,0\n")
    turned = {"real": [1, True], "fake": [0]}
    assert _labels(load_set(tmp_path, path="m.csv", labels=turned)["test"]) == {"a.png": 0, "b.png": 1}


@pytest.mark.parametrize(
    ("word", "label"),
    [
        ("0_real", 0), ("1_fake", 1), ("nature", 0), ("ai", 1), ("Original", 0), ("manipulated", 1), ("bonafide", 0),
        ("bona-fide", 0), ("spoof", 1), ("training_real", 0), ("training_fake", 1), ("genuine", 0), ("authentic", 0),
        ("synthetic", 1), ("ffhq", 0), ("original_sequences", 0), ("DeepFakes", 1), ("StyleGAN2", 1), ("A_original", 0),
        ("real_vs_fake", None), ("faces", None), ("video_3", None), ("unreal", None), ("2", None),
    ],
)  # fmt: skip
def test_words_of_the_field(word: str, label: int | None) -> None:
    assert meaning(word) == label


def test_the_line_to_write_is_yaml() -> None:
    import yaml

    names = ["0_real", "yes original", "fake: 1", "[ai]", "ffhq", "real"]
    line = line_to_write(names)
    assert yaml.safe_load(line) == {"labels": {"real": ["0_real", "yes original", "ffhq"], "fake": ["fake: 1", "[ai]"]}}


@pytest.mark.parametrize("words", [("0_real", "1_fake"), ("nature", "ai"), ("original", "manipulated")])
def test_following_the_hint_works(tmp_path: Path, words: tuple[str, str]) -> None:
    import yaml

    pictures(tmp_path, f"s/{words[0]}/a.png", f"s/{words[1]}/b.png")
    (line,) = re.findall(r"write `(labels: .*?)`", refused_set(tmp_path, path="s"))
    assert load_set(tmp_path, path="s", **yaml.safe_load(line))["test"].fake == 1


# ---------------------------------------------------------------------------------------------- splits
def test_valid_and_dev_are_validation(tmp_path: Path) -> None:
    for word in ("valid", "val", "dev"):
        folder = tmp_path / word
        pictures(folder, f"{word}/real/c.png", f"{word}/fake/d.png", "testing/real/a.png", "testing/fake/b.png")
        pictures(folder, "training/e.png", "calib/f.png")
        assert set(load_set(tmp_path, path=word)) == {"test", "validation", "train", "calibration"}


# ---------------------------------------------------------------------------------------------- exclude
@pytest.mark.parametrize(
    ("pattern", "hit", "missed"),
    [
        ("masks", ["masks/a.png", "fake/c23/masks/v/a.png", "fake/masks"], ["fake/masks2/a.png", "fake/xmasks/a.png"]),
        ("*_mask.png", ["a_mask.png", "fake/v/a_mask.png"], ["a_mask.png2", "a_mask_png", "masks/a.png"]),
        ("fake/*/masks", ["fake/c23/masks/a.png"], ["fake/masks/a.png", "x/fake/c/masks/a.png", "fake/a/b/masks/c"]),
        ("fake/**/masks", ["fake/masks/a.png", "fake/a/b/masks/c.png"], ["real/masks/a.png"]),
        ("/masks", ["masks/a.png"], ["fake/masks/a.png"]),
        ("old/**", ["old/a.png", "old/b/c.png"], ["fake/old/a.png"]),
        ("masks/", ["fake/masks/a.png"], ["fake/masks"]),
        ("v[0-3]?.png", ["v01.png", "fake/v3x.png"], ["v41.png", "v0.png", "v0/.png"]),
        ("[!a]b.png", ["cb.png"], ["ab.png"]),
        ("a+(b).png", ["a+(b).png"], ["aab.png"]),
    ],
)  # fmt: skip
def test_patterns_are_those_of_gitignore(pattern: str, hit: list[str], missed: list[str]) -> None:
    assert exclude.checked(pattern) == pattern
    assert [path for path in hit if exclude.matching((pattern,), path) != pattern] == []
    assert [path for path in missed if exclude.matching((pattern,), path)] == []


def test_excluded_files_are_no_frames(tmp_path: Path) -> None:
    pictures(tmp_path, "s/test/real/a.png", "s/test/fake/b.png", "s/test/fake/masks/b.png", "s/train/real/x.png")
    assert _labels(load_set(tmp_path, path="s", exclude=["test/fake/masks"])["test"]) == {
        "fake/b.png": 1,
        "real/a.png": 0,
    }
    assert "'mask' of `exclude` matches no file" in refused_set(tmp_path, path="s", exclude=["masks", "mask"])
    (tmp_path / "s/manifest.csv").write_text(
        "path,label\ntest/real/a.png,0\ntest/fake/b.png,1\ntest/fake/masks/b.png,mask\n"
    )
    assert len(load_set(tmp_path, path="s", exclude=["masks"])["test"].frames) == 2


@pytest.mark.parametrize("pattern", ["", "/", "!x", "[z-a]", "a" * 300, "**/a/" * 5])
def test_patterns_that_are_none(pattern: str) -> None:
    with pytest.raises(ValueError, match="exclude"):
        FrameSetSettings.model_validate({"path": "s", "exclude": [pattern]})
