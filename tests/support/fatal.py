"""A session whose answer is the mean of a frame, and that frames of certain brightness end, or its whole process."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.records import Executed, Prediction, Session, Timed

SIZE = 8
KILLS, NO_MEMORY, BREAKS, SLOW = 255, 254, 253, 252


class Fatal:
    """Its frames may be any of those above."""

    executed = Executed("drawn", "cpu", "a processor", (), "fp32", "fp32")

    def predict(self, frames: NDArray[np.uint8]) -> Prediction[NDArray[np.float32]]:
        levels = frames.reshape(len(frames), -1).mean(1)
        if (levels == KILLS).any():
            os.kill(os.getpid(), signal.SIGKILL)
        if (levels == NO_MEMORY).any():
            raise MemoryError("too large")
        if (levels == BREAKS).any():
            raise ValueError("broken")
        if (levels == SLOW).any():
            time.sleep(60)
        return Prediction(np.stack([0 * levels, levels], 1).astype(np.float32), None)

    def predict_timed(self, frames: NDArray[np.uint8]) -> Timed:
        return Timed(self.predict(frames), None)


def load(gone: Path) -> Session:
    """The session, unless a file says that it can't be loaded any more."""
    if gone.exists():
        raise FileNotFoundError(gone)
    return Fatal()


def load_for_a_moment() -> Session:
    """The session; a moment later its process is killed."""
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGKILL)).start()
    return Fatal()


def frames(*levels: int) -> NDArray[np.uint8]:
    """Frames [n, 3, SIZE, SIZE] of these levels."""
    return np.stack([np.full((3, SIZE, SIZE), level, np.uint8) for level in levels])
