"""A service's predictions on their way to a tracker: gathered in a queue, logged by a thread, in batches."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import tracking
from bench.errors import UserError, shown
from bench.records import TrackedPrediction

Write = Callable[[Sequence[TrackedPrediction]], None]

_log = logging.getLogger("bench")


class PredictionLog:
    """Takes predictions at once, and gives them to `write` from a thread, at most `batch` every `interval_s` seconds.

    Nothing that `write` raises reaches who predicts: the batch is counted as `lost`, and the reason is logged once
    until a batch succeeds again. So are predictions that come while `most` wait. `close` logs what waits, for at most
    so long as it is told, and says how many were not.
    """

    def __init__(self, write: Write, *, most: int = 10_000, batch: int = 100, interval_s: float = 2.0) -> None:
        self.logged = self.lost = self._under_way = 0
        self._write, self._batch, self._interval_s = write, batch, interval_s
        self._queue: queue.Queue[TrackedPrediction] = queue.Queue(most)
        self._closing, self._complained = threading.Event(), False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="bench-tracking", daemon=True)
        self._thread.start()

    def add(self, prediction: TrackedPrediction) -> bool:
        """Take a prediction; False where it is lost, since too many wait or the log is closed. Never waits."""
        try:
            if self._closing.is_set():
                raise queue.Full
            self._queue.put_nowait(prediction)
        except queue.Full:
            self._lose(1, "too many predictions wait to be logged")
            return False
        return True

    def close(self, timeout_s: float = 15.0) -> None:
        """Log what waits and end the thread; what is not logged in time is lost. May be called again."""
        is_first = not self._closing.is_set()
        self._closing.set()
        self._thread.join(timeout_s)
        if is_first and self._thread.is_alive():
            count = self._under_way + self._queue.qsize()
            self.lost += count
            _log.warning("tracking: %d predictions were not logged in %g seconds, and are lost", count, timeout_s)

    def _work(self) -> None:
        while not self._closing.is_set():
            self._closing.wait(self._interval_s)
            self._log_waiting()

    def _log_waiting(self) -> None:
        """Log all that wait now, batch by batch."""
        while waiting := self._next_batch():
            self._under_way = len(waiting)
            try:
                self._write(waiting)
            except Exception as error:
                self._lose(len(waiting), f"{type(error).__name__}: {error}")
            else:
                self.logged, self._complained = self.logged + len(waiting), False
            self._under_way = 0

    def _next_batch(self) -> list[TrackedPrediction]:
        waiting: list[TrackedPrediction] = []
        while len(waiting) < self._batch:
            try:
                waiting.append(self._queue.get_nowait())
            except queue.Empty:
                break
        return waiting

    def _lose(self, count: int, why: str) -> None:
        with self._lock:
            self.lost += count
            complain, self._complained = not self._complained, True
        if complain:
            _log.warning("tracking: predictions are not logged: %s", shown(why))


def prediction_log(trackers: dict[str, str], experiment: str, base: Path) -> PredictionLog:
    """What logs predictions in every tracker of `tracking:` of an experiment; `base` is the experiment file's folder.

    Raises `UserError` where a tracker's package is missing or its address is wrong. One that does not answer now is
    asked again with each batch.
    """
    addresses = {}
    for name, text in trackers.items():
        if why := tracking.missing_package(name):
            raise UserError(why)
        addresses[name] = tracking.find(name).address(text, base)
        tracking.find(name).check(addresses[name])

    def write(predictions: Sequence[TrackedPrediction]) -> None:
        """Log in all, whatever the others raise; the first error is raised then."""
        errors: list[Exception] = []
        for name, address in addresses.items():
            try:
                tracking.find(name).log_predictions(address, experiment, predictions)
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]

    return PredictionLog(write)
