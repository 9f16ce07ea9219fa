"""What can go wrong through no fault of the program."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input. The message names file, line or key, what was found, what was expected, what to do."""


def nearest(found: str, choices: Iterable[str]) -> str:
    """A hint, " (did you mean 'x'?)" for the choice closest to `found`, or nothing."""
    close = difflib.get_close_matches(found, list(choices), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def listed(items: Iterable[object], most: int = 10) -> str:
    """The first `most` items, comma-separated, and how many more there are."""
    everything = [str(item) for item in items]
    more = f" … and {len(everything) - most} more" if len(everything) > most else ""
    return ", ".join(everything[:most]) + more
