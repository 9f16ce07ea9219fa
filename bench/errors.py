"""What can go wrong through no fault of the program."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable
from pathlib import Path


class UserError(Exception):
    """Bad input. The message names file, line or key, what was found, what was expected, what to do."""


def refuse_together(where: Callable[..., str], checks: Iterable[tuple[tuple[str, ...], Callable[[], object]]]) -> None:
    """Make all checks, and raise what they refuse in one `UserError`.

    Each stands with the keys that it looks at, for which `where` tells the place. A message that
    several places share is said once, for the first of them.
    """
    problems: dict[str, tuple[str, ...]] = {}
    for keys, check in checks:
        try:
            check()
        except UserError as error:
            problems.setdefault(str(error), keys)
    if problems:
        raise UserError("\n".join(f"{where(*keys)}: {message}" for message, keys in problems.items()))


def at_home(base: Path, path: str) -> Path:
    """A path as a person writes it: relative to `base`, `~` for a home folder; an unknown `~name` stays."""
    return base / os.path.expanduser(path)  # noqa: PTH111 - that of Path raises where there is no such person


def is_unicode(text: str) -> bool:
    """Whether files can hold it: half of a surrogate pair, from an escape or a file's name, is no character."""
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def nearest(found: str, choices: Iterable[str]) -> str:
    """A hint, " (did you mean 'x'?)" for the choice closest to `found`, or nothing."""
    close = difflib.get_close_matches(found, list(choices), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def listed(items: Iterable[object], most: int = 10) -> str:
    """The first `most` items, comma-separated, and how many more there are."""
    everything = [str(item) for item in items]
    more = f" … and {len(everything) - most} more" if len(everything) > most else ""
    return ", ".join(everything[:most]) + more
