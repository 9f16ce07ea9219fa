"""Progress bars, and the wish to stop."""

from __future__ import annotations

import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, NoReturn

from bench.errors import shown
from bench.ink import harmless, painted
from bench.streams import is_terminal

if TYPE_CHECKING:
    from bench.records import Event

LASTING_SECONDS = 2.0
"""Work that lasts longer is shown."""


interrupted = threading.Event()
"""Set once a signal to end came."""


def catch_signals() -> None:
    """Whoever ends a command with SIGTERM, as CI systems do, or closes its terminal gets what Ctrl-C gets."""
    for name in ("SIGINT", "SIGTERM", "SIGBREAK", "SIGHUP"):
        number = getattr(signal, name, None)
        # Not every system has all. What was started with `nohup` is to go on without its terminal.
        if number and not (name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN):
            signal.signal(number, interrupt)


def interrupt(*_: object) -> NoReturn:
    """The handler of all: libraries may swallow the exception or make another of it, so it is also noted."""
    interrupted.set()
    raise KeyboardInterrupt


def tell_unraisable(found: Any) -> None:
    """`sys.unraisablehook`: an interrupt that came within a callback is noted, and raised at the next event."""
    if not issubclass(found.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(found)


class Bars:
    """Shows events as tqdm bars, one at a time: what, how many, how fast, how long still.

    `tqdm` is the class of the bars, such as `tqdm.auto.tqdm`; that of the terminal if left out.
    """

    def __init__(self, *, tqdm: Any = None) -> None:
        self._tqdm = tqdm
        self.bar: Any = None
        self.shown: tuple[str, str, int] | None = None

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def __call__(self, event: Event) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        if sys.stderr is None:  # a service has none
            return
        if event.unit == "warning":
            self._close()
            sys.stderr.write(painted(f"warning: {harmless(shown(event.work, 1000))}\n", sys.stderr))
            return
        from tqdm import tqdm as usual

        tqdm = self._tqdm or usual
        key = (event.work, event.unit, event.total)
        if key != self.shown:
            self._close()
            # A notebook's standard error is no terminal, and somebody watches it.
            watched = self._tqdm is not None or is_terminal(sys.stderr)
            self.bar = tqdm(
                desc=harmless(shown(event.work)),
                total=event.total,
                unit=f" {shown(event.unit)}",
                file=sys.stderr,
                # Where nobody watches, a line every ten seconds is enough to see that it lives.
                mininterval=0.1 if watched else 10.0,
                delay=0 if watched else LASTING_SECONDS,
            )
            self.shown = key
        if event.note:
            self.bar.set_postfix_str(harmless(shown(event.note)), refresh=False)
        self.bar.update(event.done - self.bar.n)
        if event.done >= event.total:
            self._close()

    def _close(self) -> None:
        if self.bar is not None:
            # What was over in a moment leaves no line behind.
            self.bar.leave = self.bar.format_dict["elapsed"] > LASTING_SECONDS
            self.bar.close()
        self.bar, self.shown = None, None
