"""Runs that are killed, interrupted, starved or doubled: nothing corrupt is left, and all end in the same results."""

from __future__ import annotations

import copy
import errno
import hashlib
import json
import os
import random
import re
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
import torch

from bench import files, interrupts, locks, pipeline
from bench.errors import UserError
from bench.records import Event
from bench.variants import checkpoints
from bench.variants.steps import recover
from bench.variants.steps.recover import training
from tests.conftest import write_frames
from tests.support import tiny
from tests.support.command_line import bench
from tests.support.forked_runs import ForkingProcess
from tests.support.pace import limit
from tests.support.step_work import work

KILLS = 100
SEED = 3

YAML = """
detectors: {mine: {architecture: tiny, weights: best_model.tar, preprocessing: {preset: fsbi, size: 32}}}
datasets: {faces: {path: faces}}
experiments:
  first:
    detector: mine
    frames: faces
    device: cpu
    threads: 1
    timing: {seconds: 0.02}
    gallery: {top: 1}
    robustness: {jpeg: [50], blur: [1]}
    variants:
      baseline: []
      q8: [quantize: int8]
      p50: [prune: 0.5, recover: {steps: 24, batch_size: 8, learning_rate: 0.00001}]
"""


class Warm(ForkingProcess):
    """The warmed-up process: starts a run, and says how it ended."""

    def __init__(self, temporary: Path) -> None:
        temporary.mkdir()
        self.children: list[int] = []
        # A pool of threads would not survive a fork; a temporary folder of its own keeps timing from
        # waiting for whoever else times something on this machine.
        super().__init__({"OMP_NUM_THREADS": "1", "TMPDIR": str(temporary), "XDG_RUNTIME_DIR": str(temporary)})

    def run_here(self, folder: Path) -> int:
        """The exit code of a run in the warmed-up process itself."""
        self.order(folder=str(folder), log=f"{folder}.out", here=True)
        return int(self.line() or "")

    def start(self, folder: Path, **more: Any) -> int:
        (child,) = self.start_several(folder, 1, **more)
        return child

    def start_several(self, folder: Path, count: int, **more: Any) -> list[int]:
        """The numbers of so many processes that run beside each other in one folder."""
        for child in self.children:  # a test that failed has left it behind
            _kill(child, signal.SIGKILL)
        for _ in [*self.children]:
            self.wait()
        self.order(folder=str(folder), log=f"{folder}.out", runs=count, **more)
        self.children = [int(self.line() or "") for _ in range(count)]
        return self.children

    def wait(self) -> int:
        """The exit code of the process that was started first, or minus the signal."""
        status = int(self.line() or "")
        self.children = self.children[1:]
        return os.waitstatus_to_exitcode(status)

    def run(self, folder: Path, **more: Any) -> int:
        self.start(folder, **more)
        return self.wait()


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights and frames that every folder links."""
    folder = tmp_path_factory.mktemp("pattern")
    tiny.save_weights(folder / "best_model.tar")
    for seed, (split, count) in enumerate([("test", 10), ("calibration", 4), ("train", 8)]):
        write_frames(folder / "faces" / split, count, count, seed)
    return folder


def set_up(pattern: Path, folder: Path) -> Path:
    folder.mkdir()
    (folder / "best_model.tar").symlink_to(pattern / "best_model.tar")
    (folder / "faces").symlink_to(pattern / "faces")
    (folder / "experiments.yaml").write_text(YAML)
    return folder


@pytest.fixture(scope="module")
def warm(pattern: Path) -> Iterator[Warm]:
    process, folder = Warm(pattern / "temporary"), set_up(pattern, pattern / "warm")
    process.order(figures=False)
    # A process that has once gone backward through a network cannot be forked.
    yaml = folder / "experiments.yaml"
    plain = "prune: {amount: 0.5, ranking: magnitude, repair: false}"
    for backward, other in (
        ("steps: 24", "steps: 0, recalibrate: true"),
        ("quantize: int8", "cast: fp16"),
        ("prune: 0.5", plain),
    ):
        yaml.write_text(yaml.read_text().replace(backward, other))
    assert process.run_here(folder) == 0, (pattern / "warm.out").read_text()
    yield process
    process.end()


@pytest.fixture(scope="module")
def undisturbed(pattern: Path, warm: Warm) -> dict[str, Any]:
    """What a run makes that nothing disturbs, and the `seconds` that it takes."""
    folder = set_up(pattern, pattern / "undisturbed")
    began = time.monotonic()
    assert warm.run(folder) == 0, Path(f"{folder}.out").read_text()
    seconds = time.monotonic() - began
    return results(folder) | {"seconds": seconds}


def results(folder: Path) -> dict[str, Any]:
    """All that a run makes, apart from times, dates and logs."""
    scores = json.loads((folder / "reports/first/scores.json").read_text())
    run = json.loads((folder / "results/first/run.json").read_text())
    content: dict[str, Any] = {"scores": _timeless(scores), "run": _timeless(run)}
    for variant in scores["variants"]:
        content[variant] = pd.read_parquet(folder / "results/first" / variant / "predictions.parquet").to_dict()
        for level in ("jpeg-50", "blur-1"):
            file = folder / "results/first" / variant / "robustness" / level / "predictions.parquet"
            content[f"{variant} {level}"] = pd.read_parquet(file).to_dict()
        content[f"{variant} cam"] = hashlib.sha256(np.load(folder / "results/first" / variant / "cam.npy")).hexdigest()
    for model in sorted((folder / "variants").glob("*/model.*")):
        if model.match("*.kernels-*.json"):
            continue  # it holds times
        content[str(model.relative_to(folder))] = hashlib.sha256(model.read_bytes()).hexdigest()
    content["files"] = sorted(
        name
        for path in folder.rglob("*")
        if not path.is_dir() and not path.is_symlink() and "/.locks/" not in str(path)
        if not re.search(r"run-[^/]*\.log$", name := str(path.relative_to(folder)))
    )
    return content


def _timeless(value: Any) -> Any:
    """Without what a clock or a memory gauge says."""
    timed = {
        "measurements", "baseline", "conditions", "notes", "provenance", "latency_ms", "throughput_fps", "speedup",
        "throughput_batch_size", "peak_memory_mib", "memory", "seconds", "device_ms", "timing", "timed",
        "int8_size_only", "evaluation",
    }  # fmt: skip
    if isinstance(value, dict):
        return {
            key: _timeless(inner)
            for key, inner in value.items()
            if key not in timed and not re.search("speed|latency|throughput|memory|_ms", key)
        }
    return [_timeless(inner) for inner in value] if isinstance(value, list) else value


def untimed(undisturbed: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in undisturbed.items() if key != "seconds"}


STAGES = ("building", "quantize", "recover", "exporting", "evaluating", "timing", "rendering")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_at_random_moments_it_ends_as_if_undisturbed(
    pattern: Path, warm: Warm, undisturbed: dict[str, Any]
) -> None:
    """Most by SIGKILL, some by SIGINT or SIGTERM; each folder is gone on with until it is whole."""
    print(f"seed {SEED}, an undisturbed run takes {undisturbed['seconds']:.1f} s")
    rng, doings, began = random.Random(SEED), list[str](), time.monotonic()
    kills = turn = 0
    while kills < KILLS:
        turn += 1
        folder = set_up(pattern, pattern / f"killed-{turn}")
        of_folder = _until_whole(warm, folder, rng, undisturbed["seconds"])
        kills += len(of_folder)
        doings += [doing for of_run in of_folder for doing in of_run]
        assert results(folder) == untimed(undisturbed), folder
    hit = {stage: sum(stage in doing for doing in doings) for stage in STAGES}
    print(f"{kills} kills in {time.monotonic() - began:.0f} s, while: {hit}")


@pytest.mark.slow
def test_killed_in_every_stage_it_ends_as_if_undisturbed(
    pattern: Path, warm: Warm, undisturbed: dict[str, Any]
) -> None:
    """One folder, killed as soon as the log says that the next stage has begun: chance hits the short ones seldom."""
    folder = set_up(pattern, pattern / "stages")
    for stage in STAGES:
        child = warm.start(folder)
        _kill_in(folder, stage, child)
        code = warm.wait()
        assert code == -signal.SIGKILL, f"{stage}: exit code {code}"
    assert warm.run(folder) == 0
    assert results(folder) == untimed(undisturbed)


@pytest.mark.slow
def test_killed_inside_its_steps_it_repeats_one_unit_of_work_a_kill(
    pattern: Path, warm: Warm, undisturbed: dict[str, Any]
) -> None:
    folder, units = set_up(pattern, pattern / "units"), pattern / "units.txt"
    kills = (7, 20, 15)
    for count in kills:
        assert warm.run(folder, units=str(units), kill_after=count) == -signal.SIGKILL
    assert warm.run(folder, units=str(units)) == 0
    done = Counter(units.read_text().splitlines())
    repeated = {unit: count for unit, count in done.items() if count > 1}
    print(f"{len(done)} units, repeated: {repeated}")
    assert len(done) > sum(kills)
    assert sum(repeated.values()) - len(repeated) <= len(kills), repeated
    assert results(folder) == untimed(undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize(
    "how", [signal.SIGINT, *(pytest.param(how, marks=pytest.mark.slow) for how in (signal.SIGTERM, signal.SIGHUP))]
)
def test_ctrl_c_waits_for_the_end_of_an_export(how: signal.Signals, pattern: Path, warm: Warm) -> None:
    """torch would abort the process where an exception comes up within its tracing."""
    if signal.getsignal(how) is signal.SIG_IGN:
        pytest.skip("ignored here, as under nohup")
    folder = set_up(pattern, pattern / f"export-{how.name}")
    child = warm.start(folder)
    _kill_in(folder, "exporting", child, how)
    assert warm.wait() == 130, Path(f"{folder}.out").read_text()
    assert "exporting" in _doing(folder)[-1]
    assert warm.run(folder) == 0


def _until_whole(warm: Warm, folder: Path, rng: random.Random, seconds: float) -> list[list[str]]:
    """Run and kill until a run ends by itself: for each kill, what the run was at."""
    killed_at: list[list[str]] = []
    for _ in range(100):
        # Timing's own processes take seconds to start, so that only some runs have them.
        child = warm.start(folder, own_processes=rng.random() < 0.08)
        how = rng.choice((signal.SIGINT, signal.SIGTERM)) if rng.random() < 0.1 else signal.SIGKILL
        killer = threading.Timer(rng.uniform(0, 0.6 * seconds), _kill, (child, how))
        killer.start()
        code = warm.wait()
        killer.cancel()
        killer.join()
        if code == 0:
            return killed_at
        output = Path(f"{folder}.out").read_text()
        assert code in (-signal.SIGKILL, -signal.SIGINT, -signal.SIGTERM, 130), f"exit code {code}\n{output}"
        assert "Traceback" not in output, output
        killed_at.append(_doing(folder))
    raise AssertionError(f"{folder} does not get whole")


def _kill(process: int, how: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, how)


def _kill_in(folder: Path, stage: str, process: int, how: signal.Signals = signal.SIGKILL) -> None:
    until = time.monotonic() + limit(60)
    while time.monotonic() < until and psutil.pid_exists(process):
        log = next((folder / "results/first").glob(f"run-*-{process}.log"), None)
        if log and re.search(rf"Z [^\n]*{stage}[^\n]*: begins", log.read_text()):
            return _kill(process, how)
        time.sleep(0.001)


def _doing(folder: Path) -> list[str]:
    """What the log says the killed run was at."""
    logs = sorted((folder / "results/first").glob("run-*.log"), key=lambda log: log.stat().st_mtime_ns)
    begun = re.findall(r"Z (.*): begins", logs[-1].read_text()) if logs else []
    return begun[-1:]


def logs(folder: Path) -> str:
    return "".join(path.read_text() for path in sorted((folder / "results/first").glob("run-*.log")))


@pytest.mark.slow
def test_two_runs_in_one_folder_share_the_work(pattern: Path, warm: Warm, undisturbed: dict[str, Any]) -> None:
    folder = set_up(pattern, pattern / "shared")
    children = warm.start_several(folder, 2)
    assert [warm.wait() for _ in children] == [0, 0], Path(f"{folder}.out").read_text()
    assert results(folder) == untimed(undisturbed)
    text = logs(folder)
    assert re.search(rf"waiting for another run \(process ({'|'.join(map(str, children))}) that is building \w+", text)
    assert text.count("building q8: quantize: int8: begins") == 1
    assert text.count("evaluating 3 variants: begins") == 1


@pytest.mark.slow
def test_no_process_outlives_a_killed_timing(pattern: Path, warm: Warm) -> None:
    folder = set_up(pattern, pattern / "orphans")
    yaml = folder / "experiments.yaml"
    yaml.write_text(re.sub("      (q8|p50).*", "", YAML).replace("0.02", "60"))
    child = psutil.Process(warm.start(folder, own_processes=True))
    began = time.monotonic()
    while not (below := child.children(recursive=True)) and time.monotonic() < began + limit(30):
        time.sleep(0.05)
    assert below
    child.kill()
    assert warm.wait() == -signal.SIGKILL
    assert psutil.wait_procs(below, limit(20))[1] == []


@pytest.mark.slow
def test_where_the_disk_takes_no_more_it_says_so_and_goes_on_later(
    pattern: Path, warm: Warm, undisturbed: dict[str, Any]
) -> None:
    folder = set_up(pattern, pattern / "full")
    code, output = warm.run(folder, largest_file=20_000), Path(f"{folder}.out").read_text()
    assert code == 2, output
    assert re.search(r"error: \S+/model.safetensors: the file would be larger than is allowed here: raise the", output)
    assert "Traceback" not in output
    assert [path for path in folder.rglob("*.tmp*") if path.is_file()] == []
    assert warm.run(folder) == 0
    assert results(folder) == untimed(undisturbed)


def test_a_full_disk_is_told_with_the_path(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(OSError, match="No space") as refused:
        files.write_atomically(path, lambda file: full.write(b"0"))
    assert str(files.advice(refused.value)).startswith(f"{path}: the disk is full: make room")
    assert files.stops_all(refused.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EROFS, "the file system is read-only"), (errno.EACCES, "permission denied"),
        (errno.EDQUOT, "your share of the disk is used up"), (errno.ENOSPC, "the disk is full"),
    ],
)  # fmt: skip
def test_where_nothing_can_be_written_it_says_so(
    number: int, message: str, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, target: Path) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.chdir(workplace)
    monkeypatch.setattr(Path, "replace", refuse)
    code, output = bench("run")
    assert code == 2, output
    assert message in output
    assert "model.safetensors" in output
    assert "Traceback" not in output
    assert not list(workplace.glob("variants/*/model*"))
    assert not [path for path in workplace.rglob(".bench-*") if path.exists()]


@pytest.mark.parametrize("then", ["an event", "another error", "bad input"])
def test_an_interrupt_that_a_library_swallows_ends_the_run_all_the_same(
    then: str, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Native code that calls back into Python cannot always pass an exception on."""

    def swallow(*_: Any, on_event: Any, **__: Any) -> None:
        with suppress(KeyboardInterrupt):
            interrupts.interrupt()
        if then == "an event":
            on_event(Event("evaluating", 0, 1))
        raise UserError("no shape") if then == "bad input" else ValueError("no shape")

    monkeypatch.chdir(workplace)
    monkeypatch.setattr(pipeline, "run", swallow)
    try:
        code, output = bench("run")
    finally:
        interrupts.interrupted.clear()
    assert code == 130, output
    assert "no shape" not in output


@pytest.mark.parametrize("room", ["variants", "results", "reports"])
def test_a_file_where_a_room_should_be(room: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    yaml = workplace / "experiments.yaml"
    yaml.write_text(re.sub("      (q|base).*\n", "", yaml.read_text()) + "      baseline: []\n")
    (workplace / room).touch()
    code, output = bench("run")
    assert code == 2, output
    assert "move it away" in output
    assert room in output


def test_a_file_where_a_folder_should_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "variants").touch()
    with pytest.raises(files.NotWrittenError) as refused, locks.held(tmp_path / "variants/.locks/x", "building x"):
        pass
    assert "a file lies where a folder should be: move it away" in str(files.advice(refused.value))
    (tmp_path / "folder").mkdir()
    with pytest.raises(files.NotWrittenError) as refused:
        files.write_text(tmp_path / "folder", "text")
    assert "a folder lies where a file should be: move it away" in str(files.advice(refused.value))


@pytest.mark.parametrize("path", ["nothing", "experiments.yaml/inside", "faces"])
def test_a_bug_in_reading_is_not_told_as_trouble_of_the_disk(
    path: str, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.setattr("bench.commands.clean.inventory", lambda *_, **__: Path(path).read_text())
    code, output = bench("clean")
    assert code == 70, output
    assert "this is a bug in bench" in output


@pytest.mark.parametrize("absolute", [False, True])
def test_a_folder_that_was_taken_away_in_mid_run_is_told(
    absolute: bool, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def vanish(*_: Any, **__: Any) -> None:
        shutil.rmtree(workplace)
        (Path() / "results/first/run.json").read_text()

    monkeypatch.chdir(workplace.parent if absolute else workplace)
    monkeypatch.setattr("bench.commands.clean.inventory", vanish)
    code, output = bench("clean", *(["-f", str(workplace / "experiments.yaml")] if absolute else []))
    assert code == 2, output
    assert "the folder was taken away while bench worked in it" in output


@pytest.mark.parametrize(
    ("killed_at", "damage"),
    [
        (5, True),
        pytest.param(5, False, marks=pytest.mark.slow),
        pytest.param(6, False, id="before a look", marks=pytest.mark.slow),
        pytest.param(11, False, id="before the last", marks=pytest.mark.slow),
    ],
)
def test_recover_goes_on_bit_by_bit_from_where_it_was_killed(
    killed_at: int, damage: bool, tiny_family: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = tiny.lively(tiny.build("tiny", "tiny", tiny.PREPROCESSING))
    student = copy.deepcopy(teacher)
    with torch.no_grad():
        for weight in student.parameters():
            weight.mul_(1.1)
    settings = recover.Settings(steps=9, batch_size=6, learning_rate=1e-4, recalibrate=False)
    surroundings = work(tmp_path, teacher)
    (surroundings.scratch).mkdir(parents=True, exist_ok=True)
    expected = recover.apply(copy.deepcopy(student), settings, surroundings).state_dict()
    save, steps = checkpoints.write, list[int]()

    def save_and_die(surroundings: Any, name: str, state: Any) -> None:
        save(surroundings, name, state)
        if name != training.CHECKPOINT:
            return
        steps.append(state["step"])
        if len(steps) == killed_at:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "write", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        recover.apply(copy.deepcopy(student), settings, surroundings)
    checkpoint = surroundings.scratch / f"{training.CHECKPOINT}.checkpoint"
    if damage:
        checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    resumed = recover.apply(copy.deepcopy(student), settings, surroundings).state_dict()
    # Before the first step, before and after the evaluation at step 5, and before the last one.
    undisturbed = [0, 1, 2, 3, 4, 5, 5, 6, 7, 8, 9]
    assert steps[:killed_at] == undisturbed[:killed_at]
    assert steps[killed_at:] == [step for step in undisturbed if damage or step > steps[killed_at - 1]]
    assert all(torch.equal(resumed[name], expected[name]) for name in expected)
    assert any(not torch.equal(expected[name], weight) for name, weight in student.state_dict().items())
