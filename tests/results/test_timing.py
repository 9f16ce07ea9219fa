"""Timing in fresh processes and in alternation, with stand-ins for the sessions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from bench.errors import UserError
from bench.records import Event, PeakMemory, Timed, silent
from bench.results import timing
from bench.results.timing import conditions, worker
from bench.system import idle_cores
from tests.conftest import start_in_a_thread
from tests.support.pace import limit
from tests.support.timed import EXECUTED, FRAMES, LOGITS, FakeSession


def subject(**settings: object) -> timing.Subject:
    return timing.Subject(partial(FakeSession, **settings), LOGITS, FRAMES)  # type: ignore[arg-type]  # settings as tests give them


def killed() -> FakeSession:
    os.kill(os.getpid(), signal.SIGKILL)
    return FakeSession()


def refused() -> FakeSession:
    raise UserError("asked for CUDA, given the CPU")


@pytest.fixture
def in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "start", start_in_a_thread)


def test_each_has_a_fresh_process_and_they_take_turns_in_rounds(tmp_path: Path) -> None:
    log, events = tmp_path / "log", list[Event]()
    names = ("a", "b", "c")
    session = timing.measure({name: subject(call=0.004, most=1, log=log) for name in names}, 0.03, events.append)
    assert session.failed == {}
    calls = [line.split() for line in log.read_text().splitlines()]
    processes = list(dict.fromkeys(process for process, _ in calls))
    assert len(processes) == 3
    assert str(os.getpid()) not in processes
    assert not any(psutil.pid_exists(int(process)) for process in processes), "ended with the session"
    turns = [process for index, (process, _) in enumerate(calls) if index == 0 or calls[index - 1][0] != process]
    # Warmed up in turn, then rounds of A B C until the last.
    assert turns[: 3 * (timing.ROUNDS + 1)] == processes * (timing.ROUNDS + 1)
    for times in session.times.values():
        assert times.executed == EXECUTED
        single = times.measurements[0]
        assert (single.batch_size, len(single.rounds_ms)) == (1, timing.ROUNDS)
        assert min(sample for samples in single.rounds_ms for sample in samples) >= 4
        assert single.device_rounds_ms[0][0] == 0.25
        assert single.peak_memory
        assert 5 < (single.peak_memory.rss_mib or 0) < psutil.Process().memory_info().rss / 2**20
    assert [event.done for event in events] == sorted(event.done for event in events)
    assert events[-1].done == events[-1].total
    assert session.conditions.seconds > 0
    assert session.conditions.machine["cpu"]


@dataclass
class OnDevice(FakeSession):
    """Falls back to another way for batches of more than one, and holds memory that it can do without."""

    log_of_rests: Path = Path()

    def predict_timed(self, frames: NDArray[np.uint8]) -> Timed:
        if len(frames) > 1:
            self.executed = replace(EXECUTED, mode="CUDA graphs; eager at batch 2")
        return super().predict_timed(frames)

    def rest(self, *, from_all: bool) -> None:
        with self.log_of_rests.open("a") as file:
            file.write(f"{from_all}\n")


@pytest.mark.usefixtures("in_threads")
def test_a_session_rests_between_its_turns_and_what_executed_is_known_at_the_end(tmp_path: Path) -> None:
    load = partial(OnDevice, call=0.02, most=2, log_of_rests=tmp_path / "rests")
    session = timing.measure({"one": timing.Subject(load, LOGITS, FRAMES)}, 0.02, silent)
    assert session.failed == {}
    assert session.times["one"].executed.mode == "CUDA graphs; eager at batch 2"
    # After warming up, the search for the batch size, and every turn.
    rests = (tmp_path / "rests").read_text().splitlines()
    assert len(rests) == 2 + 2 * timing.ROUNDS
    assert rests.count("True") == 1, "of what the search tried, nothing is kept"


@pytest.mark.usefixtures("in_threads")
def test_best_batch_is_searched_until_nothing_is_gained(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that only calls move, whatever else the machine does."""
    clock = [0.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", sleep)
    subjects = {"flat": subject(frame=0.004), "steep": subject(call=0.004, most=4)}
    session = timing.measure(subjects, 0.02, silent)
    assert session.failed == {}, "a batch that does not fit is no failure"
    sizes = {name: [timed.batch_size for timed in times.measurements] for name, times in session.times.items()}
    assert sizes == {"flat": [1, 1], "steep": [1, 4]}, "all take part in the second rounds"
    assert all(timed.peak_memory for times in session.times.values() for timed in times.measurements)
    peaks = [timed.peak_memory.rss_mib for timed in session.times["steep"].measurements if timed.peak_memory]
    assert peaks[0]
    assert peaks[1] is None, "the search went further"


@pytest.mark.usefixtures("in_threads")
def test_a_batch_size_that_won_by_luck_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """What wins the search must win again, since a moment of somebody else's work can make it win once."""
    rates = iter([100.0, 150.0, 90.0, 90.0, *[99.0, 100.0] * worker.CONFIRMING_ROUNDS])
    monkeypatch.setattr(worker.FindBatch, "_frames_per_second", lambda *_: next(rates))
    assert worker.FindBatch(0.1).run(FakeSession(), FRAMES) == 1
    rates = iter([100.0, 150.0, 90.0, 90.0, *[140.0, 100.0] * worker.CONFIRMING_ROUNDS])
    assert worker.FindBatch(0.1).run(FakeSession(), FRAMES) == 2


@pytest.mark.usefixtures("in_threads")
def test_a_batch_that_would_take_too_much_memory_is_not_tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(worker, "_leaves_room", lambda at_rest_mib: False)
    timing.measure({"a": subject(call=0.001, log=tmp_path / "log")}, 0.01, silent)
    assert {line.split()[1] for line in (tmp_path / "log").read_text().splitlines()} == {"1"}


@pytest.mark.usefixtures("in_threads")
def test_neither_warm_up_nor_first_call_of_a_turn_is_among_the_samples(tmp_path: Path) -> None:
    log = tmp_path / "log"
    session = timing.measure({"a": subject(log=log, most=1)}, 0.01, silent)
    first, second = session.times["a"].measurements
    timed = sum(len(samples) for measurement in (first, second) for samples in measurement.rounds_ms)
    calls = [line.split()[1] for line in log.read_text().splitlines()]
    before = sum(len(samples) for samples in first.rounds_ms) + timing.ROUNDS + worker.WARM_UP_CALLS
    probes = calls.index("2") + 1 - before
    assert probes >= worker.PROBE_CALLS
    assert len(calls) == timed + 2 * timing.ROUNDS + worker.WARM_UP_CALLS + probes


@pytest.mark.parametrize(
    ("broken", "error", "words"),
    [
        (subject(breaks_after=20), RuntimeError, "fell over"),
        (subject(breaks_after=0, how=ValueError), ValueError, "fell over"),
        (subject(most=0), MemoryError, "MemoryError"),
        (timing.Subject(refused, LOGITS, FRAMES), UserError, "given the CPU"),
        (subject(logits=LOGITS[::-1].copy()), ValueError, "otherwise than the evaluation: P\\(fake\\) 0.88"),
        (subject(logits=LOGITS * np.nan), ValueError, "otherwise"),
    ],
)
@pytest.mark.usefixtures("in_threads")
def test_one_that_fails_does_not_stop_the_others(broken: timing.Subject, error: type[Exception], words: str) -> None:
    session = timing.measure({"broken": broken, "fine": subject(call=0.001)}, 0.01, silent)
    assert list(session.times) == ["fine"]
    assert list(session.failed) == ["broken"]
    with pytest.raises(error, match=words):
        raise session.failed["broken"]


def test_a_process_that_ends_before_it_reads_its_frames_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a pipe holds: whoever writes it must not wait for a reader that is gone."""
    started = timing.start

    def start_and_kill() -> timing.Process:
        process = started()
        process.process.kill()
        return process

    monkeypatch.setattr(timing, "start", start_and_kill)
    frames = np.zeros((16, 3, 160, 160), np.uint8)
    session = timing.measure({"a": timing.Subject(FakeSession, LOGITS, frames)}, 0.01, silent)
    assert "exit code -9: killed" in str(session.failed["a"])


def test_ctrl_c_reaches_the_parent_alone(tmp_path: Path) -> None:
    """A process that has just begun prints no traceback of its own."""
    program = (
        "import os, signal, time\n"
        "from bench.results import timing\n"
        "if __name__ == '__main__':\n"
        f"    timing.PATIENCE_SECONDS = {limit(10)}\n"
        "    worker = timing.start()\n"
        "    time.sleep(0.05)\n"
        "    os.kill(worker.process.pid, signal.SIGINT)\n"
        "    time.sleep(0.5)\n"
        "    alive = worker.process.is_alive()\n"
        "    worker.end()\n"
        "    print('alive' if alive else 'ended', worker.process.exitcode)\n"
    )
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run([sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "alive 0\n"
    assert done.stderr == ""


def test_a_process_that_is_killed_is_told(tmp_path: Path) -> None:
    session = timing.measure({"a": timing.Subject(killed, LOGITS, FRAMES), "b": subject()}, 0.01, silent)
    assert list(session.times) == ["b"]
    assert "exit code -9: killed" in str(session.failed["a"])


@dataclass
class Fills(FakeSession):
    """Is killed for batches of more than `fits` frames, which it would be faster with."""

    fits: int = 2

    def predict_timed(self, frames: NDArray[np.uint8]) -> Timed:
        if len(frames) > self.fits:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().predict_timed(frames)


@pytest.mark.slow
def test_who_is_killed_with_a_batch_is_tried_with_half_of_it() -> None:
    """While sizes are tried, and while they are timed: a size that is found by the first may no longer fit."""
    session = timing.measure({"a": timing.Subject(partial(Fills, call=0.004), LOGITS, FRAMES)}, 0.03, silent)
    assert session.failed == {}
    assert [timed.batch_size for timed in session.times["a"].measurements] == [1, 2]


class _Scripted(timing.Process):
    """Finds batch 8, and is killed with more than two frames while these are timed; in no process at all."""

    started: ClassVar[list[_Scripted]] = []

    def __init__(self) -> None:
        super().__init__(None, cast(Any, None))
        self.started.append(self)

    def call(self, request: Any) -> Any:
        if isinstance(request, worker.FindBatch):
            return 8
        if isinstance(request, worker.TimeCalls):
            if request.batch_size > 2:
                raise timing.KilledError(self.batch_size, for_memory=True)
            logits = LOGITS[np.arange(request.batch_size) % 2]
            return worker.Samples((4.0 / request.batch_size,), (), logits, PeakMemory(1.0), EXECUTED)
        return EXECUTED if isinstance(request, tuple) else None

    def end(self) -> None:
        pass


def test_who_is_killed_while_batches_are_timed_has_all_timed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Scripted, "started", [])
    monkeypatch.setattr(timing, "start", _Scripted)
    events = list[Event]()
    session = timing.measure({"a": subject()}, 0.01, events.append)
    assert session.failed == {}
    assert len(_Scripted.started) == 3, "8, 4, then 2 frames"
    assert [(timed.batch_size, len(timed.rounds_ms)) for timed in session.times["a"].measurements] == [
        (1, timing.ROUNDS), (2, timing.ROUNDS)
    ]  # fmt: skip
    assert events[-1].done == events[-1].total


def test_an_error_comes_with_the_traceback_of_its_process() -> None:
    session = timing.measure({"a": subject(breaks_after=0)}, 0.01, silent)
    assert "predict_timed" in session.failed["a"].__notes__[0]


def test_processes_end_when_the_listener_raises() -> None:
    def stop(event: Event) -> None:
        if event.done > 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        timing.measure({"a": subject(), "b": subject()}, 0.01, stop)
    left = [child for child in psutil.Process().children() if "resource_tracker" not in " ".join(child.cmdline())]
    assert left == []


def test_others_work_is_what_the_processor_did_beside_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the processor was busy, a quarter of it with this process and those it started."""
    clock, used = iter([100.0, 110.0]), iter([{1: 5.0, 2: 3.0}, {1: 8.0 + 0.25 * 10 * (psutil.cpu_count() or 1)}])
    busy = iter([0.0, 50.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(conditions, "own_cpu_seconds", lambda: next(used))
    monkeypatch.setattr(psutil, "cpu_percent", lambda: next(busy))
    with conditions.watch(2) as watched:
        pass
    assert watched.conditions.others_cpu == pytest.approx(0.25, abs=1e-3)
    assert (watched.conditions.seconds, watched.conditions.variants) == (10.0, 2)


def test_work_of_processes_that_have_ended_is_ours_too() -> None:
    before = sum(idle_cores.own_cpu_seconds().values())
    program = "import time\nuntil = time.process_time() + 0.5\nwhile time.process_time() < until: pass"
    subprocess.run([sys.executable, "-c", program], check=True)
    assert sum(idle_cores.own_cpu_seconds().values()) - before > 0.49  # the kernel counts hundredths
