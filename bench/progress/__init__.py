"""Progress as it is seen."""

from __future__ import annotations

import io
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bench import interrupts, streams
from bench.errors import shown
from bench.ink import harmless
from bench.progress.painters import Lines, Screen, Tqdm, remark, waiting
from bench.progress.under_way import UnderWay

if TYPE_CHECKING:
    from bench.records import Event

TICK_SECONDS, LINE_SECONDS = 0.5, 30.0
# Between two drawings that events ask for.
_LEAST_SECONDS = 0.1


class Bars:
    """Listens to events and shows what is under way: on a terminal in a line whose clock ticks, else in lines.

    `doing` says what is done before the first event. With `tqdm`, a class such as `tqdm.auto.tqdm`, its bars are
    shown, as in a notebook. It is drawn again every `tick_s` seconds, whatever the main thread does; where nobody
    watches, a line is written every `line_s` seconds.

    Raises `KeyboardInterrupt` at the next event where an interrupt was lost in a library.
    """

    def __init__(
        self, doing: str = "starting", *, tqdm: Any = None, tick_s: float = TICK_SECONDS, line_s: float = LINE_SECONDS
    ) -> None:
        self._under_way = UnderWay(doing)
        self._tick_s = tick_s
        self._painter = _painter(tqdm, line_s)
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._drawn = 0.0
        self._clock = threading.Thread(target=self._tick, name="progress", daemon=True)

    def __enter__(self) -> Bars:
        if isinstance(self._painter, Screen):
            streams.make_room = self._painter.make_room
        self._draw()
        self._clock.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        # A terminal that is stopped may keep the thread from its end.
        self._clock.join(2 * TICK_SECONDS)
        streams.make_room = None
        with self._lock:
            self._painter.clear()

    def __call__(self, event: Event) -> None:
        """Show an event: a line for messages and for what begins, waits or ends; the rest moves the bar."""
        interrupts.raise_noted()
        with self._lock:
            if event.is_message:
                self._painter.say(remark(event))
                return
            # What a wait is for fits no line; while it lasts, the clock stands beside its beginning.
            begins, seconds = self._under_way.take(replace(event, note="") if event.is_wait else event)
            work = harmless(shown(event.work))
            if begins and event.is_wait:
                self._painter.say(waiting(event))
            elif begins:
                self._painter.began(work)
            if seconds is not None:
                self._painter.ended(work, seconds, failed=event.has_failed)
            if begins or not event.total or time.monotonic() - self._drawn >= _LEAST_SECONDS:
                self._draw()

    def now(self, doing: str) -> None:
        """Say what is done while no event does."""
        with self._lock:
            self._under_way.now(doing)
            self._draw()

    def _tick(self) -> None:
        while not self._over.wait(self._tick_s):
            with self._lock:
                if not self._over.is_set():
                    self._draw()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        self._painter.tick(self._under_way.view())


def _painter(tqdm: Any, line_s: float) -> Screen | Lines | Tqdm:
    if tqdm is not None:
        return Tqdm(tqdm)
    if sys.stderr is None:  # a service has none
        return Lines(io.StringIO(), line_s)
    return Screen(sys.stderr) if streams.is_terminal(sys.stderr) else Lines(sys.stderr, line_s)
