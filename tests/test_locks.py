"""Locks between processes: one at a time, told while waiting, freed by a kill."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from bench import locks, personal
from bench.errors import UserError
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
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    path = locks.machine_wide("timing")
    assert path == locks.machine_wide("timing") != locks.machine_wide("other")
    assert path.is_relative_to(tmp_path)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    with locks.held(path, "timing"), locks.tried(path) as free:
        assert not free


def foreign_link(folder: Path) -> None:
    (folder.parent / "target").mkdir()
    folder.symlink_to(folder.parent / "target")


def foreign_owner(folder: Path) -> None:
    folder.mkdir()
    if os.getuid():
        pytest.skip("only root can give a folder away")
    os.chown(folder, 12345, 12345)


@pytest.mark.parametrize("first", [foreign_link, foreign_owner, Path.touch])
def test_a_folder_that_somebody_else_made_first_is_not_used(
    first: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("runtime", "cache", "shared"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "shared"))
    monkeypatch.setattr(personal, "_USUAL", str(tmp_path / "none"))
    first(tmp_path / "runtime/bench")
    assert personal.personal_folder().is_relative_to(tmp_path / "cache")
    (tmp_path / "cache/bench").rename(tmp_path / "away")
    (tmp_path / "cache/bench").touch()
    assert personal.personal_folder() == tmp_path / f"shared/bench-{os.getuid()}"
    (tmp_path / f"shared/bench-{os.getuid()}").rmdir()
    (tmp_path / f"shared/bench-{os.getuid()}").touch()
    with pytest.raises(UserError, match="set XDG_RUNTIME_DIR or TMPDIR"):
        personal.personal_folder()


def test_a_folder_with_locks_comes_before_one_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runtime").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(personal, "_USUAL", str(tmp_path / "none"))
    assert locks.machine_wide("timing") == tmp_path / "runtime/bench/timing.lock"
    assert list((tmp_path / "runtime/bench").iterdir()) == []
    monkeypatch.setattr(locks, "_has_locks", lambda folder: folder.is_relative_to(tmp_path / "cache"))
    assert locks.machine_wide("timing").is_relative_to(tmp_path / "cache")
    monkeypatch.setattr(locks, "_has_locks", lambda folder: False)
    assert locks.machine_wide("timing") == tmp_path / "runtime/bench/timing.lock"


def test_who_holds_it_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "lock.holder").symlink_to(tmp_path / "mine")
    assert locks.holder(tmp_path / "lock") == ""
    with locks.held(tmp_path / "lock", "reporting"):
        assert locks.holder(tmp_path / "lock") == f"process {os.getpid()} that is reporting"
    assert (tmp_path / "mine").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "mine"]


def test_what_others_say_of_themselves_is_short_and_on_one_line(tmp_path: Path) -> None:
    (tmp_path / "lock.holder").write_bytes(b"a\n::error::\x1b[31m\xff" + b"x" * 10**6)
    assert locks.holder(tmp_path / "lock").startswith("a\\n::error::\\x1b[31m\ufffdxxx")
    assert len(locks.holder(tmp_path / "lock")) <= 200
    (tmp_path / "lock.holder").unlink()
    os.mkfifo(tmp_path / "lock.holder")
    assert locks.holder(tmp_path / "lock") == ""
    with locks.held(tmp_path / "lock", "reporting"):
        assert locks.holder(tmp_path / "lock")


@pytest.mark.parametrize("how", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to(path.parent / "target")])
def test_what_is_no_lock_is_refused(how: Callable[[Path], object], tmp_path: Path) -> None:
    how(tmp_path / "lock")
    with (
        pytest.raises(UserError, match="lock: is not what bench itself makes there"),
        locks.held(tmp_path / "lock", "x"),
    ):
        pass
    with pytest.raises(UserError, match="lock: is not what bench itself makes there"), locks.tried(tmp_path / "lock"):
        pass
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_without_locks_it_goes_on_and_says_so_once(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    events: list[Event] = []
    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(locks, "_warned", set())
    with locks.held(tmp_path / "a", "x", events.append), locks.held(tmp_path / "b", "x", events.append):
        with locks.tried(tmp_path / "a") as free:
            assert not free
        with locks.tried(tmp_path / "c") as free:
            assert free
    assert [event.unit for event in events] == ["warning"]
    assert "this file system has no locks" in events[0].work
    assert not recwarn.list
