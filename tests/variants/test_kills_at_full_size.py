"""What a kill costs a B5 at 380 px: each step, killed again and again, ends in the bytes of one that was let alone.

The network has random weights and there are few frames, so that each step takes one to two minutes of one core.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from bench.detectors.families import efficientnet
from tests.support import ROOT, killed_builds
from tests.support.b0 import frames

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read as Linux tells it"),
]

MOST_LOST_SECONDS = 60.0
# 2.4 % for `quantize`: sums of products of all channels are 480 MiB, and were saved every 40 s at most.
MOST_SHARE_OF_SAVING = 0.05
EVERY_SAVE = 3
"""The first process dies in its first checkpoint, later ones in their third, one at the end of the step."""
MANY = 40

CHEAP_HALF = {"prune": {"amount": 0.5, "ranking": "magnitude", "repair": False}}
CHAINS: dict[str, list[Any]] = {
    "quantize": [{"quantize": {"dtype": "int8", "frames": 8}}],
    "prune": [{"prune": {"amount": 0.5, "frames": 8}}],
    # Sixteen frames are held out, the fewest there can be, and looked at before the training and after it.
    "recover": [
        CHEAP_HALF,
        {"recover": {"steps": 5, "batch_size": 8, "enough": 0.0, "recalibrate": False, "learning_rate": 1e-5}},
    ],
}
FRAMES = {"test": 2, "calibration": 8, "train": 160}


@dataclass(frozen=True)
class Run:
    """One process: its notes, whether it was killed, and what it built."""

    notes: list[dict[str, Any]]
    killed: bool
    file: Path | None

    @property
    def seconds(self) -> float:
        """Of processor time, from the start of the process to its last note."""
        return float(self.notes[-1]["cpu"])

    @property
    def units(self) -> dict[str, float]:
        """What is done at which second, in order."""
        return {note["unit"]: note["cpu"] for note in self.notes if "unit" in note}

    @property
    def peak_mib(self) -> float:
        return float(self.notes[-1]["peak_mib"])

    @property
    def saves(self) -> list[dict[str, Any]]:
        return [note for note in self.notes if "save" in note]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights and frames. Batch norms stay as they are made: fitted to frames, a random network is chaotic."""
    folder = tmp_path_factory.mktemp("full-size")
    torch.manual_seed(0)
    network = efficientnet.build(killed_builds.ARCHITECTURE, "static", killed_builds.PREPROCESSING)
    state = efficientnet.to_fsbi(network.state_dict(), killed_builds.ARCHITECTURE)
    torch.save({"model": state}, folder / "weights.tar")
    for seed, (split, count) in enumerate(FRAMES.items()):
        (folder / "faces" / split).mkdir(parents=True)
        for number, frame in enumerate(frames(count, seed)):
            # Layouts of folders need both classes.
            of_class = folder / "faces" / split / ("real", "fake")[number % 2]
            of_class.mkdir(exist_ok=True)
            Image.fromarray(frame.transpose(1, 2, 0)).save(of_class / f"{number}.png")
    return folder


@pytest.mark.parametrize("step", CHAINS)
def test_a_kill_costs_less_than_a_minute_and_not_a_bit(step: str, folder: Path, tmp_path: Path) -> None:
    """Killed again and again, a step ends in the bytes of one that runs alone, and each kill loses little."""
    *before, _ = chain = CHAINS[step]
    _run(folder, tmp_path / "killed", before, tmp_path / "log-before")
    shutil.copytree(tmp_path / "killed", tmp_path / "alone")
    alone = _run(folder, tmp_path / "alone", chain, tmp_path / "log-alone", checkpoints=False)
    runs = list(_killed_runs(folder, tmp_path, chain))

    built = runs[-1].file
    assert built
    assert alone.file
    assert built.name == alone.file.name
    assert built.read_bytes() == alone.file.read_bytes()
    assert not list((tmp_path / "killed/.scratch").iterdir())

    lost = [_lost(run, after) for run, after in pairwise(runs)]
    share = sum(save["cpu_seconds"] for run in runs for save in run.saves) / sum(run.seconds for run in runs)
    _tell(step, alone, runs, lost, share)
    assert len(lost) >= 3
    assert max(lost) < MOST_LOST_SECONDS
    assert _worst(alone, runs) < MOST_LOST_SECONDS
    assert share < MOST_SHARE_OF_SAVING


def _run(folder: Path, variants: Path, chain: Sequence[Any], log: Path, **more: Any) -> Run:
    asked = {"folder": str(folder), "variants": str(variants), "chain": chain, "log": str(log), **more}
    child = subprocess.run(
        [sys.executable, "-m", "tests.support.killed_builds", json.dumps(asked)],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert child.returncode in (0, -signal.SIGKILL), child.stderr
    notes = [json.loads(line) for line in log.read_text().splitlines()]
    killed = child.returncode != 0
    return Run(notes, killed, None if killed else Path(child.stdout.strip().splitlines()[-1]))


def _killed_runs(folder: Path, tmp_path: Path, chain: Sequence[Any]) -> Iterator[Run]:
    """Runs of one build, each of which dies where the one before it has come further; the last is done."""
    at_end = False
    for number in range(MANY):
        dies = {"die_in_save": EVERY_SAVE if number else 1, "die_at_end": not at_end}
        run = _run(folder, tmp_path / "killed", chain, tmp_path / f"log-{number}", **dies)
        at_end = at_end or "end" in run.units
        yield run
        if not run.killed:
            return
    pytest.fail(f"not done after {MANY} kills")


def _lost(run: Run, after: Run) -> float:
    """Seconds of processor time from the kill of one run until the next one was where that had been.

    What was done last is always done again: it died in the checkpoint that would have held it, or had none to come.
    """
    last = list(run.units)[-1]
    return run.seconds - run.units[last] + after.units[last]


def _worst(alone: Run, runs: Sequence[Run]) -> float:
    """Seconds that no kill, at whatever moment, can cost more than.

    A kill costs what was done since the last checkpoint, and the next run's start, up to where its first unit of work
    begins. Before its first checkpoint, a run has only itself to lose.
    """
    first = max(next(gap for _, gap in _gaps(run)) for run in runs)
    later = max(gap for run in runs for _, gap in list(_gaps(run))[1:])
    return max(first, later + max(_start(alone, run) for run in runs[1:]))


def _start(alone: Run, run: Run) -> float:
    """Seconds from the start of a run until its first unit of work begins: each takes as long as in the run alone."""
    unit, ends = next(iter(run.units.items()))
    names = list(alone.units)
    before = names.index(unit) - 1
    return ends - (alone.units[unit] - (alone.units[names[before]] if before >= 0 else 0.0))


def _gaps(run: Run) -> Iterator[tuple[str, float]]:
    """From each checkpoint to the next one, or to the end: what the work went to, in seconds."""
    since, came = 0.0, "start"
    for note in run.notes:
        if "save" in note or note.get("unit") == "end":
            name = str(note.get("save", "end"))
            yield f"{came} to {name}", note["cpu"] - since
            since, came = note["cpu"], name


def _tell(step: str, alone: Run, runs: Sequence[Run], lost: Sequence[float], share: float) -> None:
    """Print what was measured."""
    gaps = sorted(((gap, name) for run in runs for name, gap in _gaps(run)), reverse=True)
    seconds, peak = sum(run.seconds for run in runs), max(run.peak_mib for run in runs)
    largest = max((save for run in runs for save in run.saves), key=lambda save: int(save["bytes"]))
    print(
        f"{step}: alone {alone.seconds:.0f} s of processor time and {alone.peak_mib:.0f} MiB, "
        f"killed {len(lost)} times {seconds:.0f} s and {peak:.0f} MiB; "
        f"lost by each kill {', '.join(f'{lost_s:.0f}' for lost_s in lost)} s; at worst {_worst(alone, runs):.0f} s; "
        f"longest without a checkpoint: {', '.join(f'{name} {gap:.0f} s' for gap, name in gaps[:4])}; "
        f"saving {100 * share:.2f} %; largest {largest['save']} {largest['bytes'] / 2**20:.0f} MiB, "
        f"{largest['cpu_seconds']:.2f} s"
    )
