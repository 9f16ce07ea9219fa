"""One at a time: locks between processes, by path. A process that ends in any way gives up what it held.

Who holds a lock says so in a file beside it, for people alone: nothing but words hangs on what stands there.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import re
import stat
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from bench import stored
from bench.errors import UserError, shown
from bench.files import make_folder, share, write_text
from bench.personal import personal_folder
from bench.records import Event, OnEvent, silent

if TYPE_CHECKING:
    from filelock import BaseFileLock

Item = TypeVar("Item")

POLL_SECONDS = 0.1
SPEECHLESS_SECONDS = 1.0
"""Whoever has just got the lock needs a moment to say so."""

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.EPROTO}
"""What folders on a network, or of a virtual machine's host, answer that have no locks."""
_NOTE_BYTES = 10_000
_OLD_NOTE = re.compile(r"process (\d{1,9}) that is (.*)", re.DOTALL)
_MOST_PROCESSES = 2**31
_CLOCKS_DIFFER_SECONDS = 60.0
_warned: set[bool] = set()


class TakenError(Exception):
    """Somebody else holds the lock, and whoever asked did not want to wait."""

    def __init__(self, path: Path, folder: Path | None) -> None:
        super().__init__(str(path))
        self.path, self.folder = path, folder


@dataclass(frozen=True)
class Holder:
    """Who holds a lock: what for ("running demo"), since when (ISO 8601), and where that process is.

    `folder` is empty where it is that of the lock file; `processes` names the space that process ids count in.
    """

    process: int
    what: str
    folder: str = ""
    since: str = ""
    host: str = ""
    processes: str = ""

    @property
    def text(self) -> str:
        """ "process 123 that is running demo in /data/work since 14:03:05 CET"; as others wrote it, so short."""
        is_local = (self.host, self.processes) in (("", ""), _process_space())
        container = " (in another container)" if self.host == _process_space()[0] else ""
        machine = "" if is_local else f" on {shown(self.host, 60)}{container}"
        folder = f" in {shown(self.folder, 300)}" if self.folder else ""
        return f"process {self.process}{machine} that is {shown(self.what)}{folder}{_since(self.since)}"

    @property
    def is_alive(self) -> bool:
        """Whether that process is at work, as far as can be seen from here: another one may have got its number."""
        import psutil

        if (self.host, self.processes) not in (("", ""), _process_space()):
            return True
        if not 0 < self.process < _MOST_PROCESSES or not psutil.pid_exists(self.process):
            return False
        with suppress(psutil.Error, ValueError, OverflowError, OSError):
            process = psutil.Process(self.process)
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            if self.since:
                began = datetime.fromisoformat(self.since).timestamp()
                return process.create_time() <= began + _CLOCKS_DIFFER_SECONDS
        return True


def _since(moment: str) -> str:
    """ " since 14:03:05 CET", with the date where that is not today's; empty where nobody says."""
    try:
        began = datetime.fromisoformat(moment).astimezone()
    except (ValueError, OverflowError, OSError):
        return ""
    day = "" if began.date() == datetime.now(UTC).astimezone().date() else "%Y-%m-%d "
    return shown(f" since {began:{day}%H:%M:%S %Z}".rstrip(), 60)


def _process_space() -> tuple[str, str]:
    """This machine's name, and the space that its process ids count in: containers have one of their own."""
    try:
        return platform.node(), str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return platform.node(), ""


class Wait:
    """Tells whom this process waits for, as long as it does: `tell` again and again, then `over`."""

    def __init__(self, on_event: OnEvent, why: str = "") -> None:
        self.on_event, self.why = on_event, why
        self.began: float | None = None
        self.event: Event | None = None

    def tell(self, path: Path, folder: Path | None = None) -> None:
        """Say who holds the lock file `path`, which lies in `folder` if it does, unless that was said."""
        self.began = time.monotonic() if self.began is None else self.began
        who = holder(path, folder)
        if not who and (self.event or time.monotonic() < self.began + SPEECHLESS_SECONDS):
            return
        location = f" in {shown(str(folder.absolute()), 300)}" if folder else ""
        event = Event(
            f"waiting for another run ({who or f'at work{location}; it does not say who it is'})", 0, 1, "wait"
        )
        event = replace(event, note=self.why)
        if event != self.event:
            self._end()
            self.event = event
            self.on_event(event)

    def over(self) -> None:
        self._end()
        self.began = None

    def _end(self) -> None:
        if self.event:
            self.on_event(replace(self.event, done=1))
            self.event = None


@contextmanager
def held(
    path: Path,
    what: str,
    on_event: OnEvent = silent,
    *,
    folder: Path | None = None,
    why: str = "",
    waits: bool = True,
) -> Iterator[None]:
    """Hold the lock file `path` while doing `what` ("building 3f2a…") in `folder`, waiting for whoever holds it.

    A wait is told as an event: which process, what it is doing, where and since when, and `why` one waits. Without
    `waits`, `TakenError` is raised in its place. The system itself frees the lock of a process that was killed.
    """
    from filelock import Timeout

    lock, wait = _lock(path), Wait(on_event, why)
    while True:
        try:
            if not _acquire(lock, path):
                _warn_without(path, folder, on_event)
            break
        except Timeout:
            if not waits:
                raise TakenError(path, folder) from None
            wait.tell(path, folder)
            time.sleep(POLL_SECONDS)
    try:
        wait.over()
        # Who holds it is for people alone, so a disk that does not take it stops nobody.
        with suppress(OSError):
            write_text(_note(path), _holder_note(path, what, folder))
        yield
    finally:
        with suppress(OSError):
            _note(path).unlink(missing_ok=True)
        lock.release()


def _holder_note(path: Path, what: str, folder: Path | None) -> str:
    """This process as its lock's note names it. In a shared folder the path by which others come to it is left out."""
    away = folder is not None and not path.absolute().is_relative_to(folder.absolute())
    since = datetime.now(UTC).isoformat(timespec="seconds")
    this_process = Holder(
        os.getpid(), what, str(folder.absolute()) if folder and away else "", since, *_process_space()
    )
    return json.dumps(asdict(this_process)) + "\n"


def each(items: Iterable[Item], do: Callable[[Item], object], on_event: OnEvent = silent, why: str = "") -> None:
    """Do it for all items. Those for which it raises `TakenError` come after the others, once they are free."""
    due, taken = deque(items), list[TakenError]()
    while due:
        item = due.popleft()
        try:
            do(item)
        except TakenError as error:
            due.append(item)
            taken.append(error)
            if len(taken) < len(due):
                continue
            _wait_for_any(taken, Wait(on_event, why))
        taken = []


def _wait_for_any(taken: Sequence[TakenError], wait: Wait) -> None:
    """Until one of these locks is free."""
    while True:
        for lock in taken:
            with tried(lock.path) as free:
                if free:
                    return wait.over()
        wait.tell(taken[0].path, taken[0].folder)
        time.sleep(POLL_SECONDS)


@contextmanager
def tried(path: Path) -> Iterator[bool]:
    """Hold the lock file if nobody else does; yielded is whether that went."""
    from filelock import Timeout

    lock = _lock(path)
    try:
        # Without locks, nobody is there who does not say so.
        free = _acquire(lock, path) or not holder(path)
    except Timeout:
        free = False
    try:
        yield free
    finally:
        lock.release()


def _lock(path: Path) -> BaseFileLock:
    from filelock import FileLock

    # Its own way without locks takes any file that was left there for a lock, and warns with a line of its source.
    return FileLock(path, fallback_to_soft=False)


def _acquire(lock: BaseFileLock, path: Path) -> bool:
    """Take the lock, `Timeout` where somebody has it; False where the file system has no locks."""
    # Whoever removes a lock file removes its folder too, if that is empty then.
    make_folder(path.parent)
    check(path)
    try:
        lock.acquire(blocking=False)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    # Others who may work in this folder must be able to take it too.
    share(path)
    return True


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


def _warn_without(path: Path, folder: Path | None, on_event: OnEvent) -> None:
    """Once, and only where somebody listens."""
    if on_event is not silent and not _warned:
        _warned.add(True)
        location, who = (folder or path.parent).absolute(), holder(path)
        now = f" ({who} is there now)" if who else ""
        warning = (
            f"{shown(str(location))}: this file system has no locks; let no other run work in the same folder{now}"
        )
        on_event(Event(warning, 1, 1, "warning"))


def holder(path: Path, folder: Path | None = None) -> str:
    """Who holds the lock file, what for and since when, such as "process 123 that is building 3f2a… since 14:03:05".

    Empty where nobody says, or it is a process that is no more. `folder` is named where the lock lies in it.
    """
    try:
        text = stored.read_text(_note(path), _NOTE_BYTES, links=False)
        old = _OLD_NOTE.fullmatch(text.strip())
        who: Holder = Holder(int(old[1]), old[2]) if old else stored.typed(Holder, stored.parsed(text))
    except (OSError, ValueError):
        return ""
    if not who.is_alive:
        return ""
    return (replace(who, folder=str(folder.absolute())) if folder and not who.folder else who).text


@contextmanager
def announced(folder: Path, what: str, on_event: OnEvent = silent) -> Iterator[None]:
    """Tell in `folder` that this process is at work, for as long as it is: see `running`."""
    running(folder)
    # In two containers that share the folder, two runs may have the same number: neither must wait for the other.
    path = folder / f"run-{os.getpid()}-{uuid.uuid4().hex[:12]}.lock"
    with held(path, what, on_event):
        try:
            yield
        finally:
            with suppress(OSError):
                path.unlink(missing_ok=True)


def running(folder: Path) -> list[str]:
    """Who announced itself in `folder` and is at work, such as "process 123 that is running demo"."""
    holders = []
    for path in sorted(folder.glob("run-*.lock")):
        with tried(path) as free:
            if not free:
                holders.append(holder(path) or path.stem)
                continue
            # Removed while it is held: who waits for it sees that its file is gone, and makes a new one.
            for gone in (_note(path), path):
                with suppress(OSError):
                    gone.unlink(missing_ok=True)
    return holders


def machine_wide(name: str) -> Path:
    """A lock file that all runs of this user on this machine share, whatever folder they work in."""
    return personal_folder(_has_locks) / f"{name}.lock"


def _has_locks(folder: Path) -> bool:
    """Whether its file system has some; a home folder on a network may have none."""
    path = folder / f"probe-{os.getpid()}-{uuid.uuid4().hex[:12]}.lock"
    lock = _lock(path)
    try:
        return _acquire(lock, path)
    finally:
        lock.release()
        path.unlink(missing_ok=True)


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.holder")
