"""A part runs in a process of its own: whatever it does, it ends at its limit and takes nothing with it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_GRACE_SECONDS = 3.0
_LOG_BYTES = 8 * 2**20


@dataclass(frozen=True)
class Ended:
    """`code` is None where the limit ended it; below zero it is the signal that did."""

    code: int | None
    seconds: float


def supervise(command: Sequence[str], limit_s: float, log: Path, environment: Mapping[str, str]) -> Ended:
    """Run a command, its output appended to `log`; at the limit, it and all that it started are ended."""
    began = time.monotonic()
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=dict(environment),
            start_new_session=True,
        )  # fmt: skip
        try:
            code: int | None = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end(process)
    _shorten(log)
    return Ended(code, time.monotonic() - began)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process with its whole group, first politely; what it left behind when it ended by itself too."""
    with suppress(ProcessLookupError):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_SECONDS)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _shorten(log: Path) -> None:
    """Only the end of a long log is kept."""
    if log.stat().st_size > _LOG_BYTES:
        with log.open("rb") as file:
            file.seek(-_LOG_BYTES, os.SEEK_END)
            end = file.read()
        log.write_bytes(end)


def tail(log: Path, begin: int, lines: int = 15) -> str:
    """The last lines that were written to the log behind its first `begin` bytes."""
    with log.open("rb") as file:
        file.seek(min(begin, log.stat().st_size))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
