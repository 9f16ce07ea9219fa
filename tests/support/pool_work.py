"""Work for a pool of processes that goes wrong where it is told to."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

Work = Callable[[str, Callable[[], object]], str]


def load() -> Work:
    return _work


def load_badly() -> Work:
    raise ValueError("no model")


def end_at_once() -> Work:
    os._exit(5)


def _work(task: str, tick: Callable[[], object]) -> str:
    if task == "hang":
        time.sleep(3600)
    if task == "end":
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "raise":
        raise ValueError("broken")
    if task == "slow":
        for _ in range(20):
            time.sleep(0.2)
            tick()
    return task.upper()
