"""One at a time: locks between processes, by path. A process that ends in any way gives up what it held."""

from __future__ import annotations

import errno
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bench import stored
from bench.errors import UserError, shown
from bench.files import make_folder, write_text
from bench.personal import personal_folder
from bench.records import Event, OnEvent, silent

if TYPE_CHECKING:
    from filelock import BaseFileLock

POLL_SECONDS = 0.1
SPEECHLESS_SECONDS = 2.0
"""Whoever has just got the lock needs a moment to say so."""

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
"""What network folders answer that have no locks."""
_NOTE_BYTES = 500
_warned: set[bool] = set()


@contextmanager
def held(path: Path, what: str, on_event: OnEvent = silent) -> Iterator[None]:
    """Hold the lock file `path` while doing `what` ("building 3f2a…"), waiting for whoever holds it.

    A wait is told as an event that names the other process and what it is doing. The system itself
    frees the lock of a process that was killed.
    """
    import time

    from filelock import FileLock, Timeout

    lock, told, began = FileLock(path), "", time.monotonic()
    while True:
        try:
            if not _acquire(lock, path):
                _warn_without(path.parent, on_event)
            break
        except Timeout:
            who = holder(path)
            if who or time.monotonic() > began + SPEECHLESS_SECONDS:
                told = _tell(f"waiting for another run ({who or 'it does not say which'})", told, on_event)
            time.sleep(POLL_SECONDS)
    if told:
        on_event(Event(told, 1, 1, "run"))
    try:
        # Who holds it is for people alone, so a disk that does not take it stops nobody.
        with suppress(OSError):
            write_text(_note(path), f"process {os.getpid()} that is {what}")
        yield
    finally:
        with suppress(OSError):
            _note(path).unlink(missing_ok=True)
        lock.release()


def _tell(waiting: str, told: str, on_event: OnEvent) -> str:
    if told and waiting != told:
        on_event(Event(told, 1, 1, "run"))
    if waiting != told:
        on_event(Event(waiting, 0, 1, "run"))
    return waiting


@contextmanager
def tried(path: Path) -> Iterator[bool]:
    """Hold the lock file if nobody else does; yielded is whether that went."""
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        # Without locks, nobody is there who does not say so.
        free = _acquire(lock, path) or not holder(path)
    except Timeout:
        free = False
    try:
        yield free
    finally:
        lock.release()


def _acquire(lock: BaseFileLock, path: Path) -> bool:
    """Take the lock, `Timeout` where somebody has it; False where the file system has no locks."""
    # Whoever removes a lock file removes its folder too, if that is empty then.
    make_folder(path.parent)
    check(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # filelock's own way without locks, which is told otherwise here
            lock.acquire(blocking=False)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return lock.is_locked and not type(lock).__name__.startswith("Soft")


def check(path: Path) -> None:
    """Raises `UserError` where something else lies in a lock's place: through a link, it would be made elsewhere."""
    hidden = path.parent.name.startswith(".") and path.parent.is_symlink()
    if hidden or not _is_file_or_missing(path):
        raise UserError(
            f"{path.parent if hidden else path}: is not what bench itself makes there (a link, a pipe or a folder "
            "stands in its place), and may lead elsewhere: remove it, then run the same command again"
        )


def _is_file_or_missing(path: Path) -> bool:
    """Whether nothing lies there, or a file itself, not a link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return True


def _warn_without(folder: Path, on_event: OnEvent) -> None:
    """Once, and only where somebody listens."""
    if on_event is not silent and not _warned:
        _warned.add(True)
        warning = f"{shown(str(folder))}: this file system has no locks; let no other run work in the same folder"
        on_event(Event(warning, 1, 1, "warning"))


def holder(path: Path) -> str:
    """Who holds the lock file and what for, such as "process 123 that is building 3f2a…"; empty if untold."""
    note = _note(path)
    try:
        with stored.open_file(note, links=False) as file:
            return shown(file.read(_NOTE_BYTES).decode("utf-8", "replace"))
    except (OSError, stored.DamagedError):
        return ""


@contextmanager
def announced(folder: Path, what: str, on_event: OnEvent = silent) -> Iterator[None]:
    """Tell in `folder` that this process is at work, for as long as it is: see `running`."""
    running(folder)
    path = folder / f"run-{os.getpid()}.lock"
    with held(path, what, on_event):
        try:
            yield
        finally:
            with suppress(OSError):
                path.unlink(missing_ok=True)


def running(folder: Path) -> list[str]:
    """Who announced itself in `folder` and is at work, such as "process 123 that is running demo"."""
    found = []
    for path in sorted(folder.glob("run-*.lock")):
        with tried(path) as free:
            if not free:
                found.append(holder(path) or path.stem)
                continue
            # Removed while it is held: who waits for it sees that its file is gone, and makes a new one.
            for gone in (_note(path), path):
                with suppress(OSError):
                    gone.unlink(missing_ok=True)
    return found


def machine_wide(name: str) -> Path:
    """A lock file that all runs of this user on this machine share, whatever folder they work in."""
    return personal_folder(_has_locks) / f"{name}.lock"


def _has_locks(folder: Path) -> bool:
    """Whether its file system has some; a home folder on a network may have none."""
    from filelock import FileLock

    path = folder / f"probe-{os.getpid()}.lock"
    lock = FileLock(path)
    try:
        return _acquire(lock, path)
    finally:
        lock.release()
        path.unlink(missing_ok=True)


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.holder")
