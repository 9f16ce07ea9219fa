"""Extractions that are killed: the videos under way are lost, nothing else, and what is finished is not made again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from bench.footage import folder
from tests.footage.test_extract import tree
from tests.support import ROOT
from tests.support.footage import portrait, write_video
from tests.support.pace import limit

VIDEOS = 16
WORKERS = 2


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_videos(tmp_path_factory.mktemp("killed"), VIDEOS)


def write_videos(folder: Path, count: int) -> Path:
    root = folder / "videos"
    for number in range(count):
        word = ("real", "fake")[number % 2]
        write_video(root / word / f"{number:02d}.avi", 12, "mjpeg", draw=partial(portrait, seed=number % 4))
    return root


def start(videos: Path, to: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench", "extract", str(videos), "--to", str(to), "--frames", "6"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [*command, "--workers", str(WORKERS), "--format", "jpg"], cwd=to.parent, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=limit(120))
    assert process.returncode == 0, output
    return output


def records(to: Path) -> dict[str, int]:
    """When each video was noted as finished."""
    return {
        file.name: file.stat().st_mtime_ns for file in (to / folder.WORK / "videos").glob("??/????????????????.json")
    }


def wait_for(to: Path, count: int, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + limit(60)
    while len(records(to)) < count and process.poll() is None and time.monotonic() < until:
        time.sleep(0.005)


def kill(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """End the process that gives out work, unless it has ended; those that do it have to notice."""
    try:
        children = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        assert finish(process)
        return
    process.send_signal(number)
    process.communicate(timeout=limit(30))
    _, alive = psutil.wait_procs(children, timeout=limit(30))
    assert alive == []


@pytest.mark.slow
@pytest.mark.parametrize(("kills", "count"), [(2, VIDEOS), pytest.param(40, 80, marks=pytest.mark.slow)])
def test_killed_extraction_goes_on_where_it_was(videos: Path, tmp_path: Path, kills: int, count: int) -> None:
    videos = videos if count == VIDEOS else write_videos(tmp_path, count)
    undisturbed, to = tmp_path / "undisturbed", tmp_path / "killed"
    finish(start(videos, undisturbed))
    rng = random.Random(kills)
    finished: dict[str, int] = {}
    for _ in range(kills):
        process = start(videos, to)
        wait_for(to, min(len(finished) + rng.randrange(1, 2 + VIDEOS // kills), count), process)
        # Between two videos, in the midst of the next, or, once all are read, while lists and sheets are written.
        time.sleep(rng.uniform(0, 0.2))
        kill(process, signal.SIGKILL)
        now = records(to)
        assert finished.items() <= now.items()
        finished = now
    assert finished
    output = finish(start(videos, to))
    if len(finished) < count:
        assert f"({len(finished)} videos were there already)" in output
    assert finished.items() <= records(to).items()
    assert tree(to) == tree(undisturbed)
    assert not [path for path in (to / folder.WORK).iterdir() if path.name.endswith(".tmp")]


@pytest.mark.slow
def test_interrupted_extraction_says_so_and_goes_on(videos: Path, tmp_path: Path) -> None:
    to = tmp_path / "frames"
    process = start(videos, to)
    wait_for(to, 3, process)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=limit(30))
    assert process.returncode == 130
    assert "what is finished is kept" in output
    assert psutil.wait_procs(children, timeout=limit(30))[1] == []
    before = records(to)
    finish(start(videos, to))
    assert before.items() <= records(to).items()
    assert len(records(to)) == VIDEOS
