"""`bench init`: an experiment file that runs as it stands, on the demo or on a folder of videos."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.experiment import read
from tests.support.command_line import bench
from tests.support.footage import write_video


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_anything_the_experiment_is_the_demo(folder: Path) -> None:
    assert bench("init")[0] == 0
    experiments = read(folder / "experiments.yaml")
    assert experiments.experiments["demo"].frame_sets == ("demo",)


@pytest.mark.parametrize("name", ["videos", "my videos, 2026"])
def test_videos_are_the_set_of_the_experiment(folder: Path, name: str) -> None:
    for word in ("real", "fake"):
        write_video(folder / name / word / "0.avi", 2, "mjpeg")
    code, output = bench("init", "--videos", name)
    assert code == 0, output
    assert "its numbers mean nothing" in output
    experiments = read(folder / "experiments.yaml")
    assert experiments.experiments["demo"].frame_sets == ("videos",)
    settings = experiments.datasets["videos"]
    assert (settings.path, settings.split) == (name, "auto")
    assert settings.extract is not None
    assert settings.extract.frames == 32


def test_videos_elsewhere_are_named_by_their_whole_path_and_keep_their_splits(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "Celeb-DF-v2"
    for name in ("Celeb-real/id0_0000", "Celeb-synthesis/id0_id1_0000"):
        write_video(root / f"{name}.mp4", 2)
    (root / "List_of_testing_videos.txt").write_text(
        "1 Celeb-real/id0_0000.mp4\n0 Celeb-synthesis/id0_id1_0000.mp4\n", encoding="utf-8"
    )
    code, output = bench("init", "work", "--videos", "Celeb-DF-v2")
    assert code == 0, output
    settings = read(folder / "work" / "experiments.yaml").datasets["videos"]
    assert (settings.path, settings.split) == (root.as_posix(), None)
