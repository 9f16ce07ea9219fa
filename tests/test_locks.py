"""Locks between processes: one at a time, told while waiting, freed by a kill."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from bench import locks
from bench.records import Event
from tests.pace import limit

HOLD = """
import sys, time
from pathlib import Path
from bench import locks
with locks.held(Path(sys.argv[1]), "building abc"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path: Path) -> subprocess.Popen[bytes]:
    """A process that holds `lock` until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def test_a_wait_tells_who_holds_it_and_what_for_and_ends(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    path, events = tmp_path / "lock", list[Event]()
    assert locks.holder(path) == f"process {other.pid} that is building abc"
    with locks.tried(path) as free:
        assert not free

    def told(event: Event) -> None:
        events.append(event)
        if event.done == 0 and other.stdin is not None:
            other.stdin.close()

    with locks.held(path, "exporting abc", told):
        assert locks.holder(path) == f"process {os.getpid()} that is exporting abc"
    assert [(event.work, event.done) for event in events] == [
        (f"waiting for another run (process {other.pid} that is building abc)", done) for done in (0, 1)
    ]
    assert other.wait(limit(5)) == 0
    assert not locks.holder(path)
    with locks.tried(path) as free:
        assert free


def test_a_killed_process_blocks_nobody(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    other.send_signal(signal.SIGKILL)
    other.wait(limit(5))
    entered = threading.Event()

    def enter() -> None:
        with locks.held(tmp_path / "lock", "building abc"):
            entered.set()

    threading.Thread(target=enter, daemon=True).start()
    assert entered.wait(limit(5))


def test_a_process_tells_that_it_is_at_work_and_nothing_is_left_of_it(tmp_path: Path) -> None:
    with locks.announced(tmp_path, "running demo"):
        assert locks.running(tmp_path) == [f"process {os.getpid()} that is running demo"]
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyboardInterrupt), locks.announced(tmp_path, "running demo"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_told_is_removed_while_nobody_can_take_hold_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, unlink, free_at_unlink = tmp_path / "run-1.lock", Path.unlink, list[bool]()
    path.touch()

    def checked(target: Path, missing_ok: bool = False) -> None:
        if target == path:
            with locks.tried(path) as free:
                free_at_unlink.append(free)
        unlink(target, missing_ok)

    monkeypatch.setattr(Path, "unlink", checked)
    assert locks.running(tmp_path) == []
    assert free_at_unlink == [False]
    assert list(tmp_path.iterdir()) == []


def test_a_lock_file_that_was_removed_meanwhile_locks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between opening and locking it, somebody else removes it, and a third one makes it anew."""
    path, lock, others = tmp_path / "inside/lock", fcntl.flock, list[FileLock]()

    def late(descriptor: int, how: int) -> None:
        if not others:
            path.unlink()
            others.append(FileLock(path))
            others[0].acquire()
        lock(descriptor, how)

    path.parent.mkdir()
    monkeypatch.setattr(fcntl, "flock", late)
    with locks.tried(path) as free:
        assert not free
    others[0].release()


def test_runs_in_different_folders_share_the_machine_wide_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = locks.machine_wide("timing")
    assert path == locks.machine_wide("timing") != locks.machine_wide("other")
    assert path.is_relative_to(tmp_path)
    with locks.held(path, "timing"), locks.tried(path) as free:
        assert not free
