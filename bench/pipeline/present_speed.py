"""How fast this machine is now, beside its other work: measured in under a second, without PyTorch."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SECONDS = 0.7
_SIDE, _TURNS = 256, 3
_GFLOP = 2e-9 * _SIDE**3


@dataclass(frozen=True)
class PresentSpeed:
    """Billions of float32 operations a second, of matrix products.

    `core` is a rate per second of processor time, `alone` per second of the clock with one thread, and `together` per
    second of the clock with all `threads`, where each waits for the slowest, as the threads of a network do.
    """

    core: float
    alone: float
    together: float
    threads: int

    @property
    def free_cores(self) -> float:
        """How many cores are free: about `threads` on a quiet machine, fewer beside other work."""
        return max(self.together, self.alone) / self.core


def measure(threads: int, seconds: float = SECONDS) -> PresentSpeed:
    """Multiply matrices for about so many seconds: one thread, and all of them side by side, in turns."""
    import numpy as np
    import threadpoolctl

    matrix = np.random.default_rng(0).random((_SIDE, _SIDE), dtype=np.float32)
    turn_s = seconds / _TURNS / 2
    alone, together, per_core = 0.0, 0.0, []
    # One thread of the library for each of ours: its own threads wait for each other in a way that networks' do not.
    with threadpoolctl.threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        for _ in range(_TURNS):
            rate, per_cpu = _rates(matrix, turn_s)
            alone += rate / _TURNS
            side_by_side = list(pool.map(lambda _: _rates(matrix, turn_s), range(threads)))
            together += threads * min(rate for rate, _ in side_by_side) / _TURNS
            per_core += [per_cpu, *(cpu_rate for _, cpu_rate in side_by_side)]
    return PresentSpeed(float(np.median(per_core)), alone, together, threads)


def _rates(matrix: NDArray[np.float32], seconds: float) -> tuple[float, float]:
    """This thread's rate per second of the clock, and per second of processor time."""
    import numpy as np

    out, work = np.empty_like(matrix), 0.0
    began, cpu_began = time.perf_counter(), time.thread_time()
    while time.perf_counter() < began + seconds:
        np.matmul(matrix, matrix, out=out)
        work += _GFLOP
    # Some systems count processor time in steps of 16 ms.
    return work / (time.perf_counter() - began), work / max(time.thread_time() - cpu_began, 1e-3)
