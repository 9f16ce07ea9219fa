"""Frame sets of videos: extraction is a stage of the run that is done once."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bench import datasets
from bench.footage import extracting, pool
from tests.support import tiny
from tests.support.command_line import bench
from tests.support.footage import portrait, write_sound, write_video

YAML = """
detectors:
  mine: {architecture: tiny, weights: best_model.tar, preprocessing: {preset: fsbi, size: 32}}
datasets:
  faces: DATASET
experiments:
  first:
    detector: mine
    frames: faces
    device: cpu
    timing: {seconds: 0.02}
    gallery: {top: 1, occlusion: false}
    variants:
      baseline: []
"""
WHOLE = "{path: videos, split: auto, extract: {frames: 3, faces: none}}"


def write_set(folder: Path, dataset: str) -> None:
    (folder / "experiments.yaml").write_text(YAML.replace("DATASET", dataset), encoding="utf-8")


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of both classes, one of which is sound alone, and weights."""
    folder = tmp_path_factory.mktemp("pattern")
    for seed in range(12):
        draw = partial(portrait, seed=seed)
        write_video(folder / "videos" / ("real", "fake")[seed % 2] / f"{seed:02d}.avi", 4, "mjpeg", draw=draw)
    write_sound(folder / "videos" / "fake" / "sound.mp4")
    tiny.save_weights(folder / "best_model.tar")
    return folder


@pytest.fixture
def work_folder(pattern: Path, tmp_path: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with these videos, in which runs take seconds."""
    folder = tmp_path / "work_folder"
    shutil.copytree(pattern, folder)
    write_set(folder, WHOLE)
    monkeypatch.chdir(folder)
    return folder


def folders(work_folder: Path) -> list[Path]:
    return sorted((work_folder / "datasets" / ".extracted").glob("*"))


def refuse_work(*arguments: object) -> Any:
    raise AssertionError("videos are read again")


def test_videos_are_planned_extracted_once_and_judged(work_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, output = bench("plan")
    assert code == 0, output
    assert "frames of 13 videos" in output
    assert "videos are not extracted yet" in output
    assert folders(work_folder) == []
    code, output = bench("run")
    assert code == 0, output
    [folder] = folders(work_folder)
    report = (work_folder / "reports/first/report.md").read_text(encoding="utf-8")
    for text in (output, report):
        lists = re.findall(r"1 of \d+ test videos have no frame \([^)]*1 no video\): [^;]*; all in (\S+).csv", text)
        assert set(lists) == {f"datasets/.extracted/{folder.name}/videos"}, text
        assert "videos have no frames" not in text
    predictions = datasets.load(
        "faces", datasets.FrameSetSettings(path=str(folder), split="auto"), work_folder, work_folder / "c"
    )
    assert sum(len(frames.frames) for split, frames in predictions.items() if split != "calibration") == 36
    monkeypatch.setattr(pool, "run_all", refuse_work)
    code, output = bench("plan")
    assert "nothing to do" in output
    assert "videos are" not in output
    assert bench("run")[0] == 0
    assert folders(work_folder) == [folder]


@pytest.mark.slow
def test_other_settings_and_other_videos_are_extracted_apart(work_folder: Path) -> None:
    bench("run", "--no-timing")
    [first] = folders(work_folder)
    write_set(work_folder, WHOLE.replace("frames: 3", "frames: 2"))
    assert "frames of 13 videos" in bench("plan")[1]
    bench("run", "--no-timing")
    second = next(folder for folder in folders(work_folder) if folder != first)
    assert json.loads((second / "extraction.json").read_text())["settings"]["frames"] == 2
    output = bench("clean")[1]
    [of_first] = [line for line in output.splitlines() if first.name in line]
    [of_second] = [line for line in output.splitlines() if second.name in line]
    assert "used by first" in of_second
    assert "used by" not in of_first
    # The same content under another date is the same video; another content is not.
    file = work_folder / "videos" / "real" / "00.avi"
    file.touch()
    assert "frames of" not in bench("plan")[1]
    write_video(file, 4, "mjpeg", draw=partial(portrait, seed=99))
    assert "frames of 1 video " in bench("plan")[1]
    assert bench("clean", "--yes")[0] == 0
    assert first.is_dir()  # what the experiment refers to can't be told before the new videos are extracted


@pytest.mark.slow
def test_an_added_video_alone_is_read(work_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames of the others have a second name; a video of another content under an old name is read, whatever its date.

    A video that goes takes nothing along, and a frame that is gone from the earlier folder has its video read again.
    """
    bench("run", "--no-timing")
    [first] = folders(work_folder)
    added, changed = (work_folder / "videos" / "fake" / f"{name}.avi" for name in ("99", "01"))
    before = changed.stat()
    data = bytearray(changed.read_bytes())
    data[-40] ^= 1  # beyond the last frame's packet
    changed.write_bytes(bytes(data))
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))
    shutil.rmtree(work_folder / "datasets" / ".cache")
    write_video(added, 4, "mjpeg", draw=partial(portrait, seed=99))
    (first / "frames" / "real" / "02.avi" / "000001.png").unlink()
    read: list[Path] = []
    run_all = pool.run_all

    def noted(begin: Any, tasks: Any, workers: int) -> Any:
        listed = list(tasks)
        read.extend(task.file for task in listed)
        return run_all(begin, listed, workers)

    monkeypatch.setattr(pool, "run_all", noted)
    code, output = bench("run", "--no-timing")
    assert code == 0, output
    assert {file.name for file in read} == {"99.avi", "01.avi", "02.avi"}
    second = next(folder for folder in folders(work_folder) if folder != first)
    frames = sorted(path.relative_to(second).as_posix() for path in second.glob("frames/*/*/*.png"))
    assert len(frames) == 13 * 3
    assert (second / "frames/real/00.avi/000000.png").samefile(first / "frames/real/00.avi/000000.png")
    added.unlink()
    monkeypatch.setattr(pool, "run_all", refuse_work)
    assert "frames of an earlier run, linked" in bench("plan")[1]
    assert bench("run", "--no-timing")[0] == 0
    assert len(folders(work_folder)) == 3


def test_videos_that_are_left_out_are_no_frames_that_lack(work_folder: Path) -> None:
    (work_folder / "videos/real/bad").mkdir()
    shutil.move(work_folder / "videos/real/00.avi", work_folder / "videos/real/bad/00.avi")
    write_set(work_folder, "{path: videos, split: auto, exclude: [bad], extract: {frames: 1, faces: none}}")
    code, output = bench("run", "--no-timing")
    assert code == 0, output
    [folder] = folders(work_folder)
    assert "bad" not in (folder / "videos.csv").read_text(encoding="utf-8")


def test_a_video_that_is_stuck_costs_no_other(work_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again by each run; a plan takes what is there, and an added video alone is read beside it."""
    real, read = pool.run_all, list[str]()

    def lose_one(load: Any, tasks: Any, workers: int) -> Any:
        for task, result in real(load, tasks, workers):
            read.append(task.file.name)
            yield task, pool.LostError("no sign of life", stuck=True) if task.file.name == "00.avi" else result

    monkeypatch.setattr(pool, "run_all", lose_one)
    assert bench("run", "--no-timing")[0] == 0
    code, output = bench("plan")
    assert code == 0
    assert "videos are not extracted yet" not in output
    write_video(work_folder / "videos/real/new.avi", 4, "mjpeg", draw=partial(portrait, seed=50))
    read.clear()
    assert bench("run", "--no-timing")[0] == 0
    assert sorted(read) == ["00.avi", "new.avi"]


def test_crop_is_the_detectors_where_none_is_named(work_folder: Path) -> None:
    write_set(work_folder, "{path: videos, split: auto, extract: {frames: 1}}")
    code, output = bench("run", "--no-timing")
    assert code == 0, output
    [folder] = folders(work_folder)
    card = json.loads((folder / "extraction.json").read_text(encoding="utf-8"))
    assert (card["settings"]["crop"], card["settings"]["faces"]) == ("fsbi", "yunet")
    assert "crop: frames are taken to be faces" not in bench("plan")[1]


def test_one_split_of_videos_beside_others_of_frames(work_folder: Path) -> None:
    shutil.copytree(work_folder.parent / "faces" / "calibration", work_folder / "calibration")
    write_set(work_folder, "{test: {path: videos, extract: {frames: 2, faces: none}}, calibration: calibration}")
    assert "frames of 13 videos" in bench("plan")[1]
    code, output = bench("run", "--no-timing")
    assert code == 0, output
    assert len(folders(work_folder)) == 1


@pytest.mark.parametrize(
    ("extract", "message"),
    [
        ("{sampling: linspaced}", "unknown name 'linspaced' (did you mean 'linspace'?)"),
        ("{crop: fsbl}", "unknown crop 'fsbl' (did you mean 'fsbi'?)"),
        ("{faces: yunett}", "unknown face finder 'yunett' (did you mean 'yunet'?)"),
        ("{faces: none.onnx}", "no such file"),
        ("{frames: 0}", "of at least 1"),
        ("{min_score: 85}", "a share, not per cent: write 0.85"),
        ("{framse: 3}", "did you mean 'frames'?"),
    ],
)
def test_bad_settings_are_refused_before_any_video_is_read(
    work_folder: Path, monkeypatch: pytest.MonkeyPatch, extract: str, message: str
) -> None:
    monkeypatch.setattr(extracting, "extract", refuse_work)
    write_set(work_folder, f"{{path: videos, split: auto, extract: {extract}}}")
    code, output = bench("run")
    assert code == 2
    assert message in output
    assert "experiments.yaml, line 5" in output or "experiments.yaml:5" in output or "line 5" in output


def test_no_link_is_followed(work_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (work_folder / "datasets").mkdir()
    (work_folder / "datasets" / ".extracted").symlink_to(tmp_path / "elsewhere")
    code, output = bench("run")
    assert code == 2
    assert "is a link" in output
    assert not list((tmp_path / "elsewhere").iterdir())


def test_bad_weights_are_refused_before_any_video_is_read(work_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extracting, "extract", refuse_work)
    (work_folder / "best_model.tar").write_bytes(b"no weights at all")
    assert bench("run")[0] == 2


def test_pyav_is_only_needed_where_there_are_videos(work_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "av" else find(name, *rest))
    code, output = bench("plan")
    assert code == 2
    assert "python -m pip install 'av>=14'" in output
