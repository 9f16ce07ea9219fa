"""A network in a process of its own: what ends that process ends nothing else."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bench.inference.workers import WorkerLostError, WorkerSession
from bench.service.batching import Batcher, Window
from tests.support import fatal, pace
from tests.support.fatal import frames

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a process is killed by a signal")


@pytest.fixture(scope="module")
def gone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file; while it is there, nothing can be loaded."""
    return tmp_path_factory.mktemp("workers") / "gone"


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


def test_killed_in_a_call_that_call_alone_fails(session: WorkerSession, capfd: pytest.CaptureFixture[str]) -> None:
    before = session.restarts
    with pytest.raises(WorkerLostError, match="was killed before it answered, and is started again"):
        session.predict(frames(fatal.KILLS))
    assert "q8: its process ended (exit code -9)" in capfd.readouterr().err
    assert session.predict(frames(5)).logits[0, 1] == 5
    assert session.restarts == before + 1


def test_killed_between_calls_none_fails(session: WorkerSession) -> None:
    os.kill(session.process_id, signal.SIGKILL)
    assert pace.comes_true(lambda: not session.works)
    assert session.predict(frames(5)).logits[0, 1] == 5
    assert session.works


def test_while_it_cannot_be_loaded_again_each_call_fails(session: WorkerSession, gone: Path) -> None:
    gone.touch()
    with pytest.raises(WorkerLostError):
        session.predict(frames(fatal.KILLS))
    with pytest.raises(WorkerLostError, match="could not be started again"):
        session.predict(frames(5))
    assert pace.comes_true(lambda: not session.works)
    gone.unlink()
    assert session.predict(frames(5)).logits[0, 1] == 5


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
