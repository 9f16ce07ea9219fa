"""A Ray cluster of this machine with two workers: what it evaluates is what one run evaluates, whoever is lost."""

from __future__ import annotations

import errno
import importlib.util
import random
import shutil
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import onnx
import pandas as pd
import psutil
import pytest

from bench.errors import UserError
from bench.executors import ray as executor
from bench.executors.ray import Cluster, _Distribution, cluster_of
from bench.executors.worker import Evaluated, NotSharedError
from bench.files import NotWrittenError
from bench.records import Event
from bench.remote import Store
from bench.results import predict
from tests.conftest import run_quickly, write_frames
from tests.support import foreign, stores, tiny
from tests.support.command_line import bench
from tests.support.pace import comes_true

SEED = 11
STORE = f"s3://{stores.BUCKET}/team"
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
WORKING = ("ray::Worker", "ray::build_link", "ray::IDLE")
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
    return predictions(run(laid_out(pattern, "plain")))


def laid_out(pattern: Path, name: str) -> Path:
    """A folder with the experiment file."""
    folder = pattern / name
    folder.mkdir()
    for linked in ("float.onnx", "faces"):
        (folder / linked).symlink_to(pattern / linked)
    (folder / "experiments.yaml").write_text(YAML)
    return folder


def run(folder: Path, *arguments: str) -> Path:
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


def busy_workers() -> dict[int, str]:
    """Processes of Ray's that build, evaluate or are about to, with what they are called."""
    names = {process.pid: (process.info["cmdline"] or [""])[0] for process in psutil.process_iter(["cmdline"])}
    return {pid: name for pid, name in sorted(names.items()) if name.startswith(WORKING)}


def kill_workers(kills: int, rng: random.Random, stop: threading.Event, killed: list[int]) -> None:
    """Kill a process of Ray's that builds, evaluates or is about to, so many times, at random moments."""
    while len(killed) < kills and not stop.wait(0.05):
        workers = busy_workers()
        # Evaluating takes a moment here, and starting Ray's processes many.
        longest = 0.2 if any(name.startswith("ray::Worker") for name in workers.values()) else 2.0
        if workers and not stop.wait(rng.uniform(0.0, longest)):
            with suppress(psutil.NoSuchProcess):
                psutil.Process(rng.choice(list(workers))).kill()
                killed.append(len(killed))


def disturbed(pattern: Path, name: str, kills: int, seed: int) -> dict[str, Any]:
    """What a run on two workers makes of which one is killed at random moments, so many times."""
    killed, stop = list[int](), threading.Event()
    killer = threading.Thread(target=kill_workers, args=(kills, random.Random(seed), stop, killed))
    killer.start()
    try:
        content = predictions(run(laid_out(pattern, name), "--executor", "ray"))
    finally:
        stop.set()
        killer.join()
    assert killed, "it ended before a worker could be killed"
    return content


@needs_ray
@pytest.mark.timeout(1200)
def test_on_two_workers_of_which_one_is_killed_it_ends_as_a_plain_run(
    pattern: Path, undisturbed: dict[str, Any]
) -> None:
    assert disturbed(pattern, "disturbed", 1, SEED) == undisturbed


@needs_ray
@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(3))
def test_what_a_killed_run_leaves_is_gone_on_with(seed: int, pattern: Path, undisturbed: dict[str, Any]) -> None:
    """Its own process is killed while workers build or evaluate; the same command ends as a plain run."""
    folder = laid_out(pattern, f"left-{seed}")
    command = [sys.executable, "-m", "bench", "run", "-f", str(folder / "experiments.yaml"), "--no-timing"]
    with subprocess.Popen([*command, "--executor", "ray"], stdout=subprocess.DEVNULL) as running:
        assert comes_true(lambda: any(busy_workers()), 300)
        time.sleep(random.Random(seed).uniform(0.0, 2.0))
        assert running.poll() is None, "it ended before it could be killed"
        running.kill()
    assert predictions(run(folder, "--executor", "ray")) == undisturbed


@needs_ray
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(20))
def test_killed_at_random_moments_it_ends_as_a_plain_run(seed: int, pattern: Path, undisturbed: dict[str, Any]) -> None:
    assert disturbed(pattern, f"disturbed-{seed}", 3, seed) == undisturbed


@pytest.fixture
def far(pattern: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with an experiment file alone, whose weights and frames lie at addresses; workers have another one."""
    with stores.served() as server:
        client = server.emptied(monkeypatch)
        stores.upload(client, pattern / "faces", "faces")
        client.upload_file(str(pattern / "float.onnx"), stores.BUCKET, "float.onnx")
        yaml = YAML.replace("float.onnx", f'"s3://{stores.BUCKET}/float.onnx"')
        folder = tmp_path / "run"
        folder.mkdir()
        (folder / "experiments.yaml").write_text(yaml.replace("path: faces", f'path: "s3://{stores.BUCKET}/faces"'))
        monkeypatch.setenv("BENCH_WORKERS", str(tmp_path / "workers"))
        yield folder


@needs_ray
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_workers_that_see_no_folder_share_by_a_store_and_one_is_killed(far: Path, undisturbed: dict[str, Any]) -> None:
    killed, stop = list[int](), threading.Event()
    killer = threading.Thread(target=kill_workers, args=(1, random.Random(SEED), stop, killed))
    killer.start()
    try:
        run(far, "--executor", "ray", "--store", STORE)
    finally:
        stop.set()
        killer.join()
    assert killed
    assert predictions(far) == undisturbed
    (workers,) = (far.parent / "workers").iterdir()
    assert len(list(workers.glob("variants/*/variant.json"))) == len(list(far.glob("variants/*/variant.json")))


# ------------------------------------------------------------------------------ without a cluster
class Exceptions:
    """Those of Ray that count here, under its own names."""

    class RayTaskError(Exception):
        cause: Exception | None = None

    class RayActorError(Exception): ...

    class ActorUnavailableError(RayActorError): ...

    class WorkerCrashedError(Exception): ...

    class NodeDiedError(Exception): ...

    class OutOfMemoryError(Exception): ...


class ClusterHere:
    """Ray's surface in this process: tasks and calls are done at once, and `lost` calls of a worker come to nothing.

    Calls are numbered from 1. A lost worker begins anew, as an actor of Ray that may be restarted.
    """

    exceptions = Exceptions

    def __init__(
        self, lost: Callable[[int], bool] = lambda call: False, resources: Sequence[dict[str, float]] = ({"CPU": 2.0},)
    ) -> None:
        self.lost, self.resources, self.answers, self.calls = lost, resources, list[Any](), 0

    def nodes(self) -> list[dict[str, Any]]:
        alive = [{"Alive": True, "Resources": each} for each in self.resources]
        return [*alive, {"Alive": False, "Resources": {"CPU": 64.0}}]

    def remote(self, made: Any) -> Any:
        return Remote(self, made)

    def wait(self, answers: list[int], timeout: float) -> tuple[list[int], list[int]]:
        return answers[:1], answers[1:]

    def get(self, answer: int) -> Any:
        value = self.answers[answer]
        if isinstance(value, Exception):
            raise value
        return value

    def answer(self, do: Callable[[], Any]) -> int:
        try:
            self.answers.append(do())
        except Exception as error:
            failed = Exceptions.RayTaskError(str(error))
            failed.cause = error
            self.answers.append(failed)
        return len(self.answers) - 1


class Remote:
    """A function or a class of Ray."""

    def __init__(self, cluster: ClusterHere, made: Any) -> None:
        self.cluster, self.made = cluster, made

    def options(self, **_: Any) -> Remote:
        return self

    def remote(self, *arguments: Any) -> Any:
        if isinstance(self.made, type):
            return Actor(self.cluster, lambda: self.made(*arguments))
        return self.cluster.answer(lambda: self.made(*arguments))


class Actor:
    """A worker; its method's calls are `remote` ones."""

    def __init__(self, cluster: ClusterHere, begin: Callable[[], Any]) -> None:
        self.cluster, self.begin, self.worker = cluster, begin, begin()

    @property
    def evaluate(self) -> Actor:
        return self

    def remote(self, *unit: int) -> int:
        self.cluster.calls += 1
        if self.cluster.lost(self.cluster.calls):
            self.worker = self.begin()
            gone = Exceptions.OutOfMemoryError if self.cluster.calls % 2 else Exceptions.RayActorError
            self.cluster.answers.append(gone("it is gone"))
            return len(self.cluster.answers) - 1
        return self.cluster.answer(lambda: self.worker.evaluate(*unit))


class Standing:
    """A worker that does nothing, with which the second shard fails."""

    def evaluate(self, index: int, low: int) -> Evaluated:
        fails = (index, low) == (0, 256)
        return Evaluated({"q8": "fails"}, ["q8: line 7 raised it"]) if fails else Evaluated({}, [])


UNITS = [(0, 0), (0, 256), (0, 512), (1, 0)]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "_PAUSE_S", 0.01)
    monkeypatch.setattr(executor, "_LONGEST_PAUSE_S", 0.02)
    monkeypatch.setattr(executor, "_POLL_SECONDS", 0.01)


def shared_among_two(lost: Callable[[int], bool]) -> _Distribution:
    cluster = ClusterHere(lost)
    return _Distribution(cluster, [cluster.remote(Standing).remote() for _ in range(2)], deque(UNITS))


def test_shards_of_a_lost_worker_are_given_to_others(logged: list[str]) -> None:
    """What failed there is in the log of the run."""
    shared, events = shared_among_two(lambda call: call in (1, 2, 4)), list[Any]()
    assert shared.done(lambda done: done, events.append) == {"q8": "fails"}
    assert "a worker: q8: line 7 raised it" in logged
    assert shared.finished == set(UNITS)
    assert events[-1] == len(UNITS)


def test_a_shard_that_loses_every_worker_is_told() -> None:
    with pytest.raises(UserError, match="were lost 5 times, perhaps for want of memory"):
        shared_among_two(lambda call: True).done(lambda done: done, lambda event: None)


def by_one(evaluate: Callable[[int], Evaluated]) -> _Distribution:
    """One worker, and what it answers to the call of this number, from 1."""
    cluster = ClusterHere()

    class Single:
        def evaluate(self, index: int, low: int) -> Evaluated:
            return evaluate(cluster.calls)

    return _Distribution(cluster, [cluster.remote(Single).remote()], deque(UNITS))


def test_uploads_that_fail_are_tried_again_and_told_in_the_end() -> None:
    def failing(calls: range) -> Callable[[int], Evaluated]:
        def evaluate(call: int) -> Evaluated:
            if call in calls:
                raise NotSharedError("s3://bucket/bench: 503 Slow Down")
            return Evaluated({}, [])

        return evaluate

    shared = by_one(failing(range(2, 5)))
    assert shared.done(lambda done: done, lambda event: None) == {}
    assert shared.finished == set(UNITS)
    with pytest.raises(UserError, match=r"s3://bucket/bench: 503 Slow Down \(tried 5 times\)"):
        by_one(failing(range(1, 99))).done(lambda done: done, lambda event: None)


def test_a_full_disk_of_a_worker_is_told() -> None:
    def evaluate(call: int) -> Evaluated:
        raise NotWrittenError(errno.ENOSPC, "No space left on device", "results/first/0.npz")

    with pytest.raises(UserError, match=r"a worker could not go on: results/first/0\.npz: the disk is full"):
        by_one(evaluate).done(lambda done: done, lambda event: None)


def test_workers_that_do_not_answer_are_told_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "_SILENCE_S", 0.05)
    shared, events = shared_among_two(lambda call: False), list[Any]()
    silences = list[int]()

    def wait(answers: list[int], timeout: float) -> tuple[list[int], list[int]]:
        time.sleep(0.02)
        silences.append(len(answers))
        return (answers[:1], answers[1:]) if len(silences) > 9 else ([], answers)

    monkeypatch.setattr(shared.ray, "wait", wait)
    shared.done(lambda done: done, events.append)
    texts = [event.work for event in events if isinstance(event, Event)]
    assert texts == ["no worker has answered for 0 minutes: `ray status` says what they wait for"]


def test_workers_on_gpus_share_the_cores_of_their_node() -> None:
    cluster = ClusterHere(resources=[{"CPU": 64.0, "GPU": 8.0}, {"CPU": 48.0, "GPU": 4.0}, {"CPU": 2.0}])
    assert cluster_of(cluster, 64, "cuda") == Cluster(3, 12, 8, 12)
    assert cluster_of(cluster, 64, "cpu") == Cluster(3, 32 + 24 + 1, 2, 0)


def test_a_worker_on_its_way_back_costs_no_shard_and_gets_nothing_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first worker is away for far more calls than a shard may be lost; the other one does them all."""
    monkeypatch.setattr(executor, "_PAUSE_S", 0.2)
    monkeypatch.setattr(executor, "_LONGEST_PAUSE_S", 0.2)
    cluster, calls = ClusterHere(), list[int]()

    class Away:
        """Every call of it fails at once."""

        evaluate = property(lambda self: self)

        def remote(self, *unit: int) -> int:
            calls.append(unit[1])
            cluster.answers.append(Exceptions.ActorUnavailableError("it restarts"))
            return len(cluster.answers) - 1

    units = [(0, low) for low in range(0, 256 * 40, 256)]
    shared = _Distribution(cluster, [Away(), cluster.remote(Standing).remote()], deque(units))
    assert shared.done(lambda done: done, lambda event: None) == {"q8": "fails"}
    assert shared.finished == set(units)
    assert not any(shared.losses.values())
    assert len(calls) <= 4


def test_a_worker_that_can_build_nothing_ends_the_run() -> None:
    cluster = ClusterHere()

    def unmounted() -> None:
        raise UserError("experiments.yaml: no such file")

    with pytest.raises(UserError, match=r"a worker can't build anything: experiments\.yaml: no such file"):
        executor._reason(cluster, cluster.answer(unmounted))


@pytest.fixture
def shop(tmp_path: Path, tiny_family: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which a run has three shards for each of three variants."""
    run_quickly(monkeypatch)
    monkeypatch.setattr(predict, "SHARD_FRAMES", 8)
    tiny.save_weights(tmp_path / "best_model.tar")
    for seed, split in enumerate(("test", "calibration")):
        write_frames(tmp_path / "faces" / split, 10, 10, seed)
    yaml = YAML.replace("architecture: onnx, weights: float.onnx", "architecture: tiny, weights: best_model.tar")
    yaml = yaml.replace(
        "      q16:", "      p50: [{prune: {amount: 0.5, ranking: magnitude, repair: false}}]\n      q16:"
    )
    (tmp_path / "experiments.yaml").write_text(yaml)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_workers_that_are_lost_change_no_result(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that an executor does, in this process: links built parents first, shards evaluated twice where need be."""
    cluster = ClusterHere(lambda call: call in (2, 3, 6))
    monkeypatch.setattr(executor, "connected", lambda address: nullcontext(cluster))
    monkeypatch.setattr("bench.executors.PACKAGE", "bench")
    code, output = bench("run", "--no-timing", "--executor", "ray")
    assert code == 0, output
    assert "building on 2 workers (1 thread each) on 1 node" in output
    assert cluster.calls >= 3 + 3
    (shop / "results").rename(shop / "by-workers")
    assert bench("run", "--no-timing")[0] == 0
    for variant in ("baseline", "p50", "q16"):
        for file in ("predictions.parquet", "cam.npy"):
            of_workers = (shop / "by-workers/first" / variant / file).read_bytes()
            assert (shop / "results/first" / variant / file).read_bytes() == of_workers
    appearance = "first/appearance.parquet"
    assert (shop / "by-workers" / appearance).read_bytes() == (shop / "results" / appearance).read_bytes()


@pytest.fixture
def remote_shop(shop: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The same, whose weights and frames lie at addresses, and a cluster in this process whose workers see neither."""
    with stores.served() as server:
        client = server.emptied(monkeypatch)
        stores.upload(client, shop / "faces", "faces")
        client.upload_file(str(shop / "best_model.tar"), stores.BUCKET, "best.tar")
        yaml = (shop / "experiments.yaml").read_text()
        yaml = yaml.replace("best_model.tar", f'"s3://{stores.BUCKET}/best.tar"')
        (shop / "experiments.yaml").write_text(yaml.replace("path: faces", f'path: "s3://{stores.BUCKET}/faces"'))
        monkeypatch.setenv("BENCH_WORKERS", str(shop / "workers"))
        monkeypatch.setattr("bench.executors.PACKAGE", "bench")
        yield shop


def in_cluster(patch: pytest.MonkeyPatch, lost: Callable[[int], bool] = lambda call: False) -> ClusterHere:
    cluster = ClusterHere(lost)
    patch.setattr(executor, "connected", lambda address: nullcontext(cluster))
    return cluster


@pytest.mark.slow
def test_by_a_store_workers_build_and_evaluate_in_a_folder_of_their_own(
    remote_shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that ends while they evaluate leaves what they did in the store, and the next one goes on from there."""
    in_cluster(monkeypatch, lambda call: call > 2)
    code, output = bench("run", "--no-timing", "--executor", "ray", "--store", STORE)
    assert (code, "were lost 5 times" in output) == (2, True)
    (workers,) = (remote_shop / "workers").iterdir()
    built = {file.parent.name for file in workers.glob("variants/*/variant.json")}
    assert built == {file.parent.name for file in remote_shop.glob("variants/*/variant.json")}
    assert len(built) == 3
    for folder in (workers, remote_shop / "variants", remote_shop / "results"):
        shutil.rmtree(folder)
    cluster = in_cluster(monkeypatch)
    code, output = bench("run", "--no-timing", "--executor", "ray", "--store", STORE)
    assert code == 0, output
    assert 0 < cluster.calls < 3
    items = Store(f"{STORE}/first").items()
    assert not [name for name in items if f"/{predict.SHARDS}/" in name], "joined ones take their place"
    (remote_shop / "results").rename(remote_shop / "by-workers")
    shutil.rmtree(remote_shop / "variants")
    assert bench("run", "--no-timing")[0] == 0
    for variant in ("baseline", "p50", "q16"):
        for file in ("predictions.parquet", "cam.npy"):
            of_workers = (remote_shop / "by-workers/first" / variant / file).read_bytes()
            assert (remote_shop / "results/first" / variant / file).read_bytes() == of_workers


@pytest.mark.slow
def test_weights_that_workers_do_not_see_are_told(remote_shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yaml = (remote_shop / "experiments.yaml").read_text()
    (remote_shop / "experiments.yaml").write_text(yaml.replace(f"s3://{stores.BUCKET}/best.tar", "best_model.tar"))
    in_cluster(monkeypatch)
    code, output = bench("run", "--no-timing", "--executor", "ray", "--store", STORE)
    assert code == 2
    assert "detectors.mine.weights: best_model.tar is a path in this folder, which workers do not see" in output
    assert not (remote_shop / "results").exists(), "told before any work"


@needs_ray
def test_an_address_where_no_cluster_answers_is_told() -> None:
    with (
        pytest.raises(UserError, match=r"no Ray cluster answers at 127\.0\.0\.1:1: "),
        executor.connected("127.0.0.1:1"),
    ):
        pass
