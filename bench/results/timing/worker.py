"""What runs in the fresh process of a variant that is timed: it loads, then waits for orders.

It answers each order before the next one comes and blocks in between, so that the variant whose turn it
is has the machine to itself. Nothing of evaluation or building runs in it, so its memory is the variant's.
"""

from __future__ import annotations

import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from bench.records import Executed, PeakMemory, Session
from bench.results.timing.warm_up import settle
from bench.system.control_groups import available_memory

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    import numpy as np
    from numpy.typing import NDArray

WARM_UP_CALLS = 3
PROBE_CALLS = 3
CONFIRMING_ROUNDS = 3
LEAST_GAIN = 1.05
"""A larger batch is better only where it raises throughput by this factor."""

BATCHES = {"cpu": (2, 4, 8, 16, 32), "cuda": (8, 32, 128, 512)}
"""Sizes that are tried. On CUDA few: on an H100 the kernels of a B5 took seconds to prepare for every new one."""

LARGEST_BATCH = {device: sizes[-1] for device, sizes in BATCHES.items()}

MIB = 2**20


@runtime_checkable
class Rests(Protocol):
    """A session that holds memory of the device which it can do without while it has nothing to do."""

    def rest(self, *, from_all: bool) -> None: ...


@dataclass(frozen=True)
class Turn:
    """Time calls of one batch size for so many seconds, one call at least, after one that is not timed."""

    batch_size: int
    seconds: float

    def carry_out(self, session: Session, frames: NDArray[np.uint8]) -> Turned:
        batch = _batch(frames, self.batch_size)
        # While the others had their turns, caches went cold and clocks may have dropped.
        session.predict_timed(batch)
        samples_ms: list[float] = []
        device_ms: list[float] = []
        until = time.perf_counter() + self.seconds
        while not samples_ms or time.perf_counter() < until:
            began = time.perf_counter()
            timed = session.predict_timed(batch)
            samples_ms.append(_microseconds((time.perf_counter() - began) * 1000))
            if timed.device_ms is not None:
                device_ms.append(_microseconds(timed.device_ms))
        logits = timed.prediction.logits
        return Turned(tuple(samples_ms), tuple(device_ms), logits, _peak_memory(), session.executed)


@dataclass(frozen=True)
class Turned:
    """What a turn gave: milliseconds of every call, the logits [batch, 2] of the last one, and what executed it."""

    samples_ms: tuple[float, ...]
    device_ms: tuple[float, ...]
    logits: NDArray[np.float32]
    peak_memory: PeakMemory
    executed: Executed


@dataclass(frozen=True)
class WarmUp:
    """Call until what is set up on first use is set up, and on CUDA until times have settled.

    The answer is whether they have; None on a CPU, where nobody looks.
    """

    batch_size: int

    def carry_out(self, session: Session, frames: NDArray[np.uint8]) -> bool | None:
        batch = _batch(frames, self.batch_size)
        for _ in range(WARM_UP_CALLS):
            session.predict(batch)
        return settle(partial(session.predict_timed, batch)) if session.executed.device == "cuda" else None


@dataclass(frozen=True)
class Trying:
    """Told before a batch of this size is tried, which may be the last that is heard of this process."""

    batch_size: int


@dataclass(frozen=True)
class FindBatch:
    """Find the batch size of the highest throughput among 1 and `BATCHES`, as far as they fit into memory.

    The climb ends after two sizes in a row that gain nothing, where memory runs out, or where the next
    size would take more than half of what is free. What it found is compared with one frame once more,
    in alternation, because a moment of somebody else's work can make any size look good. Sizes above `most` are
    not tried.
    """

    seconds: float
    most: int | None = None

    def carry_out(
        self, session: Session, frames: NDArray[np.uint8], tell: Callable[[Trying], object] = lambda _: None
    ) -> int:
        best, misses = 1, 0
        at_rest = _peak_memory().rss_mib or 0.0
        highest = self._frames_per_second(session, _batch(frames, 1))
        for size in BATCHES[session.executed.device]:
            if misses == 2 or size > (self.most or size) or not _leaves_room(at_rest):
                break
            tell(Trying(size))
            try:
                rate = self._frames_per_second(session, _batch(frames, size))
            except MemoryError:
                break
            if rate >= LEAST_GAIN * highest:
                best, highest, misses = size, rate, 0
            else:
                misses += 1
        return best if best == 1 or self._holds(session, frames, best) else 1

    def _holds(self, session: Session, frames: NDArray[np.uint8], size: int) -> bool:
        import numpy as np

        small, large = _batch(frames, 1), _batch(frames, size)
        gains = [
            self._frames_per_second(session, large) / self._frames_per_second(session, small)
            for _ in range(CONFIRMING_ROUNDS)
        ]
        return bool(np.median(gains) >= LEAST_GAIN)

    def _frames_per_second(self, session: Session, batch: NDArray[np.uint8]) -> float:
        import numpy as np

        session.predict(batch)
        times: list[float] = []
        until = time.perf_counter() + self.seconds
        while len(times) < PROBE_CALLS or time.perf_counter() < until:
            began = time.perf_counter()
            session.predict(batch)
            times.append(time.perf_counter() - began)
        return float(len(batch) / np.median(times))


def serve(connection: Connection) -> None:
    """Be told what to load and which frames, load, tell what executes, and carry out orders until None comes.

    An error is sent in place of the answer, its traceback as a note, and ends the process; so does a
    parent that is gone.
    """
    ignore_interrupts()
    try:
        load, frames = connection.recv()
        session: Session = load()
        connection.send(session.executed)
        while (order := connection.recv()) is not None:
            listener = (connection.send,) if isinstance(order, FindBatch) else ()
            answer = order.carry_out(session, frames, *listener)
            # Sizes that were only tried must not count in the peaks of those that are timed.
            _rest(session, from_all=isinstance(order, FindBatch))
            connection.send(answer)
    except (EOFError, ConnectionError):
        return
    except Exception as error:
        connection.send(_portable(error))


def _microseconds(milliseconds: float) -> float:
    """No clock here tells more; a file of samples is the shorter for it."""
    return round(milliseconds, 3)


def ignore_interrupts() -> None:
    """Ctrl-C and the end of a terminal are for the parent, which then ends this process."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        if hasattr(signal, "pthread_sigmask"):
            # Blocked by the parent for as long as this process could not ignore it.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _portable(error: Exception) -> Exception:
    """The error with its traceback as a note; another that says the same where it does not pickle."""
    told = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # a library's own class of errors may do anything there
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(told)
    return error


def _batch(frames: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The first `size` frames, repeated where there are fewer."""
    import numpy as np

    return np.ascontiguousarray(frames[np.arange(size) % len(frames)])


def _leaves_room(at_rest_mib: float) -> bool:
    """Whether twice of what batches have taken so far would fit into half of the free memory."""
    taken = (_peak_memory().rss_mib or 0.0) - at_rest_mib
    return 2 * taken <= available_memory() / MIB / 2


def _peak_memory() -> PeakMemory:
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return PeakMemory(_peak_rss_mib())
    return PeakMemory(_peak_rss_mib(), torch.cuda.max_memory_allocated() / MIB, torch.cuda.max_memory_reserved() / MIB)


def _peak_rss_mib() -> float | None:
    """The high-water mark of this process alone; `ru_maxrss` begins at that of whoever started it on Linux."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        return None
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset) / MIB
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB  # bytes on macOS


def _rest(session: Session, *, from_all: bool) -> None:
    """Leave memory to the others until the next order."""
    if isinstance(session, Rests):
        session.rest(from_all=from_all)
    give_back_memory()


def give_back_memory() -> None:
    """What a process keeps of the GPU's memory while it idles, the others cannot have; its peak begins anew."""
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
