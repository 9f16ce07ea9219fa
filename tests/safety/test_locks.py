"""Locks between processes: one at a time, told while waiting, freed by a kill."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from filelock import FileLock

from bench import locks, personal
from bench.errors import UserError
from bench.records import Event
from tests.support.pace import limit

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
    assert re.fullmatch(rf"process {other.pid} that is building abc since \d\d:\d\d:\d\d \S+", locks.holder(path))
    with locks.tried(path) as free:
        assert not free

    def on_event(event: Event) -> None:
        events.append(event)
        if event.done == 0 and other.stdin is not None:
            other.stdin.close()

    with locks.held(path, "exporting abc", on_event, folder=tmp_path, why="because"):
        assert locks.holder(path).startswith(f"process {os.getpid()} that is exporting abc since ")
    assert [(event.done, event.unit, event.note, event.is_wait) for event in events] == [
        (done, "wait", "because", True) for done in (0, 1)
    ]
    waiting = rf"waiting for another run \(process {other.pid} that is building abc in {tmp_path} since [\d:]+ \S+\)"
    assert all(re.fullmatch(waiting, event.work) for event in events)
    assert other.wait(limit(5)) == 0
    assert not locks.holder(path)
    with locks.tried(path) as free:
        assert free


def test_whoever_is_interrupted_at_the_end_of_a_wait_holds_nothing(
    tmp_path: Path, other: subprocess.Popen[bytes]
) -> None:
    """As in a notebook, where the error, and with it all that was at work, is kept for later."""

    def interrupted(event: Event) -> None:
        assert other.stdin is not None
        other.stdin.close()
        if event.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught, locks.held(tmp_path / "lock", "exporting abc", interrupted):
        pytest.fail("went on")
    with locks.tried(tmp_path / "lock") as free:
        assert free
    assert caught.value.__traceback__


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
        (running,) = locks.running(tmp_path)
        assert running.startswith(f"process {os.getpid()} that is running demo since ")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyboardInterrupt), locks.announced(tmp_path, "running demo"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_runs_of_two_containers_that_have_one_number_do_not_wait_for_each_other(tmp_path: Path) -> None:
    def waits(event: Event) -> None:
        pytest.fail(event.work)

    with locks.announced(tmp_path, "running first"), locks.announced(tmp_path, "running second", waits):
        assert sorted(text.split(" since ")[0] for text in locks.running(tmp_path)) == [
            f"process {os.getpid()} that is running {name}" for name in ("first", "second")
        ]
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
    for name in ("runtime", "state", "shared"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "shared"))
    monkeypatch.setattr(personal, "_USUAL", str(tmp_path / "none"))
    first(tmp_path / "runtime/bench")
    assert personal.personal_folder().is_relative_to(tmp_path / "state")
    (tmp_path / "state/bench").rename(tmp_path / "away")
    (tmp_path / "state/bench").touch()
    assert personal.personal_folder() == tmp_path / f"shared/bench-{os.getuid()}"
    (tmp_path / f"shared/bench-{os.getuid()}").rmdir()
    (tmp_path / f"shared/bench-{os.getuid()}").touch()
    with pytest.raises(UserError, match="set XDG_RUNTIME_DIR or TMPDIR"):
        personal.personal_folder()


def test_a_folder_with_locks_comes_before_one_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runtime").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(personal, "_USUAL", str(tmp_path / "none"))
    assert locks.machine_wide("timing") == tmp_path / "runtime/bench/timing.lock"
    assert list((tmp_path / "runtime/bench").iterdir()) == []
    monkeypatch.setattr(locks, "_has_locks", lambda folder: folder.is_relative_to(tmp_path / "state"))
    assert locks.machine_wide("timing").is_relative_to(tmp_path / "state")
    monkeypatch.setattr(locks, "_has_locks", lambda folder: False)
    assert locks.machine_wide("timing") == tmp_path / "runtime/bench/timing.lock"


def test_who_holds_it_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "lock.holder").symlink_to(tmp_path / "mine")
    assert locks.holder(tmp_path / "lock") == ""
    with locks.held(tmp_path / "lock", "reporting"):
        assert locks.holder(tmp_path / "lock").startswith(f"process {os.getpid()} that is reporting")
    assert (tmp_path / "mine").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "mine"]


def note(path: Path, **changed: object) -> None:
    """What a process says beside a lock that it holds, this one if not said otherwise."""
    host, processes = platform.node(), str(Path("/proc/self/ns/pid").readlink())
    holder = {"process": os.getpid(), "what": "running first", "host": host, "processes": processes} | changed
    path.with_name(f"{path.name}.holder").write_text(json.dumps(holder))


def test_what_others_say_of_themselves_is_short_and_on_one_line(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    note(path, what="a\n::error::\x1b[31m" + "x" * 3000, folder="/b\n" + "y" * 3000, since="never")
    holder = locks.holder(path)
    assert holder.startswith(f"process {os.getpid()} that is a\\n::error::\\x1b[31mxxx")
    assert len(holder) <= 600
    assert holder.isprintable()
    note(path, host="h\n" + "z" * 300)
    assert locks.holder(path).startswith(f"process {os.getpid()} on h\\nzz")
    note(path, what="x" * 10**6)
    assert locks.holder(path) == ""
    for damaged in (b"\xff", b"[]", b"{", b'{"process": "one"}', b"process x that is lying"):
        (tmp_path / "lock.holder").write_bytes(damaged)
        assert locks.holder(path) == ""
    (tmp_path / "lock.holder").unlink()
    os.mkfifo(tmp_path / "lock.holder")
    assert locks.holder(path) == ""
    with locks.held(path, "reporting"):
        assert locks.holder(path)


def test_what_a_process_left_that_is_no_more_is_not_believed(tmp_path: Path) -> None:
    path, ended = tmp_path / "lock", subprocess.Popen([sys.executable, "-c", ""])
    ended.wait(limit(5))
    note(path)
    assert locks.holder(path)
    note(path, process=ended.pid)
    assert locks.holder(path) == ""
    # Of another machine, or another container, nobody here can tell.
    note(path, process=ended.pid, host="elsewhere")
    assert locks.holder(path) == f"process {ended.pid} on elsewhere that is running first"
    note(path, process=ended.pid, processes="pid:[1]")
    assert " (in another container) that is running first" in locks.holder(path)
    # This process is younger than who wrote it, and has got its number.
    note(path, since="2020-01-02T03:04:05+00:00")
    assert locks.holder(path) == ""
    for number in (-1, 0, 10**12):
        note(path, process=number)
        assert locks.holder(path) == ""
    (tmp_path / "lock.holder").write_text(f"process {os.getpid()} that is running first")  # an earlier version's
    assert locks.holder(path) == f"process {os.getpid()} that is running first"


def test_only_who_comes_from_elsewhere_is_told_the_folder(tmp_path: Path) -> None:
    for lock_folder, folder in ((tmp_path / "mine/results/first", ""), (tmp_path / "run", str(tmp_path / "mine"))):
        with locks.held(lock_folder / "lock", "timing first", folder=tmp_path / "mine"):
            assert json.loads((lock_folder / "lock.holder").read_text())["folder"] == folder
            assert f" in {tmp_path / 'mine'} since " in locks.holder(lock_folder / "lock", tmp_path / "mine")


def test_while_one_waits_the_others_are_done(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    done, events = list[str](), list[Event]()

    def do(name: str) -> None:
        with locks.held(tmp_path / name, f"building {name}", waits=False):
            done.append(name)

    def on_event(event: Event) -> None:
        events.append(event)
        assert done == ["before", "after"]
        if event.done == 0 and other.stdin is not None:
            other.stdin.close()

    locks.each(["before", "lock", "after"], do, on_event, "because")
    assert done == ["before", "after", "lock"]
    assert [(event.done, event.note) for event in events] == [(0, "because"), (1, "because")]
    assert f"process {other.pid} that is building abc" in events[0].work


@pytest.mark.parametrize(
    ("folder", "umask", "lock"), [(0o2775, 0o022, 0o664), (0o755, 0o022, 0o644), (0o777, 0o027, 0o666)]
)
def test_a_lock_is_as_open_as_its_folder(folder: int, umask: int, lock: int, tmp_path: Path) -> None:
    room = tmp_path / "results"
    room.mkdir()
    room.chmod(folder)
    before = os.umask(umask)
    try:
        with locks.held(room / "first/.lock", "running first"):
            pass
    finally:
        os.umask(before)
    made = room / "first"
    assert made.stat().st_mode & 0o777 == folder & 0o777
    assert (made / ".lock").stat().st_mode & 0o777 == lock
    assert made.stat().st_gid == room.stat().st_gid


def test_two_users_of_a_shared_folder_take_turns(tmp_path: Path) -> None:
    if os.getuid():
        pytest.skip("only root can be two users")
    room, team = tmp_path / "results", 54321
    room.mkdir()
    os.chown(room, 12345, team)
    room.chmod(0o775)
    for folder in (tmp_path, *tmp_path.parents[:3]):  # pytest-xdist's workers have one more
        folder.chmod(folder.stat().st_mode | 0o055)
    with locks.tried(tmp_path / "lock"):  # what it imports is imported, before users come that may not read it
        pass
    for user in (12345, 23456):
        child = os.fork()
        if not child:
            with suppress(BaseException):
                os.umask(0o022)
                os.setgroups([team])
                os.setgid(user)
                os.setuid(user)
                with locks.tried(room / "first/.lock") as free:
                    os._exit(0 if free else 1)
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


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


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP])
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
        (tmp_path / "left").touch()
        with locks.held(tmp_path / "left", "x", events.append), locks.tried(tmp_path / "left") as free:
            assert not free
    assert [event.unit for event in events] == ["warning"]
    assert "this file system has no locks" in events[0].work
    assert not recwarn.list
