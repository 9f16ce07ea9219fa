"""Ctrl-C and its kin: noted, since libraries swallow the exception or make another of it, and raised at the next event.

A command ends at the first one and never restores anything (`catch`); a caller's program goes on (`catching`).
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

interrupted = threading.Event()
"""Set once a signal to end came."""


def catch() -> None:
    """Whoever ends a command with SIGTERM, as CI systems do, or closes its terminal gets what Ctrl-C gets."""
    for name in ("SIGINT", "SIGTERM", "SIGBREAK", "SIGHUP"):
        number = getattr(signal, name, None)
        # Not every system has all. What was started with `nohup` is to go on without its terminal.
        if number and not (name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN):
            signal.signal(number, interrupt)
    sys.unraisablehook = _without_interrupts(sys.__unraisablehook__)


def interrupt(*_: object) -> NoReturn:
    """The handler of all."""
    interrupted.set()
    raise KeyboardInterrupt


@contextmanager
def catching() -> Iterator[None]:
    """Note Ctrl-C and the *stop* of a notebook, by whatever handler the program has; it is set again afterwards.

    Only the main thread may have handlers of signals, and only it is interrupted. Raises `KeyboardInterrupt` in the
    place of what a library made of it.
    """
    usual, hook = signal.getsignal(signal.SIGINT), sys.unraisablehook
    if threading.current_thread() is not threading.main_thread() or not callable(usual):
        yield
        return

    def note(number: int, frame: Any) -> None:
        try:
            usual(number, frame)
        except KeyboardInterrupt:
            interrupted.set()
            raise

    interrupted.clear()
    signal.signal(signal.SIGINT, note)
    sys.unraisablehook = _without_interrupts(hook)
    try:
        yield
    except Exception as error:
        if interrupted.is_set():
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, usual)
        sys.unraisablehook = hook
        interrupted.clear()


def raise_noted() -> None:
    """Raise `KeyboardInterrupt` where one was noted, which a library may have lost."""
    if interrupted.is_set():
        raise KeyboardInterrupt


def _without_interrupts(hook: Callable[[Any], object]) -> Callable[[Any], None]:
    """A hook for exceptions within callbacks that is silent about an interrupt, which the next event raises."""

    def tell(lost: Any) -> None:
        if not issubclass(lost.exc_type, KeyboardInterrupt):
            hook(lost)

    return tell
