"""Sessions to time, without a network."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.records import Executed, Prediction, Timed

EXECUTED = Executed("stand-in", "cpu", "none", ("none",), "fp32", "fp32")


FRAMES = np.arange(2 * 3 * 8 * 8, dtype=np.uint8).reshape(2, 3, 8, 8)


LOGITS = np.array([[0.5, -0.5], [0.0, 2.0]], np.float32)


@dataclass
class FakeSession:
    """Answers LOGITS after `call` + `frame` × frames seconds, and notes every call in a file."""

    call: float = 0.0
    frame: float = 0.0
    most: int = 1000
    log: Path | None = None
    logits: NDArray[np.float32] = field(default_factory=lambda: LOGITS)
    breaks_after: int = 1000
    how: type[Exception] = RuntimeError
    calls: int = 0
    executed: Executed = EXECUTED

    def predict(self, frames: NDArray[np.uint8]) -> Prediction[NDArray[np.float32]]:
        return self.predict_timed(frames).prediction

    def predict_timed(self, frames: NDArray[np.uint8]) -> Timed:
        if self.log:
            with self.log.open("a") as file:
                file.write(f"{os.getpid()} {len(frames)}\n")
        self.calls += 1
        if len(frames) > self.most:
            raise MemoryError
        if self.calls > self.breaks_after:
            raise self.how("fell over")
        time.sleep(self.call + self.frame * len(frames))
        logits = self.logits[np.arange(len(frames)) % 2]
        return Timed(Prediction(logits, np.zeros((len(frames), 2, 2), np.float32)), 0.25)
