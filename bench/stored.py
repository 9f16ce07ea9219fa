"""The one door for what lies in a working folder: it may be damaged, and it may come from a stranger.

Only regular files are opened, so that a named pipe or a device stops nobody. JSON is read up to a size and a depth,
without NaN and Infinity, with integers of 64 bits. What is wrong is a `DamagedError`, which says how.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from bench.errors import UserError, expected

MIB = 2**20
MOST_BYTES = 256 * MIB
"""The times of a long session of many variants take tens of MiB."""
MOST_CACHE_BYTES = 512 * MIB
"""Of digests of frames: some 150 bytes a frame."""
MOST_DEPTH = 24

_INTEGER_DIGITS = 19
_HALF_CHARACTER = re.compile(r"\\u[dD][89a-fA-F]")


class DamagedError(ValueError):
    """A stored file is not as `bench` writes it. The message says how, without the file's name."""


def open_file(path: Path, *, links: bool = True) -> BinaryIO:
    """A regular file, opened to be read; nothing else is ever waited for. OSError where there is none.

    Without `links`, a symbolic link in its place is damage too: it may lead to anybody's file.
    """
    if not links and path.is_symlink():
        raise DamagedError("it is a link")
    # What is no file need not even be touched: opening some devices does something.
    _refuse_other_than_file(path.stat())
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    # Should a link take its place at this very moment: it is not followed.
    descriptor = os.open(path, flags if links else flags | getattr(os, "O_NOFOLLOW", 0))
    file = os.fdopen(descriptor, "rb")
    try:
        _refuse_other_than_file(os.fstat(file.fileno()))
    except DamagedError:
        file.close()
        raise
    return file


def _refuse_other_than_file(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise DamagedError("it is a folder")
    if not stat.S_ISREG(status.st_mode):
        raise DamagedError("it is a pipe, a socket or a device")


def refuse_other_than_file(path: Path, *, links: bool = True) -> None:
    """For libraries that open by path: OSError where there is nothing, `DamagedError` where that is no file."""
    open_file(path, links=links).close()


def refuse_link(folder: Path) -> None:
    """Raise `UserError` where a link lies in the place of a folder: what it leads to may be anybody's."""
    if folder.is_symlink():
        raise UserError(f"{folder}: is a link, and bench writes files there; put what it leads to in its place")


def is_file(path: Path) -> bool:
    """Whether a regular file lies there itself, and no link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):
        return False


def read_bytes(path: Path, most_bytes: int = MOST_BYTES, *, links: bool = True) -> bytes:
    with open_file(path, links=links) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most_bytes:
            raise DamagedError(f"it is larger than {most_bytes:,} bytes")
        return file.read(size)


def digest(path: Path, *, links: bool = True) -> tuple[str, int]:
    """SHA-256 of a regular file, in hexadecimal, and its size in bytes; OSError and `DamagedError` as `open_file`."""
    code, size = hashlib.sha256(), 0
    with open_file(path, links=links) as file:
        while part := file.read(MIB):
            code.update(part)
            size += len(part)
    return code.hexdigest(), size


def read_text(path: Path, most_bytes: int = MOST_BYTES, *, links: bool = True) -> str:
    try:
        return read_bytes(path, most_bytes, links=links).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DamagedError("it is not UTF-8 text") from error


def read_json(path: Path, most_bytes: int = MOST_BYTES, *, links: bool = True) -> Any:
    """What a JSON file holds. OSError where there is none, `DamagedError` where it is not as bench writes it."""
    return parsed(read_text(path, most_bytes, links=links))


def parsed(text: str, *, fraction: Callable[[str], float] | None = None, repeats: bool = True) -> Any:
    """What JSON text holds. `fraction` reads numbers with a point or an exponent, in place of finite ones.

    Without `repeats`, a key that stands twice in an object is damage: one reader takes the first, another the last.
    """
    pairs = None if repeats else _unrepeated
    try:
        value = json.loads(
            text,
            parse_constant=_refused,
            parse_float=fraction or _finite,
            parse_int=_integer,
            object_pairs_hook=pairs,
        )
    except RecursionError as error:
        raise DamagedError("it is nested too deep") from error
    except DamagedError:
        raise
    except ValueError as error:
        raise DamagedError(f"it is not JSON: {error}"[:200]) from error
    _refuse_depth(value)
    if _HALF_CHARACTER.search(text):
        _refuse_half_characters(value)
    return value


def typed(kind: Any, value: Any) -> Any:
    """A value as the type that it is meant to be. `DamagedError` names the first place that is otherwise."""
    from pydantic import ValidationError

    try:
        return adapter(kind).validate_python(value)
    except ValidationError as error:
        raise DamagedError(first_problem(error)) from error
    except (OverflowError, RecursionError) as error:
        raise DamagedError("a number is out of range, or it is nested too deep") from error


@cache
def adapter(kind: Any) -> Any:
    """pydantic's adapter of a type, made once: that takes milliseconds, and a run reads many files of few kinds."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def first_problem(error: Any) -> str:
    """The first of pydantic's problems: where, and what was expected; never the value, which is a stranger's."""
    first = error.errors(include_url=False, include_input=False)[0]
    keys = ".".join(str(part) for part in first["loc"])
    return repr(f"{keys[:100]}: {expected(first)[:100]}")[1:-1]


def damaged(path: Path, error: Exception, mend: str) -> UserError:
    """What is said of a damaged file: which, how, and what makes it anew."""
    how = error if isinstance(error, DamagedError) else getattr(error, "strerror", None) or type(error).__name__
    return UserError(f"{path}: damaged ({how}); {mend}")


def _refused(constant: str) -> Any:
    raise DamagedError(f"it holds {constant}, which is no number")


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise DamagedError("a key stands in it twice")
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise DamagedError("it holds a number that is out of range")
    return value


def _integer(text: str) -> int:
    if len(text) > _INTEGER_DIGITS + 1 or not -(2**63) <= int(text) < 2**63:
        raise DamagedError("it holds an integer that is out of range")
    return int(text)


def _refuse_depth(value: Any) -> None:
    level = [value]
    for _ in range(MOST_DEPTH):
        level = [inner for outer in level for inner in _inside(outer) if isinstance(inner, (dict, list))]
        if not level:
            return
    raise DamagedError("it is nested too deep")


def _inside(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _refuse_half_characters(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise DamagedError("it holds half a character") from error
