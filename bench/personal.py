"""A folder of this user's own on this machine, which nobody else can have filled before."""

from __future__ import annotations

import os
import platform
import re
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

from bench.errors import UserError

_USUAL = "/run/user"


def personal_folder(is_better: Callable[[Path], bool] = lambda folder: True) -> Path:
    """The first folder that is this user's alone, if it can be one that `is_better`; made with mode 0700 if need be.

    Raises `UserError` where there is none.
    """
    private = filter(_is_private, _candidates())
    if first := next(private, None):
        return next(filter(is_better, chain([first], private)), first)
    raise UserError(
        f"{Path(tempfile.gettempdir())}: no folder of this user's own can be made there, nor in a home folder; "
        "set XDG_RUNTIME_DIR or TMPDIR to a folder that belongs to this user"
    )


def _candidates() -> Iterator[Path]:
    """Jobs of cron have no XDG_RUNTIME_DIR, and shall wait for those that have: the usual one is looked for too."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    # A home folder may be shared by machines, and these locks are for one.
    machine = re.sub(r"[^A-Za-z0-9.-]", "_", platform.node()) or "machine"
    if sys.platform == "win32":
        yield from (folder / "bench" for folder in _given("LOCALAPPDATA"))
    elif sys.platform == "darwin":
        yield from (home / "Library" / "Caches" / "bench" / machine for home in _home())
    else:
        runtime = [*_given("XDG_RUNTIME_DIR"), Path(f"{_USUAL}/{user}")]
        yield from (folder / "bench" for folder in runtime if folder.is_dir())
        states = _given("XDG_STATE_HOME") or [home / ".local" / "state" for home in _home()]
        yield from (folder / "bench" / machine for folder in states)
    yield Path(tempfile.gettempdir()) / f"bench-{user}"


def _given(variable: str) -> list[Path]:
    path = Path(os.environ.get(variable, ""))
    return [path] if path.is_absolute() else []


def _home() -> list[Path]:
    with suppress(RuntimeError):  # a container's user may have none
        return [Path.home()]
    return []


def _is_private(folder: Path) -> bool:
    """Make the folder if need be; whether it is a folder itself, no link, and nobody else can write there."""
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        state = folder.lstat()
        if not stat.S_ISDIR(state.st_mode):
            return False
        if not hasattr(os, "getuid"):
            return True
        if state.st_uid != os.getuid():
            return False
        if stat.S_IMODE(state.st_mode) & 0o077:
            folder.chmod(0o700)
        return os.access(folder, os.W_OK)
    except OSError:
        return False
