"""Manifests as extractions write them, and names that Unicode spells in two ways."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.datasets import FrameSetSettings, annotations_of, times_at
from bench.records import Annotation, Frame
from tests.support.frames import load_set, pictures, refused_set

POINTS = {f"{point}_{axis}": float(i) for i, point in enumerate(("eye_l", "eye_r", "nose", "mouth_l", "mouth_r"))
          for axis in "xy"}  # fmt: skip
BOX = {"box_x0": 1.0, "box_y0": 2.0, "box_x1": 30.5, "box_y1": 40.0}


def extracted(folder: Path, kind: str) -> Path:
    """A manifest with all columns of an extraction; of the second frame less is known."""
    pictures(folder, "a.png", "b.png", "c.png")
    rows: list[dict[str, Any]] = [
        {"path": "a.png", "label": 0, "split": "test", "source": "v1", "video": "v1.mp4", "frame_index": 7,
         "time_s": 0.28, **BOX, **POINTS, "face_score": 0.9, "face_px": 120, "method": "none", "compression": "c23"},
        {"path": "b.png", "label": 1, "split": "test", "source": "v1;v2", "video": "v1_v2.mp4", "frame_index": None,
         "time_s": None, "face_score": 0.8, "face_px": 80, "method": "DeepFakes", "compression": "c23"},
        {"path": "c.png", "label": None, "split": "train", "video": None, "frame_index": 3, "time_s": 0.1},
    ]  # fmt: skip
    file = folder / f"manifest.{kind}"
    table = pd.DataFrame(rows)
    table.to_parquet(file) if kind == "parquet" else table.to_csv(file, index=False)
    return file


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_videos_and_annotations_of_an_extraction(tmp_path: Path, kind: str) -> None:
    file = extracted(tmp_path / "s", kind)
    for path in ("s", f"s/{file.name}"):
        sets = load_set(tmp_path, path=path)
        first, second = sets["test"].frames
        assert (first.video, first.frame_index) == ("v1.mp4", 7)
        assert (second.video, second.frame_index) == ("v1_v2.mp4", None)
        (third,) = sets["train"].frames
        assert (third.video, third.frame_index) == (None, 3)
        assert [name for name, _ in first.attributes] == ["face_score", "face_px", "method", "compression"]
        settings = FrameSetSettings(path=path)
        by_row = annotations_of(settings, tmp_path, "test")
        points = tuple((float(i), float(i)) for i in range(5))
        assert by_row == {"a.png": Annotation(0.28, tuple(BOX.values()), points)}  # type: ignore[arg-type]
        assert annotations_of(settings, tmp_path, "train") == {"c.png": Annotation(0.1)}
    assert times_at(tmp_path / "s") == {"a.png": 0.28, "c.png": 0.1}
    assert times_at(tmp_path) == {}
    file.write_bytes(b"no table")
    assert times_at(tmp_path / "s") == {}


def test_annotations_of_locations_and_without_a_manifest(tmp_path: Path) -> None:
    extracted(tmp_path / "s", "csv")
    pictures(tmp_path, "f/real/a.png", "f/fake/b.png")
    settings = FrameSetSettings.model_validate({"test": "f", "train": "s"})
    assert annotations_of(settings, tmp_path, "test") == {}
    assert annotations_of(settings, tmp_path, "train") == {"c.png": Annotation(0.1)}


def of_videos(folder: Path, *splits: str) -> None:
    """Twelve videos of three frames each; nothing names their sources. The last frame is of the last split."""
    names = [f"v{video:02}/{number}.png" for video in range(12) for number in range(3)]
    pictures(folder, *names)
    table = pd.DataFrame(
        {"path": names, "label": [int(name > "v06") for name in names], "video": [n[:3] for n in names]}
    )
    if splits:
        table["split"] = [splits[0]] * (len(names) - 1) + [splits[-1]]
    table.to_csv(folder / "manifest.csv", index=False)


def test_frames_of_a_video_stay_together_where_its_source_is_unknown(tmp_path: Path) -> None:
    of_videos(tmp_path / "s")
    sets = load_set(tmp_path, path="s", split="auto")
    videos = {split: {frame.video for frame in frames.frames} for split, frames in sets.items()}
    assert not videos["test"] & videos["train"]
    assert sum(map(len, (videos["test"], videos["train"], videos.get("validation", set())))) == 12
    assert not any("knew no source" in remark for remark in sets["test"].remarks)


def test_a_video_is_not_both_judged_and_learned_from(tmp_path: Path) -> None:
    of_videos(tmp_path / "s", "test", "train")
    error = refused_set(tmp_path, path="s")
    assert "the same video on both sides" in error
    assert "'v11': test v11/0.png = train v11/2.png" in error
    for name in ("a", "b"):
        of_videos(tmp_path / name)
    # Another manifest may call another video so.
    load_set(tmp_path, test="a", train={"path": "b"})


def test_videos_change_no_digest(tmp_path: Path) -> None:
    extracted(tmp_path / "s", "csv")
    table = pd.read_csv(tmp_path / "s/manifest.csv")
    digest = load_set(tmp_path, path="s")["test"].digest
    table.drop(columns=["video", "frame_index"]).to_csv(tmp_path / "s/manifest.csv", index=False)
    without = load_set(tmp_path, path="s")["test"]
    assert (without.digest, without.frames[0].video) == (digest, None)


def test_the_same_file_in_two_spellings(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Zoë/Zoë.png") for form in ("NFC", "NFD"))
    pictures(tmp_path, decomposed, "b.png")
    (tmp_path / "manifest.csv").write_text(f"path,label\n{composed},0\nb.png,1\n", encoding="utf-8")
    frames = _frames(tmp_path)
    assert [(frame.path, frame.file.name) for frame in frames] == [
        (composed, unicodedata.normalize("NFD", "Zoë.png")),
        ("b.png", "b.png"),
    ]
    for first, second in ((composed, decomposed), (decomposed, composed)):
        (tmp_path / "manifest.csv").write_text(f"path,label\n{first},0\n{second},0\nb.png,1\n", encoding="utf-8")
        assert "twice" in refused_set(tmp_path, path="manifest.csv")
    pictures(tmp_path, composed)
    files = {frame.path: frame.file for frame in _frames(tmp_path)}
    assert files == {path: tmp_path / path for path in (composed, decomposed, "b.png")}, "each is itself"


def test_no_match_by_accident(tmp_path: Path) -> None:
    """Two files with one composed form, and a third spelling of it: nobody knows which is meant."""
    names = ["\u1e0b\u0323.png", "d\u0323\u0307.png", "\u1e0d\u0307.png"]
    assert len({unicodedata.normalize("NFC", name) for name in names}) == 1
    pictures(tmp_path, names[0], names[1], "b.png")
    (tmp_path / "manifest.csv").write_text(f"path,label\n{names[2]},0\nb.png,1\n", encoding="utf-8")
    assert "no such frame below" in refused_set(tmp_path, path="manifest.csv")


def _frames(base: Path) -> tuple[Frame, ...]:
    return load_set(base, path="manifest.csv")["test"].frames
