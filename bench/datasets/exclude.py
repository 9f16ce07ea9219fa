"""Patterns of files that are left out of a frame set, spelled as in `.gitignore`.

`*` and `?` stay within one name, `**` is any number of folders, `[ab]` one of these characters. A pattern without a
slash matches a file or a folder of that name at any depth, one with a slash starts at the frame set's place. Whatever
lies below a folder that matches is left out with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from bench.errors import quoted

_TOKEN = re.compile(r"\*\*/|/\*\*$|\*+|\?|\[!?[^\]/]+\]|.", re.DOTALL)
LONGEST = 200
"""So many characters has a pattern at most."""
_MOST_FOLDERS = 4  # each `**` multiplies what is tried for a path


def matching(patterns: tuple[str, ...], path: str) -> str | None:
    """The first of `patterns` that leaves out the file of this path, with forward slashes; None without."""
    match = _compiled(patterns).fullmatch(path)
    return patterns[match.lastindex - 1] if match and match.lastindex else None


def checked(pattern: str) -> str:
    """A pattern that can match something; otherwise `ValueError`."""
    if not pattern.strip("/ "):
        raise ValueError("is empty; expected a pattern of file names, such as '*_mask.png' or 'masks'")
    if len(pattern) > LONGEST:
        raise ValueError(f"has {len(pattern):,} characters; expected at most {LONGEST}")
    if pattern.startswith("!"):
        raise ValueError(f"{quoted(pattern)} begins with '!', which takes nothing back here; name what is left out")
    if pattern.count("**") > _MOST_FOLDERS:
        raise ValueError(f"{quoted(pattern)} holds `**` more than {_MOST_FOLDERS} times")
    try:
        re.compile(_regular(pattern))
    except re.error as error:
        raise ValueError(f"{quoted(pattern)} is not a pattern: {error}") from None
    return pattern


@cache
def _compiled(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(f"({_regular(pattern)})" for pattern in patterns), re.DOTALL)


def _regular(pattern: str) -> str:
    """A regular expression for the whole path of a file."""
    body = pattern.strip("/")
    is_anchored = "/" in pattern.rstrip("/")
    start = "" if is_anchored else "(?:.*/)?"
    return start + "".join(_pieces(body)) + ("/.*" if pattern.endswith("/") else "(?:/.*)?")


def _pieces(body: str) -> Iterator[str]:
    """Regular expressions for the parts of a pattern, in their order."""
    for token in _TOKEN.findall(body):
        if token == "**/":
            yield "(?:.*/)?"
        elif token == "/**":
            yield "/.*"
        elif token.startswith("*"):
            yield "[^/]*"
        elif token == "?":
            yield "[^/]"
        elif len(token) > 1:
            inside = token[1:-1].replace("\\", "\\\\")
            yield f"[^{inside[1:]}/]" if inside.startswith("!") else f"[{inside}]"
        else:
            yield re.escape(token)
