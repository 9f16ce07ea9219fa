"""How many of this process's cores others leave free, and building with no more threads than that.

Threads of several processes that share cores wait for each other at every operation: a training step can then
take many times its work. Only building follows the load: its threads change nothing but bits of rounding. What is
measured keeps its number of threads, which is part of the key of its results.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import psutil

from bench.records import BatchReader, Event, Frame, InputSpec, OnEvent
from bench.system.processor import allowed_cores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LOOK_SECONDS = 0.5
# Of a core: what others may take of it before it counts as theirs. Less is the usual noise of a system.
_SPARE = 0.5
# psutil's names of what a core spends on no process.
_IDLE = ("idle", "iowait")
# How psutil fails where the system does not tell: a number of threads is never worth a failure.
_UNTOLD = (psutil.Error, OSError, AttributeError, NotImplementedError, RuntimeError)
# Time of virtual machines is within user time already.
_COUNTED_TWICE = ("guest", "guest_nice")


class Load:
    """Watches what other processes take of the cores that this one may run on."""

    def __init__(self) -> None:
        self._at = time.monotonic()
        self._all, self._tree = _busy_seconds(), _tree_seconds()
        self._free: int | None = None

    def free_cores(self) -> int | None:
        """Whole cores that others left free since the last look, at least 1; None where it can't be told.

        Another look is taken after half a second at the earliest; until then the answer stays.
        """
        elapsed = time.monotonic() - self._at
        if elapsed >= _LOOK_SECONDS:
            busy, tree = _busy_seconds(), _tree_seconds()
            self._free = _free(self._all, busy, tree - self._tree, elapsed)
            self._at, self._all, self._tree = time.monotonic(), busy, tree
        return self._free

    def threads(self, most: int) -> int:
        """Between 1 and `most`: as many as others leave cores for; `most` where that can't be told."""
        free = self.free_cores() if most > 1 else None
        return most if free is None else max(1, min(most, free))


def _free(before: dict[int, float], after: dict[int, float], tree: float, elapsed: float) -> int | None:
    """Cores less what others took of them, both in seconds of CPU time over the same `elapsed` seconds."""
    cores = before.keys() & after.keys()
    if not cores or not math.isfinite(tree):
        return None
    others = sum(after[core] - before[core] for core in cores) - max(tree, 0.0)
    return max(1, math.floor(len(cores) - max(others, 0.0) / elapsed + _SPARE))


def _busy_seconds() -> dict[int, float]:
    """By core that this process may run on, how long it has worked for anyone; nothing where it can't be told."""
    with contextlib.suppress(*_UNTOLD):
        times = psutil.cpu_times(percpu=True)
        return {core: _busy(times[core]) for core in allowed_cores() if core < len(times)}
    return {}


def _busy(times: Any) -> float:
    spent: dict[str, float] = times._asdict()
    return float(sum(value for name, value in spent.items() if name not in (*_IDLE, *_COUNTED_TWICE)))


def _tree_seconds() -> float:
    """The sum of `own_cpu_seconds`; not a number where it can't be told."""
    with contextlib.suppress(*_UNTOLD):
        return sum(own_cpu_seconds().values())
    return math.nan


def own_cpu_seconds() -> dict[int, float]:
    """Seconds of processor time so far, by process: this one with those it started that have ended, and all below it.

    Raises what psutil raises where the system does not tell of this process.
    """
    this = psutil.Process()
    times = this.cpu_times()
    ended = getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    seconds = {this.pid: times.user + times.system + ended}
    for process in this.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            seconds[process.pid] = times.user + times.system
    return seconds


class Threads:
    """PyTorch's number of threads, which follows the load: `most`, or as many as others leave cores for."""

    def __init__(self, most: int) -> None:
        self._most, self._load, self._now = most, Load(), most

    def follow(self) -> None:
        """Look at the load, and change the number of threads where it asks for another one.

        What else has set the number meanwhile has its reason: then it stays.
        """
        import torch

        threads = self._load.threads(self._most)
        if threads != self._now and torch.get_num_threads() == self._now:
            torch.set_num_threads(threads)
            self._now = threads

    def before_batches(self, read: BatchReader) -> BatchReader:
        """The same reader, which looks at the load before every batch."""

        def reading(frames: Sequence[Frame], spec: InputSpec, batch_size: int) -> Iterator[NDArray[np.uint8]]:
            for batch in read(frames, spec, batch_size):
                self.follow()
                yield batch

        return reading

    def at_events(self, on_event: OnEvent) -> OnEvent:
        """The same listener, which looks at the load whenever work has got on."""

        def listening(event: Event) -> None:
            self.follow()
            on_event(event)

        return listening


@contextlib.contextmanager
def torch_threads(most: int) -> Iterator[Threads]:
    """PyTorch computes with at most so many threads inside, and with as many as before outside."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(most)
    try:
        yield Threads(most)
    finally:
        torch.set_num_threads(before)
