"""The field's data sets as videos, in the form that their makers hand them out: extracted as they lie."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench import datasets
from bench.datasets import FrameSetSettings
from tests.support import tiny
from tests.support.command_line import bench
from tests.support.footage import portrait, write_video

PAIRS = {"train": [["071", "054"]], "val": [["720", "672"]], "test": [["953", "974"]]}


def write_videos(root: Path, paths: Sequence[str]) -> None:
    """A short video for each path, H.264 as the data sets have it, no two alike."""
    for seed, path in enumerate(paths):
        write_video(root / path, 3, draw=partial(portrait, seed=seed))


def write_json(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content), encoding="utf-8")


def faceforensics(root: Path) -> None:
    """Originals of three pairs, their fakes by two methods, masks, and the lists of pairs."""
    pairs = [pair for of_split in PAIRS.values() for pair in of_split]
    fakes = [f"{a}_{b}" for pair in pairs for a, b in (pair, pair[::-1])]
    paths = [f"original_sequences/youtube/c23/videos/{video}.mp4" for pair in pairs for video in pair]
    for method in ("Deepfakes", "NeuralTextures"):
        paths += [f"manipulated_sequences/{method}/c23/videos/{video}.mp4" for video in fakes]
    paths += [f"manipulated_sequences/Deepfakes/masks/videos/{video}.mp4" for video in fakes[:2]]
    write_videos(root, paths)
    for split, of_split in PAIRS.items():
        write_json(root / f"{split}.json", of_split)


def dfdc(root: Path) -> None:
    """Two parts of the training set, each with its metadata."""
    parts = {
        "dfdc_train_part_0": {"owxbbpjpch": "wynotylpnm", "vpmyeepbep": None, "wynotylpnm": None},
        "dfdc_train_part_1": {"nlvvgrinhn": "kczkjyntbx", "kczkjyntbx": None},
    }
    for part, originals in parts.items():
        write_videos(root / part, [f"{video}.mp4" for video in originals])
        rows: dict[str, Mapping[str, str]] = {
            f"{video}.mp4": {"label": "FAKE", "split": "train", "original": f"{original}.mp4"}
            if original
            else {"label": "REAL", "split": "train"}
            for video, original in originals.items()
        }
        write_json(root / part / "metadata.json", rows)


def deepfakebench(root: Path) -> None:
    """Celeb-DF v2 by the list of DeepfakeBench, whose frames are not taken out of the videos yet; one has no file."""
    videos = {
        "train": {"Celeb-real/id1_0000": "real", "Celeb-synthesis/id0_id2_0003": "fake"},
        "test": {"Celeb-real/id0_0001": "real", "YouTube-real/00170": "real", "Celeb-synthesis/id0_id1_0001": "fake"},
    }
    listed: dict[str, Any] = {"CelebDFv2_real": {}, "CelebDFv2_fake": {}}
    for split, of_split in videos.items():
        for path, word in of_split.items():
            folder, _, name = path.partition("/")
            frames = [f"Celeb-DF-v2\\{folder}\\frames\\{name}\\{number:03d}.png" for number in (0, 5, 11)]
            label = f"CelebDFv2_{word}"
            listed[label].setdefault(split, {})[name] = {"label": label, "frames": frames}
    write_json(root / "preprocessing/dataset_json/Celeb-DF-v2.json", {"Celeb-DF-v2": listed})
    # As DeepfakeBench's preprocessing finds them: beside frames/ in one folder, in videos/ in another.
    write_videos(
        root / "datasets/rgb/Celeb-DF-v2",
        [f"{path}.mp4" for of_split in videos.values() for path in of_split if "YouTube" not in path]
        + ["YouTube-real/videos/00170.mp4"],
    )


FACEFORENSICS = {
    "test/original_sequences/youtube/c23/videos/953.mp4": ("test", "real", "953", "youtube", "c23"),
    "test/manipulated_sequences/Deepfakes/c23/videos/953_974.mp4": ("test", "fake", "953;974", "Deepfakes", "c23"),
    "train/manipulated_sequences/NeuralTextures/c23/videos/054_071.mp4": (
        "train", "fake", "054;071", "NeuralTextures", "c23",
    ),
    "validation/original_sequences/youtube/c23/videos/672.mp4": ("validation", "real", "672", "youtube", "c23"),
}  # fmt: skip
DFDC = {
    "dfdc_train_part_0/owxbbpjpch.mp4": (None, "fake", "wynotylpnm", None, None),
    "dfdc_train_part_0/vpmyeepbep.mp4": (None, "real", "vpmyeepbep", None, None),
    "dfdc_train_part_1/nlvvgrinhn.mp4": (None, "fake", "kczkjyntbx", None, None),
}
CELEB = "datasets/rgb/Celeb-DF-v2"
DEEPFAKEBENCH = {
    f"test/{CELEB}/Celeb-real/id0_0001.mp4": ("test", "real", "id0", "CelebDFv2_real", None),
    f"test/{CELEB}/YouTube-real/videos/00170.mp4": ("test", "real", "00170", "CelebDFv2_real", None),
    f"test/{CELEB}/Celeb-synthesis/id0_id1_0001.mp4": ("test", "fake", "id0;id1", "CelebDFv2_fake", None),
    f"train/{CELEB}/Celeb-synthesis/id0_id2_0003.mp4": ("train", "fake", "id0;id2", "CelebDFv2_fake", None),
}


@pytest.mark.parametrize(
    ("write", "count", "expected"),
    [(faceforensics, 18, FACEFORENSICS), (dfdc, 5, DFDC), (deepfakebench, 5, DEEPFAKEBENCH)],
    ids=["FaceForensics++", "DFDC", "DeepfakeBench"],
)
def test_videos_are_extracted_as_their_data_set_lists_them(
    tmp_path: Path, write: Any, count: int, expected: Mapping[str, tuple[str | None, ...]]
) -> None:
    write(tmp_path / "set")
    whole = ("--frames", "2", "--faces", "none", "--workers", "1")
    code, output = bench("extract", str(tmp_path / "set"), "--to", str(tmp_path / "f"), *whole)
    assert code == 0, output
    table = pd.read_parquet(tmp_path / "f" / "manifest.parquet").drop_duplicates("video").set_index("video")
    assert len(table) == count
    columns = ["split", "label", "source", "method", "compression"]
    table = table.reindex(columns=columns).astype(object)
    rows = table.where(table.notna(), None).to_dict("index")
    assert {video: tuple(rows[video].values()) for video in expected} == expected
    sets = datasets.load("set", FrameSetSettings(path="f", split=None), tmp_path, tmp_path / "cache")
    assert sum(len(of_split.frames) for split, of_split in sets.items() if split != "calibration") == 2 * count
    # Of frames: a calibration of 128 whole videos would be thirty times as large, and each of them read twice.
    drawn, train = (sets[split].frames if split in sets else () for split in ("calibration", "train"))
    assert drawn == train


def test_a_video_of_deepfakebench_that_is_not_there_is_told(tmp_path: Path) -> None:
    deepfakebench(tmp_path / "set")
    for file in (tmp_path / "set").rglob("*.mp4"):
        file.unlink()
    code, output = bench("extract", str(tmp_path / "set"), "--to", str(tmp_path / "f"), "--faces", "none")
    assert code == 2
    assert "none of its 5 videos (.mp4, .m4v, .mov, .avi, .mkv, …) is below" in " ".join(output.split())


def test_a_listed_video_without_a_file_is_carried_along(tmp_path: Path) -> None:
    """As in an experiment: it counts as a video without frames, wherever the frames of the others come to lie."""
    reals = [f"Celeb-real/id{number}_0000.mp4" for number in range(6)]
    fakes = [f"Celeb-synthesis/id{number}_id{(number + 1) % 6}_0000.mp4" for number in range(6)]
    write_videos(tmp_path / "set", [*reals, *fakes[1:]])
    lines = [f"{int(name in reals)} {name}" for name in (*reals, *fakes)]
    (tmp_path / "set/List_of_testing_videos.txt").write_text("\n".join(lines), encoding="utf-8")
    whole = ("--frames", "1", "--faces", "none", "--workers", "1", "--source-pattern", r"(id\d+)(?:_(id\d+))?_")
    code, output = bench("extract", str(tmp_path / "set"), "--to", str(tmp_path / "f"), *whole)
    assert code == 0, output
    text = " ".join(output.split())
    assert f"warning: {tmp_path / 'set/List_of_testing_videos.txt'}: 1 of 12" in text
    assert "11 of 12 videos have frames" in text
    assert f"skipped, no file: test/{fakes[0]} (a list names it, and it is not there)" in text
    sets = datasets.load("set", FrameSetSettings(path="f"), tmp_path, tmp_path / "cache")
    (missing,) = sets["test"].missing
    assert (missing.name, missing.label) == (f"test/{fakes[0]}", 1)
    assert (missing.source, missing.reason) == ("id0;id1", "no file")
    _, output = bench("extract", str(tmp_path / "set"), "--to", str(tmp_path / "f"), *whole)
    assert "(11 videos were there already)" in " ".join(output.split())


YAML = """
detectors:
  mine: {architecture: tiny, weights: best_model.tar, preprocessing: {preset: fsbi, size: 32}}
datasets:
  set: {path: set, extract: {frames: 2, faces: none}}
experiments:
  first: {detector: mine, frames: set, device: cpu, gallery: {top: 1, occlusion: false}, variants: {baseline: []}}
"""


def test_faceforensics_runs_from_videos_to_a_report(
    tmp_path: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faceforensics(tmp_path / "set")
    tiny.save_weights(tmp_path / "best_model.tar")
    (tmp_path / "experiments.yaml").write_text(YAML, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    code, output = bench("run", "--no-timing")
    assert code == 0, output
    scores = json.loads((tmp_path / "reports/first/scores.json").read_text(encoding="utf-8"))
    assert (scores["frames"]["test"]["fake"], scores["frames"]["test"]["real"]) == (8, 4)
    predictions = pd.read_parquet(tmp_path / "results/first/baseline/predictions.parquet")
    of_test = predictions[predictions["split"] == "test"]
    assert of_test.groupby("video")["frame_index"].apply(list).map(tuple).unique().tolist() == [(0, 2)]
    report = (tmp_path / "reports/first/report.md").read_text(encoding="utf-8")
    assert "6 test videos (4 fake, 2 real)" in report
