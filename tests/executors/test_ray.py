"""A Ray cluster of this machine with two workers: what it evaluates is what one run evaluates, whoever is lost."""

from __future__ import annotations

import importlib.util
import random
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pandas as pd
import psutil
import pytest

from bench.errors import UserError
from bench.executors import ray as executor
from bench.executors.ray import _Shared
from tests.conftest import write_frames
from tests.support import foreign, tiny
from tests.support.command_line import bench

SEED = 11
YAML = """
detectors: {mine: {architecture: onnx, weights: float.onnx, preprocessing: {preset: fsbi, size: 32}}}
datasets: {faces: {path: faces}}
experiments:
  first:
    detector: mine
    frames: faces
    device: cpu
    threads: 1
    gallery: {top: 1}
    variants:
      baseline: []
      q16: [cast: fp16]
"""
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray: bench[ray]")


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The graph of a tiny detector, which workers know without the tests' family, and three shards of frames."""
    folder = tmp_path_factory.mktemp("cluster")
    onnx.save(foreign.network(tiny.lively(tiny.build("tiny", "tiny", tiny.PREPROCESSING))), folder / "float.onnx")
    write_frames(folder / "faces" / "test", 330, 330, 0)
    return folder


@pytest.fixture(scope="module")
def undisturbed(pattern: Path) -> dict[str, Any]:
    """The predictions of a plain run."""
    return predictions(run(pattern, "plain"))


def run(pattern: Path, name: str, *arguments: str) -> Path:
    folder = pattern / name
    folder.mkdir()
    for linked in ("float.onnx", "faces"):
        (folder / linked).symlink_to(pattern / linked)
    (folder / "experiments.yaml").write_text(YAML)
    code, output = bench("run", "-f", str(folder / "experiments.yaml"), "--no-timing", *arguments)
    assert code == 0, output
    return folder


def predictions(folder: Path) -> dict[str, Any]:
    """The bytes of maps and the values of tables."""
    content: dict[str, Any] = {}
    for variant in ("baseline", "q16"):
        results = folder / "results/first" / variant
        content[variant] = pd.read_parquet(results / "predictions.parquet").to_dict()
        content[f"{variant} maps"] = (results / "cam.npy").read_bytes() if (results / "cam.npy").exists() else b""
    content["appearance"] = (folder / "results/first/appearance.parquet").read_bytes()
    return content


def kill_workers(moments: Callable[[], float], stop: threading.Event, killed: list[int]) -> None:
    """Kill one worker process at each of these moments, given in seconds from the last one."""
    while not stop.wait(moments()):
        names = {process.pid: process.info["cmdline"] for process in psutil.process_iter(["cmdline"])}
        workers = [pid for pid, command in names.items() if command and command[0].startswith("ray::Worker")]
        if workers:
            victim = random.Random(SEED + len(killed)).choice(sorted(workers))
            psutil.Process(victim).kill()
            killed.append(victim)


def disturbed(pattern: Path, name: str, kills: int, seed: int) -> dict[str, Any]:
    """What a run on two workers makes of which one is killed at random moments, so many times."""
    rng, killed, stop = random.Random(seed), list[int](), threading.Event()

    def moments() -> float:
        return rng.uniform(0.1, 3.0) if len(killed) < kills else 3600.0

    killer = threading.Thread(target=kill_workers, args=(moments, stop, killed))
    killer.start()
    try:
        return predictions(run(pattern, name, "--executor", "ray"))
    finally:
        stop.set()
        killer.join()


@needs_ray
def test_on_two_workers_of_which_one_is_killed_it_ends_as_a_plain_run(
    pattern: Path, undisturbed: dict[str, Any]
) -> None:
    assert disturbed(pattern, "disturbed", 1, SEED) == undisturbed


@needs_ray
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(20))
def test_killed_at_random_moments_it_ends_as_a_plain_run(seed: int, pattern: Path, undisturbed: dict[str, Any]) -> None:
    assert disturbed(pattern, f"disturbed-{seed}", 3, seed) == undisturbed


# ------------------------------------------------------------------------------ sharing out, without a cluster
class Stub:
    """A cluster in this process: every answer is ready at once, and `lost` calls of a worker come to nothing."""

    class exceptions:  # noqa: N801 - Ray's own name
        class RayTaskError(Exception): ...

        class RayActorError(Exception): ...

        class WorkerCrashedError(Exception): ...

        class NodeDiedError(Exception): ...

    def __init__(self, lost: Callable[[int, tuple[int, int]], bool]) -> None:
        self.lost, self.calls = lost, list[tuple[int, tuple[int, int]]]()

    def worker(self, number: int) -> Any:
        stub = self

        class Method:
            def remote(self, *unit: int) -> int:
                stub.calls.append((number, (unit[0], unit[1])))
                return len(stub.calls) - 1

        class Actor:
            evaluate = Method()

        return Actor()

    def wait(self, answers: list[int], timeout: float) -> tuple[list[int], list[int]]:
        return answers[:1], answers[1:]

    def get(self, answer: int) -> dict[str, str]:
        number, unit = self.calls[answer]
        if self.lost(number, unit):
            raise self.exceptions.RayActorError(f"worker {number} is gone")
        return {"q8": "fails"} if unit == (0, 256) else {}


UNITS = [(0, 0), (0, 256), (0, 512), (1, 0)]


def test_shards_of_a_lost_worker_are_given_to_others() -> None:
    lost = {(0, (0, 0)), (0, (0, 256))}
    stub = Stub(lambda number, unit: (number, unit) in lost and not lost.remove((number, unit)))  # type: ignore[func-returns-value]
    shared = _Shared(stub, [stub.worker(0), stub.worker(1)], deque(UNITS))
    events: list[Any] = []
    assert shared.done(lambda done: done, events.append) == {"q8": "fails"}
    assert shared.finished == set(UNITS)
    assert events[-1] == len(UNITS)


def test_a_shard_that_loses_every_worker_is_told() -> None:
    stub = Stub(lambda number, unit: unit == (1, 0))
    shared = _Shared(stub, [stub.worker(0), stub.worker(1)], deque(UNITS))
    with pytest.raises(UserError, match="the shard from row 0 on were lost 5 times, perhaps for want of memory"):
        shared.done(lambda done: done, lambda event: None)


@needs_ray
def test_an_address_where_no_cluster_answers_is_told() -> None:
    with pytest.raises(UserError, match=r"no Ray cluster answers at 127\.0\.0\.1:1: "), executor.connected("127.0.0.1:1"):
        pass
