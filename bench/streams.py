"""Standard output and error that are closed, full or not there at all: the work goes on, and is judged by itself.

Whoever reads may leave early (`bench report | head -1`), a service or a scheduler may give no streams, a terminal may
be closed, a disk may be full. None of that is a reason to stop what was asked for, or to call it a bug.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO, cast

from bench.files import advice

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_NAMES = {1: "stdout", 2: "stderr"}
_NOBODY_READS = {
    errno.EPIPE, errno.ESHUTDOWN, errno.ECONNRESET, errno.ENOTCONN, errno.EBADF, errno.ENXIO,
}  # fmt: skip


make_room: Callable[[int], None] | None = None
"""Called with the descriptor before a guarded stream writes to a terminal on which a line is drawn over and over."""


class _Outlet(io.FileIO):
    """Takes everything. What it could not pass on is lost, and why is in `trouble`, if anybody could have read it."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.trouble: OSError | None = None
        self.was_terminal = self.isatty()

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            if make_room is not None and self.was_terminal:
                make_room(self.fileno())
            # None from a pipe that is full and was opened not to wait, as some programs leave theirs to others.
            while (written := cast("int | None", super().write(data))) is None:
                select.select([], [self], [])
            return written
        except OSError as error:
            self._lose(error)
            return memoryview(data).nbytes

    def _lose(self, error: OSError) -> None:
        """Note why output was lost; a stream that nobody reads, or half a text, is thrown away from here on."""
        gone = error.errno in _NOBODY_READS or (error.errno == errno.EIO and self.was_terminal)
        # What Windows says of a closed pipe.
        gone = gone or (sys.platform == "win32" and error.errno == errno.EINVAL)
        if not gone:
            self.trouble = self.trouble or error
        # Half of a text is no text; lines for people may go on once there is room again.
        if gone or self.fileno() == 1:
            with suppress(OSError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self.fileno())
                os.close(nowhere)


def guard() -> None:
    """Give the program streams that can always be written to. For its start, before anything is opened."""
    _occupy()
    for descriptor, name in _NAMES.items():
        stream: TextIO | None = getattr(sys, name)
        if stream is None or _is_plain(stream, descriptor):
            setattr(sys, name, _guarded(descriptor, stream))


def ended(code: int) -> int:
    """The exit code that the work earned; at least 2 where standard output did not take what was to be read."""
    for name in _NAMES.values():
        with suppress(OSError, ValueError):
            getattr(sys, name).flush()
    outlet = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    trouble = outlet.trouble if isinstance(outlet, _Outlet) else None
    if trouble is None:
        return code
    error = OSError(trouble.errno, trouble.strerror, "standard output")
    sys.stderr.write(f"error: {advice(error) or f'{error.filename}: cannot be written to ({error.strerror})'}\n")
    return max(code, 2)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person looks at it; nobody does at one that is closed or not there."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def _occupy() -> None:
    """Or a file that is opened later would take the place of a closed stream, and get what others print."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= max(_NAMES):
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _is_plain(stream: TextIO, descriptor: int) -> bool:
    """Whether the stream is the system's own; a console of Windows takes text in a way of its own."""
    try:
        return stream.fileno() == descriptor and not (sys.platform == "win32" and stream.isatty())
    except (OSError, ValueError, AttributeError):
        return False


def _guarded(descriptor: int, stream: TextIO | None) -> TextIO:
    """A text stream on the descriptor that can always be written to; lost output ends no work."""
    try:
        outlet = _Outlet(descriptor)
    except OSError:  # Windows without a console has no such descriptor
        return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - open for as long as the program runs
    encoding, errors = "utf-8", "backslashreplace"
    if stream is not None:
        with suppress(OSError, ValueError):
            stream.flush()
        encoding = stream.encoding
        # A name that the encoding does not know is no reason to end.
        errors = errors if stream.errors in (None, "strict") else stream.errors
    at_once = descriptor == max(_NAMES) or outlet.was_terminal or getattr(stream, "write_through", False)
    return io.TextIOWrapper(io.BufferedWriter(outlet), encoding, errors, line_buffering=at_once)
