"""The log of a run: what began and ended when, what failed with its traceback, and how it all ended."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from bench.errors import UserError, on_one_line
from bench.files import advice, make_folder, stops_all
from bench.provenance import command, machine, version, versions
from bench.records import Event, OnEvent

MOST_LOGS = 20
_MOST_REASON = 2_000
LIBRARIES = ("torch", "timm", "torch-pruning", "onnx", "onnxruntime", "openvino", "numpy")

_NAME = re.compile(r"run-\d{8}T\d{6}Z-\d+\.log")
_log = logging.getLogger("bench")


@dataclass(frozen=True)
class _Begun:
    """The first event of a piece of work, and the clock and the processor time when it came."""

    event: Event
    clock_s: float = field(default_factory=time.monotonic)
    cpu_s: float = field(default_factory=time.process_time)


class Journal:
    """Listens to events, writes down where work begins and ends, and passes them on.

    `path` is the log file, None while nothing was written: a run that finds everything done writes none.
    """

    def __init__(self, folder: Path, on_event: OnEvent) -> None:
        self.on_event = on_event
        self.file = _File(folder)
        self.begun: dict[str, _Begun] = {}

    @property
    def path(self) -> Path | None:
        return self.file.path if self.file.path.exists() else None

    def __call__(self, event: Event) -> None:
        """Write down what the event says, if it begins or ends work or is a message, and pass it on."""
        if event.is_message:
            _log.info("%s: %s", event.unit, event.work)
        elif event.work in self.begun or event.total:
            self._write(event)
        self.on_event(event)

    def _write(self, event: Event) -> None:
        """Write a line where work begins, changes its phase or ends, with how long it took."""
        if event.work not in self.begun:
            self.begun[event.work] = _Begun(event)
            if not event.is_whole:
                _log.info("%s: begins (%d %s)", event.work, event.total, event.unit)
        first = self.begun[event.work]
        if not event.total:
            _log.info("%s: %s", event.work, event.note)
        if event.is_whole and event.unit == first.event.unit:
            seconds, cpu_seconds = time.monotonic() - first.clock_s, time.process_time() - first.cpu_s
            how = "failed" if event.has_failed else "ended"
            _log.info("%s: %s after %.1f s (%.1f s of processor time)", event.work, how, seconds, cpu_seconds)
            del self.begun[event.work]
        elif event.is_whole:
            _log.info("%s: %d %s done%s", event.work, event.total, event.unit, f", {event.note}" if event.note else "")

    def ended(self, how: str) -> None:
        """The last line; a run in which nothing was done needs none."""
        if self.path:
            _log.info("%s", how)


@contextmanager
def recording(folder: Path, on_event: OnEvent) -> Iterator[Journal]:
    """Write a log in `folder` until the block ends; an error that ends it is the last line.

    Lines come from the journal itself and from the logger "bench". The last 20 logs stay.
    """
    journal = Journal(folder, on_event)
    before = _log.level
    _log.addHandler(journal.file)
    _log.setLevel(logging.INFO)
    try:
        yield journal
    except KeyboardInterrupt:
        journal.ended("interrupted")
        raise
    except UserError as error:
        journal.ended(f"stopped: {error}")
        raise
    except Exception as error:
        if isinstance(error, OSError) and (hint := advice(error)):
            journal.ended(f"stopped: {hint}")
        else:
            _log.critical("stopped by a bug", exc_info=error)
        raise
    finally:
        _log.removeHandler(journal.file)
        _log.setLevel(before)
        journal.file.close()


class _File(logging.FileHandler):
    """Opened with the first line; a line that the disk does not take is lost, and the work goes on."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"run-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{os.getpid()}.log"
        super().__init__(self.path, encoding="utf-8", delay=True)
        self.setFormatter(_Records())

    def _open(self) -> TextIO:  # type: ignore[override]  # typeshed names the class that open() gives
        make_folder(self.path.parent)
        logs = sorted(path for path in self.path.parent.iterdir() if is_log(path))
        for old in logs[: max(0, len(logs) - MOST_LOGS + 1)]:
            with suppress(OSError):
                old.unlink(missing_ok=True)
        stream = self.path.open("a", encoding="utf-8")
        for line in _header():
            stream.write(f"{line}\n")
        return stream

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - that of the standard library
        pass


class _Records(logging.Formatter):
    """A record begins with its time; its further lines are indented, whatever a name or an error says."""

    converter = time.gmtime  # type: ignore[assignment]  # typeshed takes the attribute for a method

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")

    def format(self, record: logging.LogRecord) -> str:
        return "\n    ".join(map(on_one_line, super().format(record).split("\n")))


def is_log(path: Path) -> bool:
    return _NAME.fullmatch(path.name) is not None and path.is_file()


def _header() -> Iterator[str]:
    yield on_one_line(f"bench {version('bench')}: {command()}")
    yield f"in {on_one_line(str(Path.cwd()))}, process {os.getpid()}"
    yield ", ".join(f"{library} {number}" for library, number in versions(LIBRARIES).items())
    yield "; ".join(f"{key}: {value}" for key, value in machine().items())


@contextmanager
def errors_logged() -> Iterator[list[str]]:
    """The errors that are logged inside, with their tracebacks: for a process that writes no log of its own."""
    texts: list[str] = []

    class _Texts(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            texts.append(self.format(record))

    handler = _Texts(logging.ERROR)
    _log.addHandler(handler)
    try:
        yield texts
    finally:
        _log.removeHandler(handler)


def failure(doing: str, error: Exception) -> str:
    """The reason of a failure, for the report; the traceback is written to the log.

    Raises the error again where it stops the whole run, such as a full disk.
    """
    if stops_all(error):
        raise error
    # Some compilers' errors are files of their own; the log has them whole.
    text = str(error).strip().replace("\0", "")[:_MOST_REASON] or type(error).__name__
    if isinstance(error, UserError):
        _log.error("%s failed: %s", doing, text)
        return text
    _log.error("%s failed", doing, exc_info=error)
    return f"{type(error).__name__}: {text}"
