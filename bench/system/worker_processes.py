"""Processes that work for this one: a connection joins the two, and a process ends when its connection does."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Any

from bench.safe_path import protected

_one_at_a_time = threading.Lock()


def start(serve: Callable[[Connection], object]) -> tuple[Any, Connection]:
    """A fresh process that calls `serve` with its end of a connection, and this end of that.

    `serve` has to end when the connection breaks, so with this process too, and to call `ignore_interrupts` first.
    May be called from any thread. `OSError` where the system starts no process.
    """
    context = multiprocessing.get_context("spawn")
    parent_end, worker_end = context.Pipe()
    process = context.Process(target=serve, args=(worker_end,), daemon=True)
    # What is swapped meanwhile is all threads': the second of two at once would take that for what was there before.
    with _one_at_a_time, protected(), _interrupts_blocked():
        process.start()
    # With this copy of the worker's end closed, the connection breaks when the worker ends.
    worker_end.close()
    return process, parent_end


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Block SIGINT. A process started inside inherits that, so Ctrl-C cannot end it before it ignores the signal."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # The first process to be started would start the tracker, which unblocks the signal.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_interrupts() -> None:
    """Ignore Ctrl-C and the end of a terminal: the parent handles them, and ends this process."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        if hasattr(signal, "pthread_sigmask"):
            # Blocked by the parent for as long as this process could not ignore it.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def portable(error: Exception) -> Exception:
    """The error, to be sent to another process; a `RuntimeError` of the same text if it does not pickle."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # a library's own class of errors may do anything there
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
