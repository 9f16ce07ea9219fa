"""One core for each test process, and limits of time that follow the speed of the machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import cache

IDLE_SECONDS = 0.05
"""What `_work` takes on an idle core of the fast machine that limits are written for (0.09 s on an idle Zen 3)."""


def stay_on_one_core() -> None:
    """Give a worker of pytest-xdist one of the cores that it may use; other processes are left as they are.

    Every library then starts one thread, since it counts the cores that it may use, and so does `threads: auto`;
    programs that a test starts inherit the core. Environment variables would reach neither onnxruntime nor
    `threads: auto`. Two processes of two threads each on two cores wait for each other's threads instead.
    """
    name = os.environ.get("PYTEST_XDIST_WORKER", "")
    if not name or not hasattr(os, "sched_setaffinity"):
        return
    cores = sorted(os.sched_getaffinity(0))
    # Counted from the number of the process that started the workers: two runs at once begin at different cores.
    os.sched_setaffinity(0, {cores[(os.getppid() + int(name.removeprefix("gw"))) % len(cores)]})


@cache
def slowdown() -> float:
    """How many times longer this process takes for a fixed piece of work than an idle, fast machine; at least 1.

    By the clock on the wall, so that a slow processor and one that is busy with something else both count.
    """
    began = time.perf_counter()
    _work()
    return max(1.0, (time.perf_counter() - began) / IDLE_SECONDS)


def limit(seconds: float) -> float:
    """A limit of time for this machine, from one for an idle, fast machine."""
    return seconds * slowdown()


def comes_true(condition: Callable[[], bool], seconds: float = 10) -> bool:
    """Whether `condition` holds within a limit of time."""
    end = time.monotonic() + limit(seconds)
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


def _work() -> None:
    squares = {}
    for number in range(600_000):
        squares[number % 1000] = number * number
