"""The sources that a `source_pattern` finds in frames' paths, within a time limit.

Some regular expressions take time that doubles with every letter, and nothing in Python ends such a
search but the end of its process, so it has a process of its own (50 ms, and 1 s for 500,000 paths).
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.errors import UserError, shown

_SECONDS, _SECONDS_PER_PATH = 2.0, 10e-6  # of processor time; usual patterns take 1 µs for a path
_SCRIPT = Path(__file__).with_name("searching.py")


def find_sources(pattern: str, paths: Sequence[str]) -> list[str | None]:
    """What the pattern's first group holds where it is first found in each path; None where it is not found.

    A pattern that takes too long or too much memory raises `UserError`.
    """
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
        raise _too_slow(pattern, "") from None
    text = answer.decode("utf-8", "surrogatepass")
    if text.startswith("!"):
        raise _too_slow(pattern, f" at '{shown(paths[int(text[1:])])}'")
    return [answer[1:] if answer else None for answer in text.split("\0")]


def _too_slow(pattern: str, where: str) -> UserError:
    return UserError(
        f"source_pattern '{shown(pattern)}' takes too long{where}. A repetition within a repetition, such as (.+)+, "
        "tries endless combinations, and so do several .* in a row: write what lies between, such as ([^/]+)/"
    )
