"""A process of its own that searches paths with a regular expression, as `sources` starts it: standard library only.

Standard input: the pattern in hexadecimal digits, the seconds of processor time that it may take, and
the paths, with NUL in between. Standard output: JSON, for each path null or what each group holds (null where nothing)
and where the first group ends; or `!` and the index of the path at which time or memory ended.
"""

from __future__ import annotations

import json
import re
import signal
import sys
from contextlib import suppress

_MEMORY_BYTES = 2**30  # some patterns remember every way that they have tried


def search(pattern: str, paths: list[str]) -> str:
    """The answer for all paths."""
    answers: list[list[str | int | None] | None] = []
    try:
        search_in = re.compile(pattern).search
        for path in paths:
            match = search_in(path)
            answers.append([*match.groups(), match.end(1)] if match else None)
    except (TimeoutError, MemoryError):
        return f"!{len(answers)}"
    return json.dumps(answers)


def _end(*_: object) -> None:
    raise TimeoutError


def _limit(seconds: float, input_bytes: int) -> None:
    """A signal reaches a search that goes on, as `re` looks for signals now and then; Windows has none of it."""
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGPROF, _end)
        signal.setitimer(signal.ITIMER_PROF, seconds)
    with suppress(ImportError, OSError, ValueError):
        import resource

        most = _MEMORY_BYTES + 20 * input_bytes
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main() -> None:
    data = sys.stdin.buffer.read()
    pattern, seconds, *paths = data.decode("utf-8", "surrogatepass").split("\0")
    _limit(float(seconds), len(data))
    pattern = bytes.fromhex(pattern).decode("utf-8", "surrogatepass")
    sys.stdout.buffer.write(search(pattern, paths).encode("ascii"))


if __name__ == "__main__":
    main()
