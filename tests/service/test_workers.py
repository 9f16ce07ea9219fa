"""A network in a process of its own: what ends that process ends nothing else."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import numpy as np
import psutil
import pytest

from bench.inference import workers
from bench.inference.workers import WorkerLostError, WorkerSession
from bench.service.batching import Batcher, Window
from bench.system import shared_arrays, worker_processes
from tests.support import fatal, pace
from tests.support.fatal import frames

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a process is killed by a signal")

SHARED_MEMORY = Path("/dev/shm")


@pytest.fixture(scope="module")
def gone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file; while it is there, nothing can be loaded."""
    return tmp_path_factory.mktemp("workers") / "gone"


@pytest.fixture(scope="module", autouse=True)
def _short_pauses() -> Iterator[None]:
    """These processes end again and again, soon after each start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "_PAUSE_SECONDS", 0.2)
        patch.setattr(workers, "_LONGEST_PAUSE_SECONDS", 1.0)
        yield


@pytest.fixture(scope="module")
def session(gone: Path) -> Iterator[WorkerSession]:
    opened = WorkerSession(partial(fatal.load, gone), "q8")
    yield opened
    process = opened.process_id
    opened.close()
    opened.close()
    with suppress(ProcessLookupError):
        os.kill(process, 0)
        pytest.fail("closed, it leaves its process")


def test_it_answers_and_raises_as_the_session_does(session: WorkerSession) -> None:
    process = session.process_id
    assert session.executed.runtime == "drawn"
    assert process != os.getpid()
    assert session.predict(frames(3, 7)).logits[:, 1].tolist() == [3, 7]
    # Each batch is larger or smaller than the one before it, in memory that both processes see.
    for count in (1, 300, 20):
        levels = np.arange(count) % 200
        assert session.predict(frames(*levels)).logits[:, 1].tolist() == levels.tolist()
    with pytest.raises(MemoryError):
        session.predict(frames(fatal.NO_MEMORY))
    with pytest.raises(ValueError, match="broken"):
        session.predict(frames(fatal.BREAKS))
    # A signal to the whole group of processes is the parent's matter.
    for each in (signal.SIGINT, signal.SIGTERM):
        os.kill(process, each)
    time.sleep(0.1)
    assert session.predict(frames(5)).logits[0, 1] == 5
    assert session.process_id == process


def test_without_shared_memory_frames_go_through_the_pipe(
    session: WorkerSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int, begin: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    levels = np.arange(400) % 200  # more than came before
    assert session.predict(frames(*levels)).logits[:, 1].tolist() == levels.tolist()


def test_killed_in_a_call_that_call_alone_fails(session: WorkerSession, logged: list[str]) -> None:
    before = session.restarts
    with pytest.raises(WorkerLostError, match="was killed before it answered, and is started again"):
        session.predict(frames(fatal.KILLS))
    assert session.predict(frames(5)).logits[0, 1] == 5
    assert session.restarts == before + 1
    assert any("q8: its process ended (exit code -9)" in message for message in logged)


def test_one_that_hangs_is_ended_and_started_again(
    session: WorkerSession, logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    session.predict(frames(5))
    monkeypatch.setattr(workers, "_HANGS_SECONDS", 0.3)
    monkeypatch.setattr(workers, "_HANGS_TIMES", 1)
    os.kill(session.process_id, signal.SIGSTOP)
    with pytest.raises(WorkerLostError, match="was killed before it answered, and is started again"):
        session.predict(frames(5))
    monkeypatch.setattr(workers, "_HANGS_SECONDS", 60.0)
    assert session.predict(frames(6)).logits[0, 1] == 6
    assert any("gave no answer" in message for message in logged)


def test_killed_between_calls_it_is_started_again_without_one(session: WorkerSession) -> None:
    before, process = session.restarts, session.process_id
    os.kill(process, signal.SIGKILL)
    assert pace.comes_true(lambda: session.restarts == before + 1, 60)
    assert session.works
    assert session.process_id != process
    assert session.predict(frames(5)).logits[0, 1] == 5


def test_while_it_cannot_be_loaded_again_it_does_not_work(session: WorkerSession, gone: Path) -> None:
    gone.touch()
    with pytest.raises(WorkerLostError, match="was killed"):
        session.predict(frames(fatal.KILLS))
    assert pace.comes_true(lambda: not session.works, 60)
    with pytest.raises(WorkerLostError, match="cannot be started again now"):
        session.predict(frames(5))
    gone.unlink()
    assert pace.comes_true(lambda: session.works, 60)
    assert session.predict(frames(5)).logits[0, 1] == 5


def test_while_the_system_starts_no_process_it_does_not_work(session: WorkerSession, logged: list[str]) -> None:
    def short_of_memory(*_: object) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker_processes, "start", short_of_memory)
        os.kill(session.process_id, signal.SIGKILL)
        assert pace.comes_true(lambda: not session.works, 60)
        with pytest.raises(WorkerLostError, match="cannot be started again now"):
            session.predict(frames(5))
        assert any("the system starts no process (Cannot allocate memory)" in message for message in logged)
    assert pace.comes_true(lambda: session.works, 60)
    assert session.predict(frames(5)).logits[0, 1] == 5


def test_one_that_ends_soon_after_each_start_is_started_again_after_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_PAUSE_SECONDS", "_LONGEST_PAUSE_SECONDS"):
        monkeypatch.setattr(workers, name, 60.0)
    session = WorkerSession(fatal.load_for_a_moment, "q8")
    assert pace.comes_true(lambda: session.restarts == 1, 60)
    process = session.process_id
    assert pace.comes_true(lambda: is_ended(process), 60)
    time.sleep(3)
    assert session.restarts == 1
    # A call does not wait for that: it starts one itself.
    with suppress(WorkerLostError):  # it may be killed before it answers
        session.predict(frames(5))
    assert session.restarts == 2
    session.close()


def is_ended(process: int) -> bool:
    """Whether a process has ended, be it that its parent has not heard of it yet."""
    try:
        return psutil.Process(process).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_closed_it_computes_nothing_and_starts_no_process(tmp_path: Path) -> None:
    session = WorkerSession(partial(fatal.load, tmp_path / "gone"), "q8")
    process = session.process_id
    with ThreadPoolExecutor(1) as thread:
        under_way = thread.submit(session.predict, frames(fatal.SLOW))
        time.sleep(0.5)
        began = time.monotonic()
        session.close()
        assert time.monotonic() - began < pace.limit(10), "it waited for a call that nobody waits for"
        with pytest.raises(WorkerLostError, match="has ended"):
            under_way.result(pace.limit(30))
    with pytest.raises(WorkerLostError, match="has ended"):
        session.predict(frames(5))
    assert not session.works
    assert session.process_id == process
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


@pytest.mark.skipif(not SHARED_MEMORY.is_dir(), reason="shared memory has no names in a folder here")
def test_it_leaves_no_shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []

    def create(create: bool, size: int) -> SharedMemory:
        memory = SharedMemory(create=create, size=size)
        made.append(SHARED_MEMORY / memory.name)
        return memory

    monkeypatch.setattr(shared_arrays, "SharedMemory", create)
    session = WorkerSession(partial(fatal.load, tmp_path / "gone"), "q8")
    for count in (1, 300):  # the second batch needs more than the first
        session.predict(frames(*[5] * count))
    with pytest.raises(WorkerLostError):
        session.predict(frames(fatal.KILLS))
    session.predict(frames(*[5] * 300))
    first, second = made
    assert not first.exists()
    assert second.exists()
    os.kill(session.process_id, signal.SIGKILL)
    session.close()
    assert not second.exists()


def test_those_who_wait_for_a_batch_hear_of_it_and_others_are_answered(session: WorkerSession) -> None:
    batcher = Batcher(session, Window(1, 0.0))
    before = batcher.restarts
    lost = batcher.submit(frames(fatal.SLOW)[0])
    waiting = [batcher.submit(frame) for frame in frames(1, 2)]
    threading.Timer(0.3, os.kill, (session.process_id, signal.SIGKILL)).start()
    with pytest.raises(WorkerLostError):
        lost.result(pace.limit(30))
    assert [answer.result(pace.limit(30)).logits[1] for answer in waiting] == [1, 2]
    assert batcher.works
    assert batcher.restarts == before + 1
    batcher.close()


def test_what_it_cannot_load_is_raised(tmp_path: Path) -> None:
    (tmp_path / "gone").touch()
    with pytest.raises(FileNotFoundError):
        WorkerSession(partial(fatal.load, tmp_path / "gone"), "q8")
