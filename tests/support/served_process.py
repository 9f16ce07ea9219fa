"""`bench serve` as a process of its own, with the tiny family."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import ROOT, pace

_START = """
from bench.detectors import families
from bench.detectors.families import efficientnet, onnx
from tests.support import tiny
families.modules = lambda: (tiny, efficientnet, onnx)
from bench.cli import main
main()
"""


@dataclass
class ServedProcess:
    """A process that serves at `address`, such as "127.0.0.1:40123"; `lines` are what it has said so far."""

    process: subprocess.Popen[str]
    address: str = ""
    lines: list[str] = field(default_factory=list)

    def end(self, by: signal.Signals = signal.SIGTERM) -> int:
        """Tell it to end; its exit code."""
        self.process.send_signal(by)
        return self.process.wait(pace.limit(60))


@contextmanager
def serving(folder: Path, *arguments: str, **environment: str) -> Iterator[ServedProcess]:
    """`bench serve` of the experiment in a folder, on a free port; it is killed where it has not ended."""
    command = [sys.executable, "-c", _START, "serve", "--port", "0", *arguments]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **environment}
    process = subprocess.Popen(
        command, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    served = ServedProcess(process)
    begun = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            served.lines.append(line)
            if match := re.search(r"serving at http://([\d.]+:\d+)", line):
                served.address = match[1]
                begun.set()
        begun.set()

    threading.Thread(target=read, daemon=True).start()
    try:
        assert begun.wait(pace.limit(120)), "it did not start in time"
        assert served.address, "".join(served.lines)
        yield served
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(30)
