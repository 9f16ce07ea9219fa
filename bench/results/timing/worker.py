"""The worker process of a variant that is timed: it loads the variant, then answers requests one by one.

It waits for a message between requests, so that only one variant computes at a time. Neither evaluation nor building
runs in it, so its memory is that of the variant.
"""

from __future__ import annotations

import sys
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
from bench.system.worker_processes import ignore_interrupts, portable

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
"""Sizes that are tried. On CUDA few: on an H100, preparing the kernels of a B5 took seconds for every new size."""

MIB = 2**20


@runtime_checkable
class Rests(Protocol):
    """A session that can give memory of the device back while it has nothing to do."""

    def rest(self, *, from_all: bool) -> None: ...


@dataclass(frozen=True)
class TimeCalls:
    """Request: time calls of one batch size for `seconds`, at least one call, after one that is not timed."""

    batch_size: int
    seconds: float

    def run(self, session: Session, frames: NDArray[np.uint8]) -> Samples:
        """Make the calls; `frames` are uint8 RGB [n, 3, H, W]."""
        batch = _batch(frames, self.batch_size)
        # While other variants computed, caches went cold and clocks may have dropped.
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
        return Samples(tuple(samples_ms), tuple(device_ms), logits, _peak_memory(), session.executed)


@dataclass(frozen=True)
class Samples:
    """Milliseconds of every call, the logits [batch, 2] of the last one, and what executed it."""

    samples_ms: tuple[float, ...]
    device_ms: tuple[float, ...]
    logits: NDArray[np.float32]
    peak_memory: PeakMemory
    executed: Executed


@dataclass(frozen=True)
class WarmUp:
    """Request: call a few times, and on CUDA until times have settled.

    The answer is whether they have settled; None on a CPU, where that is not measured.
    """

    batch_size: int

    def run(self, session: Session, frames: NDArray[np.uint8]) -> bool | None:
        batch = _batch(frames, self.batch_size)
        for _ in range(WARM_UP_CALLS):
            session.predict(batch)
        return settle(partial(session.predict_timed, batch)) if session.executed.device == "cuda" else None


@dataclass(frozen=True)
class TryingBatch:
    """Message before a batch of this size is tried: the process may be killed by it."""

    batch_size: int


@dataclass(frozen=True)
class FindBatch:
    """Request: find the batch size of the highest throughput among 1 and `BATCHES`, as far as they fit into memory.

    The search ends after two sizes in a row without a gain, where memory runs out, or where the next size would take
    more than half of the free memory. The best size is compared with batch 1 once more, in alternation, since other
    processes can make any size look good for a moment. Sizes above `most` are not tried.
    """

    seconds: float
    most: int | None = None

    def run(
        self, session: Session, frames: NDArray[np.uint8], tell: Callable[[TryingBatch], object] = lambda _: None
    ) -> int:
        """Search upwards; `tell` is called before each size is tried."""
        best, misses = 1, 0
        at_rest = _peak_memory().rss_mib or 0.0
        highest = self._frames_per_second(session, _batch(frames, 1))
        for size in BATCHES[session.executed.device]:
            if misses == 2 or size > (self.most or size) or not _leaves_room(at_rest):
                break
            tell(TryingBatch(size))
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


def worker_loop(connection: Connection) -> None:
    """Load the variant, send what executes it, and answer requests until None comes.

    The first message is how to load the variant, and the frames. An error is sent in place of an answer, with its
    traceback as a note, and ends the process. The process also ends when the parent is gone.
    """
    ignore_interrupts()
    try:
        load, frames = connection.recv()
        session: Session = load()
        connection.send(session.executed)
        while (request := connection.recv()) is not None:
            listener = (connection.send,) if isinstance(request, FindBatch) else ()
            answer = request.run(session, frames, *listener)
            # Memory of sizes that were only tried must not count in the peaks of timed ones.
            _rest(session, from_all=isinstance(request, FindBatch))
            connection.send(answer)
    except (EOFError, ConnectionError):
        return
    except Exception as error:
        connection.send(_with_trace(error))


def _microseconds(milliseconds: float) -> float:
    """Round to microseconds: no clock here is more exact, and files of samples become shorter."""
    return round(milliseconds, 3)


def _with_trace(error: Exception) -> Exception:
    """The error as `portable` makes it, with its traceback as a note."""
    trace = "".join(traceback.format_exception(error))
    error = portable(error)
    error.add_note(trace)
    return error


def _batch(frames: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The first `size` frames, repeated where there are fewer."""
    import numpy as np

    return np.ascontiguousarray(frames[np.arange(size) % len(frames)])


def _leaves_room(at_rest_mib: float) -> bool:
    """Whether twice the memory that batches have taken so far fits into half of the free memory."""
    taken = (_peak_memory().rss_mib or 0.0) - at_rest_mib
    return 2 * taken <= available_memory() / MIB / 2


def _peak_memory() -> PeakMemory:
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return PeakMemory(_peak_rss_mib())
    return PeakMemory(_peak_rss_mib(), torch.cuda.max_memory_allocated() / MIB, torch.cuda.max_memory_reserved() / MIB)


def _peak_rss_mib() -> float | None:
    """The peak of resident memory of this process alone; on Linux, `ru_maxrss` begins at that of the parent."""
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
    """Give memory back to the other processes until the next request."""
    if isinstance(session, Rests):
        session.rest(from_all=from_all)
    give_back_memory()


def give_back_memory() -> None:
    """Give PyTorch's cached GPU memory back to the other processes, and reset its peak."""
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
