"""Waiting for others and doing without: what is told, when, and what goes on meanwhile."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import locks, pipeline
from bench.commands.plan import forecast
from bench.errors import UserError
from bench.experiment import read
from bench.pipeline import estimates, fidelity, present_speed
from bench.pipeline.finished import Finished
from bench.records import Event
from bench.results import predict, store, timing
from bench.variants import cache
from tests.support.command_line import bench
from tests.support.pace import limit

WAITS = """
import sys
from pathlib import Path
from bench import locks
from bench.progress import Bars
with Bars() as bars, locks.held(Path(sys.argv[1]), "running first", bars, folder=Path("/faces"), why="because"):
    print("held")
"""


@pytest.fixture
def small(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three variants that are quickly built, one gated by its speed, in the current folder."""
    file = workplace / "experiments.yaml"
    text = re.sub(r"      q8: .*", "      b16: [cast: bf16]\n", file.read_text(), flags=re.DOTALL)
    file.write_text(text + "    gates: {q16: {latency_ratio: 1000}}\n")
    shutil.rmtree(workplace / "faces/validation")
    monkeypatch.setattr(present_speed, "measure", estimates.quiet)  # it takes a second
    monkeypatch.chdir(workplace)
    return workplace


def scores(folder: Path) -> dict[str, Any]:
    content = json.loads((folder / "reports/first/scores.json").read_text())
    variants: dict[str, Any] = content["variants"]
    return variants


def due(folder: Path, **how: Any) -> list[str]:
    """What a run would time."""
    file = folder / "experiments.yaml"
    return [row.name for row in forecast(read(file), file, **how).rows if not row.timed]


def run(folder: Path, on_event: Any, **how: Any) -> Finished:
    return pipeline.run(read(folder / "experiments.yaml"), folder / "experiments.yaml", on_event=on_event, **how)


def test_without_timing_all_else_is_done_and_said_and_times_are_taken_later(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("done again")

    with monkeypatch.context() as patch:
        patch.setattr(timing, "measure", fail)
        code, output = bench("check", "--anyway", "--no-timing")
        assert code == 1, output
        assert "it was not timed: run once without --no-timing" in (small / "reports/first/check.md").read_text()
        patch.setattr(predict, "predict", fail)
        code, output = bench("run", "--no-timing")
    assert code == 0, output
    remark = "Not timed, so nothing is said of speed: baseline, q16, b16; `bench run` without `--no-timing` times them."
    assert remark in " ".join(output.split())
    assert remark.replace("`bench run`", "").split(";")[0] in (small / "reports/first/report.md").read_text()
    untimed = scores(small)
    assert {variant["runtime"] for variant in untimed.values()} == {"onnxruntime"}
    for variant in untimed.values():
        numbers = [variant[key] for key in ("throughput_fps", "speedup", "measurements")]
        assert [variant["latency_ms"]["p50"], *numbers] == [None, None, None, []]
    assert due(small) == ["baseline", "q16", "b16"]
    with monkeypatch.context() as patch:
        patch.setattr(predict, "predict", fail)
        assert bench("check", "--anyway")[0] == 0
        timed = scores(small)
        assert all(variant["latency_ms"]["p50"] for variant in timed.values())
        assert {name: variant["auc"] for name, variant in timed.items()} == {
            name: variant["auc"] for name, variant in untimed.items()
        }
        patch.setattr(timing, "measure", fail)
        code, output = bench("check", "--anyway", "--no-timing")
        assert code == 0, output
        assert "Not timed" not in output
        assert scores(small) == timed


def test_times_are_taken_again_where_that_is_asked_for(small: Path) -> None:
    assert bench("run")[0] == 0
    began = scores(small)
    assert due(small) == due(small, timing="none") == []
    assert due(small, timing="again") == ["baseline", "q16", "b16"]
    code, output = bench("run", "--time-again", "--only", "q16")
    assert code == 0, output
    assert "due again: baseline, q16 (time): `--time-again` was given" in output
    again = scores(small)
    same = {name: again[name]["measurements"] == began[name]["measurements"] for name in again}
    assert same == {"baseline": False, "q16": False, "b16": True}
    code, output = bench("run", "--time-again", "--no-timing")
    assert code == 2
    assert "--no-timing and --time-again" in output


def test_who_waits_for_another_folders_timing_says_so_and_whoever_wants_no_times_does_not_wait(small: Path) -> None:
    waits: list[Event] = []
    with ExitStack() as others:

        def listen(event: Event) -> None:
            if event.is_wait:
                waits.append(event)
                others.close()

        lock = locks.machine_wide("timing")
        others.enter_context(locks.held(lock, "timing other", folder=Path("/data/elsewhere")))
        inside = small / "variants" / cache.LOCKS / "timing.lock"
        with locks.held(inside, "timing first", folder=small):
            run(small, listen, timing="none")
        assert not waits
        run(small, listen)
    assert [event.done for event in waits] == [0, 1]
    holder = rf"\(process {os.getpid()} that is timing other in /data/elsewhere since [\d:]+ \S+\)"
    assert re.fullmatch(rf"waiting for another run {holder}", waits[0].work)
    assert waits[0].note == fidelity.WHY_WAIT
    assert "--no-timing" in fidelity.WHY_WAIT


def test_while_times_are_taken_results_are_free_and_what_another_run_has_timed_is_not_timed_again(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure, free = timing.measure, list[bool]()

    def watched(*arguments: Any) -> Any:
        with locks.tried(small / "results/first" / store.LOCK) as is_free:
            free.append(is_free)
        return measure(*arguments)

    monkeypatch.setattr(timing, "measure", watched)
    run(small, lambda event: None)
    assert free == [True]
    times = {path: path.read_bytes() for path in small.glob(f"results/first/*/{store.MEASUREMENTS}")}
    for path in times:
        path.unlink()
    with ExitStack() as other:

        def listen(event: Event) -> None:
            if event.is_wait and event.done == 0:
                for path, content in times.items():
                    path.write_bytes(content)
                other.close()

        other.enter_context(locks.held(small / "variants" / cache.LOCKS / "timing.lock", "timing first", folder=small))
        run(small, listen)
    assert len(times) == 3
    assert free == [True]


def test_results_that_another_run_replaced_meanwhile_are_not_reported(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = timing.measure

    def replaced(*arguments: Any) -> Any:
        mark = small / "results/first/q16" / predict.MARK
        mark.write_text(json.dumps({**json.loads(mark.read_text()), "key": "another"}))
        return measure(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(timing, "measure", replaced)
        code, output = bench("run")
    assert code == 2
    assert "results/first/q16: another run, with other settings" in output
    # Of another length of timing, which the scores know nothing of.
    write, keys = store.write_timed, list[str]()

    def of_another(folder: Path, key: str, timed: store.SessionTimes) -> None:
        keys.append(key)
        write(folder, "another", timed)

    monkeypatch.setattr(store, "write_timed", of_another)
    code, output = bench("run", "--time-again")
    assert keys
    assert code == 2
    assert "another run, with other settings" in output


def test_kernels_that_could_not_be_chosen_are_no_longer_being_chosen(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any) -> None:
        raise UserError("gone")

    unsettled = SimpleNamespace(is_settled=lambda *_: False, settle=None)
    monkeypatch.setattr("bench.runtimes.find", lambda name: unsettled)
    monkeypatch.setattr("bench.runtimes.choose", lambda *_: "any")
    monkeypatch.setattr(cache, "check", gone)
    prepared: Any = SimpleNamespace(
        base=small, variants=small / "variants", name="first", timing="due", device="cpu",
        settings=SimpleNamespace(runtime="onnxruntime"),
    )  # fmt: skip
    built: Any = SimpleNamespace(id="0123456789abcdef", kind="onnx")
    events: list[Event] = []
    with pytest.raises(UserError, match="gone"):
        fidelity.settle(prepared, built, events.append)
    assert [(event.is_whole, event.has_failed) for event in events] == [(False, False), (True, True)]


def test_a_run_that_waits_for_one_variant_builds_another_meanwhile(small: Path) -> None:
    names: list[str] = []
    assert bench("run", "--no-timing", "--only", "baseline")[0] == 0
    (baseline,) = (path.name for path in (small / "variants").iterdir() if (path / "variant.json").exists())
    plan = forecast(read(small / "experiments.yaml"), small / "experiments.yaml")
    q16 = next(row.id for row in plan.rows if row.name == "q16")
    with ExitStack() as other:

        def listen(event: Event) -> None:
            if event.is_wait and event.done == 0:
                names.extend(json.loads(path.read_text())["name"] for path in small.glob("variants/*/variant.json"))
                assert f"that is building {q16} (q16 of first) in {small} since" in event.work
                other.close()

        lock = cache.lock_file(small / "variants", q16)
        other.enter_context(locks.held(lock, f"building {q16} (q16 of first)", folder=small))
        finished = run(small, listen, timing="none")
    assert sorted(names) == ["b16", "baseline"]
    assert [variant.name for variant in finished.run.variants] == ["baseline", "q16", "b16"]
    assert baseline in {variant.id for variant in finished.run.variants}


def test_another_run_of_the_experiment_is_told_of_before_anything_is_read(small: Path) -> None:
    events: list[Event] = []
    (small / "best_model.tar").unlink()  # so that it ends right after
    with (
        store.locked(small / "results/first", "running first"),
        pytest.raises(Exception, match=r"best_model\.tar"),
    ):
        run(small, events.append)
    assert events[0].unit == "warning"
    assert f"another run is here (process {os.getpid()} that is running first in {small} since" in events[0].work


@pytest.mark.parametrize("where", ["file", "pipe", "terminal"])
def test_a_wait_is_told_at_once_wherever_standard_error_leads(where: str, tmp_path: Path) -> None:
    path = tmp_path / "lock"
    reads, writes = pty.openpty() if where == "terminal" else os.pipe()
    if where == "file":
        os.close(writes)
        writes = os.open(tmp_path / "told.txt", os.O_WRONLY | os.O_CREAT)
    written, until = b"", time.monotonic() + limit(20)
    with locks.held(path, "timing other", folder=Path("/else\nwhere")):
        waiting = subprocess.Popen([sys.executable, "-c", WAITS, path], stdout=subprocess.PIPE, stderr=writes)
        while b"because" not in written and time.monotonic() < until:
            if where == "file":
                written = (tmp_path / "told.txt").read_bytes()
                time.sleep(0.02)
            elif select.select([reads], [], [], 0.1)[0]:
                written += os.read(reads, 4096)
        assert waiting.poll() is None
    assert waiting.communicate(timeout=limit(20))[0] == b"held\n"
    os.close(writes)
    os.close(reads)
    text = " ".join(re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", written.decode()).split())
    holder = rf"\(process {os.getpid()} that is timing other in /else\\nwhere since [\d:]+ \S+\)"
    assert re.search(rf"waiting for another run {holder}: because", text), text
