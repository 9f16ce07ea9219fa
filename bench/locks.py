"""One at a time: locks between processes, by path. A process that ends in any way gives up what it held."""

from __future__ import annotations

import getpass
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.files import make_folder
from bench.records import Event, OnEvent, silent

POLL_SECONDS = 0.1
SPEECHLESS_SECONDS = 2.0
"""Whoever has just got the lock needs a moment to say so."""


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
        # Whoever removes a lock file removes its folder too, if that is empty then.
        make_folder(path.parent)
        try:
            lock.acquire(blocking=False)
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
            _note(path).write_text(f"process {os.getpid()} that is {what}", encoding="utf-8")
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

    make_folder(path.parent)
    try:
        with FileLock(path, blocking=False):
            yield True
    except Timeout:
        yield False


def holder(path: Path) -> str:
    """Who holds the lock file and what for, such as "process 123 that is building 3f2a…"; empty if untold."""
    try:
        return _note(path).read_text(encoding="utf-8")
    except OSError:
        return ""


@contextmanager
def announced(folder: Path, what: str) -> Iterator[None]:
    """Tell in `folder` that this process is at work, for as long as it is: see `running`."""
    running(folder)
    path = folder / f"run-{os.getpid()}.lock"
    with held(path, what):
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
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user may have no name
        user = str(os.getuid()) if hasattr(os, "getuid") else "user"
    return Path(tempfile.gettempdir()) / f"bench-{user}" / f"{name}.lock"


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.holder")
