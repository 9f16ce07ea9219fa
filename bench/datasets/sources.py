"""The sources that a `source_pattern` finds in frames' paths, within a time limit.

Some regular expressions take time that doubles with every letter, and nothing in Python ends such a
search but the end of its process, so it has a process of its own (50 ms, and 1 s for 500,000 paths).
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UserError, shown
from bench.records import BETWEEN_SOURCES, joined_sources, sources_of

_SECONDS, _SECONDS_PER_PATH = 2.0, 10e-6  # of processor time; usual patterns take 1 µs for a path
_SCRIPT = Path(__file__).with_name("searching.py")
_BETWEEN = re.compile(r"[\s_,|+&]+")
_LISTED, _WIDTH = re.compile(r"[,|+&]"), 3
_NEXT_NAME = re.compile(r"[_+&-]([^_+&/.\s-]+)")


@dataclass(frozen=True)
class _Match:
    """What the pattern's groups hold in a path, and where the first of them ends there."""

    groups: tuple[str | None, ...]
    end: int

    @property
    def source(self) -> str | None:
        """The group, or all groups that hold something, joined as the sources of one frame."""
        if len(self.groups) > 1:
            return joined_sources(*filter(None, self.groups))
        name = self.groups[0]
        return joined_sources(name) if name and BETWEEN_SOURCES in name else name


def find_sources(
    pattern: str, paths: Sequence[str], labels: Sequence[int | None] | None = None, real: Collection[str] = ()
) -> list[str | None]:
    """What the pattern's groups hold where it is first found in each path; None where it is not found.

    A frame of several groups, or of several names with `;` in between, is of all these sources. Where `labels` are
    given, a fake whose path goes on with the name of another real source is of both, though the only group of the
    pattern holds but the first (see `_second_names`); `real` are such sources that other paths have. A pattern that
    takes too long or too much memory raises `UserError`.
    """
    matches = _search(pattern, paths)
    sources = [match.source if match else None for match in matches]
    if labels is None or not matches or any(match and len(match.groups) > 1 for match in matches):
        return sources
    for index, name in _second_names(paths, matches, labels, real).items():
        sources[index] = joined_sources(str(sources[index]), name)
    return sources


def second_sources(sources: Sequence[str | None], labels: Sequence[int | None]) -> dict[int, str]:
    """Fakes whose one source is spelled of several that real frames have, as "953_974": their sources, by their index.

    That is a guess, so it is made only where most fakes are called so, and no real frame is; and of numbers with `_`
    between only where all have as many digits, three or more: in "12_3" the second may count takes.
    """
    pairs = list(zip(sources, labels, strict=True))
    real = {name for source, label in pairs if source and label == 0 for name in sources_of(source)}
    seconds: dict[int, str] = {}
    for index, (source, label) in enumerate(pairs):
        if not source or BETWEEN_SOURCES in source:
            continue
        names = [name for name in _BETWEEN.split(source) if name]
        if len(names) > 1 and {*names} <= real and not _may_count(source, names):
            if label != 1:
                return {}
            seconds[index] = str(joined_sources(*names))
    fakes = sum(label == 1 and source is not None for source, label in pairs)
    return seconds if 2 * len(seconds) > fakes else {}


def _may_count(source: str, names: Sequence[str]) -> bool:
    """Whether one of several numbers in a source may be another thing's than a source's."""
    if _LISTED.search(source) or not any(name.isdecimal() for name in names):
        return False
    widths = {len(name) if name.isdecimal() else 0 for name in names}
    return len(widths) > 1 or min(widths) < _WIDTH


def find_groups(pattern: str, paths: Sequence[str], called: str) -> list[tuple[str | None, ...] | None]:
    """What each of the pattern's groups holds where it is first found in each path; None where it is not found.

    A pattern that takes too long or too much memory raises `UserError`, in which it is `called` so.
    """
    return [match.groups if match else None for match in _search(pattern, paths, called)]


def _second_names(
    paths: Sequence[str], matches: Sequence[_Match | None], labels: Sequence[int | None], elsewhere: Collection[str]
) -> dict[int, str]:
    """The second source of fakes that are named after two, as 953_974 or id0_id1_0001, by their index.

    That is a guess, so it is made only where most fakes are named so, and no real frame is: a number that follows in
    both classes counts frames.
    """
    real = {match.source for match, label in zip(matches, labels, strict=True) if match and label == 0} | {*elsewhere}
    seconds: dict[int, str] = {}
    fakes = 0
    for index, (path, match, label) in enumerate(zip(paths, matches, labels, strict=True)):
        if match is None or not match.source:
            continue
        fakes += label == 1
        follows = _NEXT_NAME.match(path, match.end)
        if follows and follows[1] in real and follows[1] != match.source:
            if label != 1:
                return {}
            seconds[index] = follows[1]
    return seconds if 2 * len(seconds) > fakes else {}


def _search(pattern: str, paths: Sequence[str], called: str = "source_pattern") -> list[_Match | None]:
    """Where the pattern is first found in each path, searched for in a process of its own."""
    if not paths:
        return []
    seconds = _SECONDS + _SECONDS_PER_PATH * len(paths)
    digits = pattern.encode("utf-8", "surrogatepass").hex()
    question = "\0".join([digits, str(seconds), *paths]).encode("utf-8", "surrogatepass")
    # The script counts processor time; on Windows, and should it fail to, the clock decides.
    patience = 30 + 4 * seconds if hasattr(signal, "setitimer") else 10 + seconds
    command = [sys.executable, "-I", "-S", str(_SCRIPT)]
    try:
        answer = subprocess.run(command, input=question, capture_output=True, timeout=patience, check=True).stdout
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
        raise _too_slow(called, pattern, "") from None
    text = answer.decode("ascii")
    if text.startswith("!"):
        raise _too_slow(called, pattern, f" at '{shown(paths[int(text[1:])])}'")
    return [None if match is None else _Match(tuple(match[:-1]), match[-1]) for match in json.loads(text)]


def _too_slow(called: str, pattern: str, where: str) -> UserError:
    return UserError(
        f"{called} '{shown(pattern)}' takes too long{where}. A repetition within a repetition, such as (.+)+, "
        "tries endless combinations, and so do several .* in a row: write what lies between, such as ([^/]+)/"
    )
