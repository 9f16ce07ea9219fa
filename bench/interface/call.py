"""One call of the interface: how it tells of progress, is interrupted, and fails."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from bench import interrupts
from bench.errors import UserError, shown
from bench.files import advice
from bench.ink import harmless
from bench.progress import Bars
from bench.progress.painters import waiting
from bench.provenance import called_as
from bench.records import Event, OnEvent

# A program that sets up no logging gets none of ours on standard error.
logging.getLogger("bench").addHandler(logging.NullHandler())


@contextmanager
def call(code: str, *, progress: bool = False) -> Iterator[OnEvent]:
    """Inside, work may be interrupted and fail as a notebook expects it; yielded is who listens to its events.

    `code` is the call as the report's provenance names it. An error of the system that people can mend is raised
    as `UserError`. Raises `KeyboardInterrupt` where an interrupt was lost in a library.
    """
    bars: Any = Bars(tqdm=_tqdm()) if progress else nullcontext(_listen)
    with called_as(code), interrupts.catching(), bars as on_event:
        try:
            yield on_event
        except OSError as error:
            if mend := advice(error):
                raise UserError(mend) from error
            raise


def _listen(event: Event) -> None:
    """Where no bars are shown: what must be known at once is a warning of Python's."""
    interrupts.raise_noted()
    if event.unit == "warning":
        warnings.warn(harmless(shown(event.work, 1000)), stacklevel=2)
    elif event.is_wait and not event.is_whole:
        warnings.warn(waiting(event), stacklevel=2)


def _tqdm() -> Any:
    """tqdm's class for a notebook or a terminal, whichever this is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without ipywidgets, it draws its bars as text, and warns
        from tqdm.auto import tqdm

    return tqdm
