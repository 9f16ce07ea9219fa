"""How progress is shown: a line that stays in place on a terminal, lines in a log, tqdm's bars in a notebook."""

from __future__ import annotations

import os
import sys
import time
import unicodedata
from typing import Any, TextIO

from bench.errors import shown
from bench.ink import harmless, painted
from bench.progress.under_way import View
from bench.records import Event

_BAR_CELLS, _LEAST_TITLE, _WORTH_SAYING_S, _WORTH_LEAVING_S = 12, 14, 2.0, 5.0
_COLUMNS = 80


class Screen:
    """One line on a terminal, drawn over and over. What took long leaves a line that says so."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        # Windows' older consoles do not know the codes either.
        self._obeys = os.environ.get("TERM") != "dumb" and os.name != "nt"
        self._drawn = 0
        self._last = "", 0
        self.drawing = False

    def began(self, work: str) -> None:
        """The next line says so."""

    def ended(self, work: str, seconds: float, *, failed: bool = False) -> None:
        if failed or seconds >= _WORTH_LEAVING_S:
            self.say(ending(work, seconds, failed=failed))

    def tick(self, view: View) -> None:
        columns = self._columns()
        text = line(view, columns - 1, blocks=_knows_blocks(self._stream))
        if (text, columns) == self._last:
            return
        # The cursor waits at the beginning: where the window gets narrower and the terminal wraps the line, all of
        # it comes after the cursor, and goes with the next one.
        rest = "\x1b[J" if self._obeys else " " * max(0, self._drawn - cells(text))
        self._write(f"\r{text}{rest}\r")
        self._drawn, self._last = cells(text), (text, columns)

    def clear(self) -> None:
        if self._drawn:
            self._write(self._erased())
            self._drawn, self._last = 0, ("", 0)

    def say(self, text: str) -> None:
        self.clear()
        self._write(painted(f"{text}\n", self._stream))

    def make_room(self, descriptor: int) -> None:
        """Others are about to write to the same terminal: their text must not be mixed with the line."""
        if self._drawn and not self.drawing:
            erased = self._erased()
            self._drawn, self._last = 0, ("", 0)
            os.write(descriptor, erased.encode())

    def _erased(self) -> str:
        return "\r\x1b[J" if self._obeys else f"\r{' ' * self._drawn}\r"

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or _COLUMNS
        except (OSError, ValueError):
            return _COLUMNS

    def _write(self, text: str) -> None:
        self.drawing = True
        try:
            self._stream.write(text)
            self._stream.flush()
        finally:
            self.drawing = False


class Lines:
    """Lines for who reads later: one when a work begins, one when it ends, and one now and then in between."""

    def __init__(self, stream: TextIO, every_s: float) -> None:
        self._stream, self._every_s = stream, every_s
        self._written = time.monotonic()

    def began(self, work: str) -> None:
        self.say(work)

    def ended(self, work: str, seconds: float, *, failed: bool = False) -> None:
        if failed or seconds >= _WORTH_SAYING_S:
            self.say(ending(work, seconds, failed=failed))

    def tick(self, view: View) -> None:
        if time.monotonic() - self._written >= self._every_s:
            details = (view.doing, view.counted, f"for {spoken(view.seconds)}", left(view))
            self.say(f"{view.work}: {', '.join(filter(None, details))}")

    def clear(self) -> None:
        """What is written stays."""

    def say(self, text: str) -> None:
        self._written = time.monotonic()
        self._stream.write(f"{text}\n")
        self._stream.flush()


class Tqdm:
    """Bars of a class that is tqdm's or behaves so, such as `tqdm.auto.tqdm`."""

    def __init__(self, bars: Any) -> None:
        self._class = bars
        self._bar: Any = None
        self._shown: tuple[str, int, str] | None = None

    def began(self, work: str) -> None:
        """The next bar says so."""

    def ended(self, work: str, seconds: float, *, failed: bool = False) -> None:
        self.clear()

    def tick(self, view: View) -> None:
        if self._shown != (view.work, view.total, view.unit):
            self.clear()
            self._bar = self._class(total=view.total or None, desc=view.work, unit=f" {view.unit}", leave=False)
            self._shown = view.work, view.total, view.unit
        self._bar.n = view.done
        self._bar.set_postfix_str(", ".join(filter(None, (view.doing, left(view)))), refresh=False)
        self._bar.refresh()

    def clear(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar, self._shown = None, None

    def say(self, text: str) -> None:
        self._class.write(text, file=sys.stderr)


def line(view: View, width: int, *, blocks: bool) -> str:
    """A view in at most `width` cells: the clock is always in it, then what is being done, then the rest."""
    clock = _clock(view.seconds)
    left_over = left(view)
    details = " ".join(filter(None, (view.doing, view.counted)))
    bar = _bar(view, blocks)
    endings = [
        "  ".join(filter(None, (bar, clock, left_over))),
        "  ".join(filter(None, (clock, left_over))),
        clock,
    ]
    for ending in endings:
        room = width - cells(ending) - 2
        for middle in (details, view.doing):
            body = " · ".join(filter(None, (view.work, middle)))
            if cells(body) <= room:
                return f"{body}  {ending}"
            if middle and cells(middle) + _LEAST_TITLE + 3 <= room and ending is not endings[0]:
                return f"{cut(view.work, room - cells(middle) - 3)} · {middle}  {ending}"
    return f"{cut(view.doing or view.work, max(1, width - cells(clock) - 2))}  {clock}"[: max(width, 1)]


def left(view: View) -> str:
    """ "about 12 min left", coarse; empty where nobody knows."""
    if view.left_s is None:
        return ""
    seconds = view.left_s
    if seconds < 60:
        return f"about {max(10, round(seconds, -1)):.0f} s left"
    if seconds < 5400:
        return f"about {max(1, round(seconds / 60))} min left"
    return f"about {seconds / 3600:.1f} h left"


def ending(work: str, seconds: float, *, failed: bool) -> str:
    return f"{work}: {'failed after' if failed else 'done in'} {spoken(seconds)}"


def spoken(seconds: float) -> str:
    """ "42 s", "2 min 12 s", "1 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def cells(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def cut(text: str, most: int) -> str:
    """The text in at most so many cells."""
    if cells(text) <= most:
        return text
    while text and cells(text) >= most:
        text = text[:-1]
    return f"{text.rstrip()}…"


def remark(event: Event) -> str:
    """A warning or a note."""
    return f"{event.unit}: {harmless(shown(event.work, 1000))}"


def waiting(event: Event) -> str:
    """Whom this process waits for, why, and how to go on without."""
    return harmless(": ".join(shown(text, 1000) for text in (event.work, event.note) if text))


def _clock(seconds: float) -> str:
    minutes, whole = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{whole:02d}" if hours else f"{minutes}:{whole:02d}"


def _bar(view: View, blocks: bool) -> str:
    if not view.total:
        return ""
    filled = min(_BAR_CELLS - 1, view.done * _BAR_CELLS // view.total)
    full, empty = ("━", "╌") if blocks else ("#", "-")
    return full * filled + empty * (_BAR_CELLS - filled)


def _knows_blocks(stream: TextIO) -> bool:
    return (stream.encoding or "").lower().replace("-", "").startswith("utf")
