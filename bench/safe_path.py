"""Nothing that lies in the working folder is imported: folders come from strangers, and may hold a `socket.py`.

Python looks into the working folder first where it is started with `-c`, `-m` or an empty part of PYTHONPATH, and
hands that on to the processes that it starts.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

SAFE_PATH, PATH = "PYTHONSAFEPATH", "PYTHONPATH"
SAME_BENCH = Path(__file__).resolve().with_name("same_bench.py")
"""By this file a new Python imports the `bench` of this one."""


def protect() -> None:
    """For the whole of this process, from here on, and all that it starts."""
    sys.path[:] = _safe(sys.path)
    os.environ.update(_variables())


@contextmanager
def protected() -> Iterator[None]:
    """For what is started meanwhile, such as a process of `multiprocessing`.

    That would run the main module of this one again, which is no file where a program is read from standard input;
    it runs `same_bench` in its place.
    """
    path, main = list(sys.path), sys.modules["__main__"]
    variables = _variables()
    before = {name: os.environ.get(name) for name in variables}
    sys.path[:] = _safe(sys.path)
    sys.modules["__main__"] = blank = ModuleType("__main__")
    blank.__file__ = str(SAME_BENCH)
    os.environ.update(variables)
    try:
        yield
    finally:
        sys.path[:], sys.modules["__main__"] = path, main
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _variables() -> dict[str, str]:
    variables = {SAFE_PATH: "1"}
    if os.environ.get(PATH):
        variables[PATH] = os.pathsep.join(_safe(os.environ[PATH].split(os.pathsep)))
    return variables


def _safe(path: list[str]) -> list[str]:
    """Without the working folder; where `bench` itself lies there it comes last, so that it hides nothing."""
    safe = [folder for folder in path if not _is_working_folder(folder)]
    source = Path(__file__).resolve().parents[1]
    return [*safe, str(source)] if len(safe) < len(path) and _is_working_folder(str(source)) else safe


def _is_working_folder(folder: str) -> bool:
    if not folder:
        return True
    with suppress(OSError):
        return os.path.samefile(folder, os.curdir)  # noqa: PTH121 - a part of a path may be no path
    return False
