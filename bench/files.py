"""Writing so that nobody ever reads half a file, and saying what to do where a file system refuses.

A file is filled under a temporary name beside its place, then renamed: a process that is killed leaves
at most a temporary file, which `sweep` knows by its name. Nothing is forced out to the disk (fsync): a
machine that loses power may lose what was written last.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

STALE_SECONDS = 3600.0
"""Where other machines or containers write too, their processes cannot be seen; nobody writes a file for so long."""

_TEMPORARY = re.compile(r"\.bench-(\d+)-[0-9a-f]{12}\.tmp")

_AGAIN = "then run the same command again: what is finished is kept"
_ROOM = f"make room (`bench clean` shows what can go), {_AGAIN}"
_RIGHT = f"let this user write there, or work in another folder, {_AGAIN}"
_ADVICE = {
    errno.ENOSPC: f"the disk is full: {_ROOM}",
    errno.EDQUOT: f"your share of the disk is used up: {_ROOM}",
    errno.EFBIG: f"the file would be larger than is allowed here: raise the limit (`ulimit -f`), {_AGAIN}",
    errno.EIO: f"the disk did not take or give it whole: check it and its free space, {_AGAIN}",
    errno.EROFS: f"cannot be written to, the file system is read-only: {_RIGHT}",
    errno.EACCES: f"cannot be written to or read (permission denied): {_RIGHT}",
    errno.EPERM: f"cannot be written to or read (not permitted): {_RIGHT}",
    errno.ESTALE: f"is gone, the network folder was taken away: bring it back, {_AGAIN}",
    errno.ENAMETOOLONG: "the path is too long for this file system: work in a folder with a shorter path",
    errno.EMFILE: f"too many files are open at once: raise the limit (`ulimit -n`), {_AGAIN}",
}
# Of the machine only where something was to be written: who reads what is not there has a bug.
_ADVICE_ON_WRITING = {
    errno.ENOENT: f"is gone: put it back if it was moved, {_AGAIN}",
    errno.ENOTDIR: f"cannot be written to, a file lies where a folder should be: move it away, {_AGAIN}",
    errno.EEXIST: f"cannot be written to, a file lies where a folder should be: move it away, {_AGAIN}",
    errno.EISDIR: f"cannot be written to, a folder lies where a file should be: move it away, {_AGAIN}",
}
_NO_MORE_WRITING = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE,
}  # fmt: skip


# Windows: access denied, sharing violation, lock violation.
_IN_USE = {5, 32, 33}
_PATIENCE_SECONDS, _RETRY_SECONDS = 2.0, 0.05
# Of whole paths on Windows, unless it and the program both allow longer ones; then a file "is not there".
_LONGEST_ON_WINDOWS = 259


class NotWrittenError(OSError):
    """A file or folder that the file system did not let be made."""


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """`write` fills a temporary file beside `path`, which then takes its place. `NotWrittenError` names `path`."""
    temporary = path.parent / temporary_name()
    try:
        with _written(path):
            _make(path.parent)
            with temporary.open("wb") as file:
                write(file)
            rename(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def rename(source: Path, target: Path) -> None:
    """Rename a file or a folder, in the place of a file that is there.

    Windows refuses it for as long as anybody has one of them open, as virus scanners do for moments after every
    write: it is tried again for two seconds.
    """
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            source.replace(target)
            return
        except PermissionError as error:
            if getattr(error, "winerror", None) not in _IN_USE or time.monotonic() > until:
                raise
            time.sleep(_RETRY_SECONDS)


def unwritable_above(path: Path) -> Path | None:
    """The nearest thing above `path` that is there, where it is no folder that takes files; None where it does."""
    above = next(folder for folder in path.absolute().parents if folder.exists())
    return None if above.is_dir() and os.access(above, os.W_OK) else above


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file as a whole: `path` holds all of it, or what it held before."""
    write_atomically(path, lambda file: file.write(content))


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode("utf-8"))


def make_folder(folder: Path) -> None:
    """Make the folder and those above it where they are not there, each as open as the one around it.

    Raises `NotWrittenError`.
    """
    with _written(folder):
        _make(folder)


def _make(folder: Path) -> None:
    """Make the folder and those above it; one that another process makes at the same time will do."""
    if folder.is_dir():
        return
    if folder.parent != folder:
        _make(folder.parent)
    try:
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir():
            raise
    else:
        share(folder)


def share(path: Path) -> None:
    """Let a team write what this user made in a folder that the team may write in, whatever the umask.

    As far as the system lets this user: a group that the folder belongs to must be one of this user's.
    """
    if os.name != "posix":
        return
    with suppress(OSError):
        around, made = path.parent.stat(), path.lstat()
        writers = around.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        # Where everybody has files of their own, such as /tmp, nothing is shared.
        if not writers or around.st_mode & stat.S_ISVTX or made.st_uid != os.geteuid():
            return
        if made.st_gid != around.st_gid:
            os.chown(path, -1, around.st_gid, follow_symlinks=False)
        # Who may write may read, and enter folders.
        shared = writers | writers << 1 | (writers >> 1 if path.is_dir() else 0)
        mode = stat.S_IMODE(path.lstat().st_mode)
        if mode | shared != mode:
            path.chmod(mode | shared)


@contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        # A write that fails does not know its file, and NumPy's not even why.
        raise NotWrittenError(error.errno or errno.EIO, error.strerror or str(error), str(path)) from error


def temporary_name() -> str:
    """A name that no other process uses, and that tells which one this is. Short: file names have a limit."""
    return f".bench-{os.getpid()}-{uuid.uuid4().hex[:12]}.tmp"


def is_temporary(path: Path) -> bool:
    return _TEMPORARY.fullmatch(path.name) is not None


def is_leftover(path: Path) -> bool:
    """Whether this is a temporary file or folder of a process that is no more on this machine."""
    import psutil

    match = _TEMPORARY.fullmatch(path.name)
    return match is not None and not psutil.pid_exists(int(match[1]))


def is_stale(path: Path) -> bool:
    """Whether this is a temporary file or folder that nobody is writing any more, on whatever machine."""
    if not is_leftover(path):
        return False
    try:
        return time.time() - path.lstat().st_mtime > STALE_SECONDS
    except FileNotFoundError:  # another process has just removed it
        return False


def sweep(folder: Path, *, held: bool = False) -> None:
    """Remove the temporary files and folders right below `folder` that killed processes left, once they are old.

    With `held` the caller holds a lock without which nobody writes there: then all are left over.
    """
    for path in folder.iterdir() if folder.is_dir() else ():
        if is_stale(path) or (held and is_temporary(path)):
            remove(path)


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it, as far as that goes."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def size_bytes(path: Path) -> int:
    """Of a file, or of all files below a folder; what others remove meanwhile counts nothing."""
    files = [path]
    if path.is_dir() and not path.is_symlink():
        files = [Path(folder, name) for folder, _, names in os.walk(path) for name in names]
    total = 0
    for file in files:
        with suppress(FileNotFoundError):
            total += file.lstat().st_size
    return total


def advice(error: OSError) -> str | None:
    """Which path the file system refused, why, and what to do; None where that says nothing about the machine."""
    by_code = _ADVICE | _ADVICE_ON_WRITING if isinstance(error, NotWrittenError) else _ADVICE
    reason = by_code.get(error.errno or 0)
    if getattr(error, "winerror", None) is not None and len(str(error.filename or "")) > _LONGEST_ON_WINDOWS:
        reason = f"{_ADVICE[errno.ENAMETOOLONG]}, or allow long paths in Windows (LongPathsEnabled)"
    return None if reason is None else f"{error.filename or 'a file'}: {reason}"


def stops_all(error: BaseException | None) -> bool:
    """Whether nothing further can be written either, the error itself or what caused it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NO_MORE_WRITING:
            return True
        error = error.__cause__
    return False
