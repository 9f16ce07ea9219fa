"""The process of `interrupted_runs`, from the side of the tests that give it orders."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping

from tests.support import ROOT
from tests.support.pace import limit


class ForkingProcess:
    """A warmed-up process that forks a run of `bench` for each order; see `interrupted_runs` for what orders hold."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.interrupted_runs"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env=os.environ | (environment or {}),
        )  # fmt: skip

    def order(self, **order: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def line(self, seconds: float | None = None) -> str | None:
        """The next line of its answer; None where none comes within `seconds`, without end if left out."""
        assert self.process.stdout is not None
        # `select` does not see a line that the reader holds in memory: it is asked only where time counts.
        if seconds is not None and not select.select([self.process.stdout], [], [], seconds)[0]:
            return None
        return self.process.stdout.readline()

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(limit(10))
