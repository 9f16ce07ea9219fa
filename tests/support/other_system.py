"""Takes away what Windows or macOS lack, then runs a command: `python other_system.py windows|macos ARGUMENT …`."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path

LACKING = {
    "windows": {
        "modules": ("fcntl", "resource", "pwd", "grp", "termios"),
        "os": (
            "O_NOFOLLOW", "O_DIRECTORY", "getuid", "geteuid", "getgid", "fork",
            "sched_getaffinity", "getpgid", "setsid", "killpg",
        ),
        "signal": ("SIGHUP", "pthread_sigmask", "setitimer", "SIGPROF", "SIGALRM", "alarm", "SIG_UNBLOCK"),
    },
    "macos": {"modules": (), "os": ("sched_getaffinity",), "signal": ()},
}  # fmt: skip


class _Absent(MetaPathFinder):
    def __init__(self, modules: tuple[str, ...]) -> None:
        self.modules = modules

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name in self.modules:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def take_away(system: str) -> None:
    """Modules, functions and constants, and all of /proc; what has imported them already, as filelock, keeps them."""
    # These ask for them at their import, and are others on such a system.
    for name in ("asyncio", "multiprocessing.resource_tracker", "shutil", "subprocess", "filelock", "psutil"):
        importlib.import_module(name)
    lacking = LACKING[system]
    sys.meta_path.insert(0, _Absent(lacking["modules"]))
    for name in lacking["modules"]:
        sys.modules.pop(name, None)
    for module, names in ((os, lacking["os"]), (signal, lacking["signal"])):
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    read_text, exists = Path.read_text, Path.exists

    def without_proc(path: Path, *arguments: object, **named: object) -> str:
        if path.is_relative_to("/proc") or path.is_relative_to("/sys"):
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return read_text(path, *arguments, **named)  # type: ignore[arg-type]

    Path.read_text = without_proc  # type: ignore[method-assign, assignment]
    Path.exists = lambda path, **named: not path.is_relative_to("/proc") and exists(path, **named)  # type: ignore[method-assign]


if __name__ == "__main__":
    take_away(sys.argv[1])
    sys.argv[:] = ["bench", *sys.argv[2:]]
    from bench.cli import main
    from bench.detectors import families
    from bench.detectors.families import efficientnet
    from bench.results import timing
    from bench.results.timing import worker
    from tests.conftest import start_in_a_thread
    from tests.support import tiny

    families.modules = lambda: (tiny, efficientnet)  # type: ignore[assignment, return-value]
    # Real processes would have back what was taken away.
    timing.start = start_in_a_thread
    # Windows' own way to ask is psutil's `peak_wset`, which only psutil for Windows has.
    worker._peak_rss_mib = lambda: 1.0
    main()
