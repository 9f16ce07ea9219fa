"""Many files at once, a bounded number at a time, with progress."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from bench.records import Event, OnEvent

AT_ONCE = 16
"""Objects under way at once: one by one, a store's answer time would be most of it."""
_CHUNK, _EVENT_SECONDS = 16, 0.1


def each(
    work: str,
    names: Sequence[str],
    do: Callable[[str], object],
    on_event: OnEvent,
    done: Callable[[Sequence[str]], object] = lambda names: None,
) -> None:
    """`do` for each name; `done` is called in this thread with those that are finished.

    The first error ends it, and so does Ctrl-C: what is under way by then is finished, and no other is begun.
    """
    if not names:
        return
    finished, reported = 0, time.monotonic()
    on_event(Event(work, 0, len(names), "files"))
    pool, over = ThreadPoolExecutor(AT_ONCE, "transfer"), threading.Event()

    def chunk(part: Sequence[str]) -> Sequence[str]:
        for name in part:
            if over.is_set():
                break
            do(name)
        return part

    try:
        size = min(_CHUNK, -(-len(names) // AT_ONCE))
        chunks = [pool.submit(chunk, names[low : low + size]) for low in range(0, len(names), size)]
        for future in as_completed(chunks):
            done(future.result())
            finished += len(future.result())
            if finished == len(names) or time.monotonic() - reported >= _EVENT_SECONDS:
                reported = time.monotonic()
                on_event(Event(work, finished, len(names), "files"))
    except BaseException:
        over.set()
        on_event(Event(work, len(names), len(names), "files", Event.FAILED))
        raise
    finally:
        pool.shutdown(cancel_futures=True)
