"""What a piece of work is at: told from deep inside it, without handing a listener down to there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from bench.records import Event, OnEvent

_listener: ContextVar[tuple[str, str, OnEvent] | None] = ContextVar("phase", default=None)


@contextmanager
def of(work: str, on_event: OnEvent, subject: str = "") -> Iterator[None]:
    """Inside, and in this thread, `begin` tells `on_event` of the phases of `work`; `subject` ("q8") is worked on."""
    before = _listener.set((work, f"{subject}: " if subject else "", on_event))
    try:
        yield
    finally:
        _listener.reset(before)


def begin(phase: str, done: int = 0, total: int = 0, unit: str = "") -> None:
    """Say what begins now ("rounding"), or how far it is; no `total` where nobody can foresee its end."""
    listener = _listener.get()
    if listener is not None:
        work, subject, on_event = listener
        on_event(Event(work, done, total, unit, f"{subject}{phase}"))
