"""What is under way, by the events so far: which work, which part of it, how far, since when."""

from __future__ import annotations

import time
from dataclasses import dataclass

from bench.errors import shown
from bench.ink import harmless
from bench.records import Event

_MOST_CHARACTERS = 200
# Before that, nobody can say how long the rest takes.
_FORESEEN_FROM_S = 5.0


@dataclass
class _Work:
    """A piece of work that has begun: its own event, and the latest of a part of it."""

    whole: Event
    began: float
    part: Event | None = None


@dataclass(frozen=True)
class View:
    """What to show now: `total` is 0 where nothing can be counted, `left_s` None where nobody can foresee the end."""

    work: str
    doing: str
    done: int
    total: int
    unit: str
    seconds: float
    left_s: float | None

    @property
    def counted(self) -> str:
        return f"{self.done:,}/{self.total:,} {self.unit}" if self.total else ""


class UnderWay:
    """Works that have begun and not ended, the innermost last; `between` says what is done where there is none."""

    def __init__(self, between: str) -> None:
        self._works: list[_Work] = []
        self._between, self._since = between, time.monotonic()
        self._left: tuple[float, float] | None = None

    def now(self, between: str) -> None:
        """Between works, this is done from now on."""
        self._between, self._since = between, time.monotonic()

    def take(self, event: Event) -> tuple[bool, float | None]:
        """Take an event in; whether it began a work, and the seconds that a work took which it ended."""
        now = time.monotonic()
        if event.left_s is not None:
            self._left = event.left_s, now
        elif event.is_wait:
            self._left = None
        index = next((i for i, work in enumerate(self._works) if work.whole.work == event.work), None)
        begins = index is None
        if index is None and not event.total:
            if not self._works:
                self.now(_clean(event.work))
            return False, None
        if index is None:
            self._works.append(_Work(event, now))
            index = len(self._works) - 1
        work = self._works[index]
        if event.unit == work.whole.unit:
            work.whole = event
            # A note tells of a part that begins; a count alone says nothing of it.
            work.part = None
            if event.is_whole:
                # What began inside of it is over too.
                del self._works[index:]
                if not self._works:
                    self.now("preparing what is next")
                return begins, now - work.began
        else:
            work.part = event
        return begins, None

    def view(self) -> View:
        """What is to be shown now: the innermost work, its part, how far it is, since when, and what is left."""
        now = time.monotonic()
        if not self._works:
            return View(self._between, "", 0, 0, "", now - self._since, self._left_s(now))
        work = self._works[-1]
        event = work.part or work.whole
        doing = _clean(event.note)
        done, total, unit = event.done, event.total, _clean(event.unit)
        if total == 1 or event.is_whole:
            # All of a part is done, and the work goes on: what it does now, it has not said.
            doing, done, total = (f"finishing {doing or unit}" if event.is_whole else doing), 0, 0
        if not total and work.whole.total > 1 and event is not work.whole:
            done, total, unit = work.whole.done, work.whole.total, _clean(work.whole.unit)
        left_s = self._left_s(now)
        if left_s is None:
            left_s = _extrapolated(work.whole if event is work.whole else None, now - work.began)
        return View(_clean(work.whole.work), doing, done, total, unit, now - work.began, left_s)

    def _left_s(self, now: float) -> float | None:
        return max(0.0, self._left[0] - (now - self._left[1])) if self._left else None


def _extrapolated(event: Event | None, seconds: float) -> float | None:
    if event is None or not event.done or not event.total or seconds < _FORESEEN_FROM_S:
        return None
    return seconds / event.done * (event.total - event.done)


def _clean(text: str) -> str:
    return harmless(shown(text, _MOST_CHARACTERS))
