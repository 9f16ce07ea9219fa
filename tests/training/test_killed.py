"""Trainings that are killed at any moment go on, and end in the same weights."""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.forked_runs import ForkingProcess
from tests.support.trainings import run_of, set_up

SETTINGS = (
    "dropout: 0.3; average: 0.9; select: {recall: 0.5, auc: 0.5}; keep_every: 2; epochs: 4; "
    "schedule: {name: plateau, patience: 0, warmup: 0.5}; loss: one_logit; label_smoothing: 0.1"
)
KILLS, SEED = 6, 5
COMPARED = ("best.safetensors", "last.safetensors", "epoch-0002.safetensors", "validation.csv")


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkingProcess]:
    temporary = tmp_path_factory.mktemp("own")
    made = ForkingProcess({"OMP_NUM_THREADS": "1", "TMPDIR": str(temporary), "XDG_RUNTIME_DIR": str(temporary)})
    made.order(figures=False)
    yield made
    made.end()


def train(process: ForkingProcess, folder: Path, **more: Any) -> int:
    """The wait status of `bench train` in a folder."""
    process.order(folder=str(folder), log=f"{folder}.out", arguments=["train"], units=f"{folder}.units", **more)
    process.line()
    return int(process.line() or "")


def units(folder: Path) -> list[str]:
    return Path(f"{folder}.units").read_text().splitlines()


def history(folder: Path) -> list[dict[str, Any]]:
    rows = json.loads((run_of(folder) / "history.json").read_text())
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


@pytest.fixture(scope="module")
def whole(process: ForkingProcess, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that nobody interrupted."""
    folder = set_up(tmp_path_factory.mktemp("whole") / "work", SETTINGS)
    assert train(process, folder) == 0, Path(f"{folder}.out").read_text()
    return folder


def check(folder: Path, whole: Path) -> None:
    for name in COMPARED:
        assert (run_of(folder) / name).read_bytes() == (run_of(whole) / name).read_bytes(), name
    assert history(folder) == history(whole)
    left = [path for path in run_of(folder).rglob("*") if path.name.startswith(".bench-")]
    assert len(list(run_of(folder).glob("checkpoints/*.safetensors"))) == 1
    assert not [path for path in left if path.parent.name == "checkpoints"]


def test_killed_again_and_again(process: ForkingProcess, whole: Path, tmp_path: Path) -> None:
    """At random steps, and between the names of files."""
    folder, rng = set_up(tmp_path / "work", SETTINGS), random.Random(SEED)
    most = len(units(whole)) // 4
    for _ in range(KILLS):
        status = train(process, folder, kill_after=rng.randint(1, most))
        assert status in (0, signal.SIGKILL)
    assert train(process, folder) == 0, Path(f"{folder}.out").read_text()
    assert len(list((folder / "trainings" / "mine").iterdir())) >= 1
    check(folder, whole)


@pytest.mark.slow
def test_killed_at_every_moment(process: ForkingProcess, whole: Path, tmp_path: Path) -> None:
    """Once for each unit: a step of the optimizer, a file that has all but its name."""
    for moment in range(1, len(units(whole)) + 1):
        folder = set_up(tmp_path / f"work{moment}", SETTINGS)
        assert train(process, folder, kill_after=moment) in (0, signal.SIGKILL)
        assert train(process, folder) == 0, Path(f"{folder}.out").read_text()
        check(folder, whole)


def test_little_is_repeated(process: ForkingProcess, whole: Path, tmp_path: Path) -> None:
    """What was saved is not done again: with a state after every step, one step at most."""
    folder = set_up(tmp_path / "work", SETTINGS)
    assert train(process, folder, kill_after=len(units(whole)) // 2) == signal.SIGKILL
    before = [unit for unit in units(folder) if unit.startswith("learning")]
    assert train(process, folder) == 0
    after = [unit for unit in units(folder) if unit.startswith("learning")]
    steps = sum(unit.startswith("learning") for unit in units(whole))
    assert before
    assert len(after) <= steps + 1
