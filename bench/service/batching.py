"""Frames that arrive one by one, computed in batches: a thread for each session, which is used by no other."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from bench.records import Session

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_GOOD_ENOUGH = 0.97
"""Of the highest throughput: the smallest batch with so much of it is taken."""
_UNMEASURED = 8
_LONGEST_WAIT = 0.5
"""A frame alone waits no longer for others than so much of the time that it takes itself."""


class Answer(NamedTuple):
    """Of one frame: its logits [2], real and fake, and its signed map [h, w]; None without one."""

    logits: NDArray[np.float32]
    cam: NDArray[np.float32] | None


@dataclass(frozen=True)
class Window:
    """At most `size` frames are computed at once; the first of them waits up to `seconds` for frames on their way."""

    size: int
    seconds: float


def window(latency_ms: Mapping[int, float]) -> Window:
    """The window for a session whose calls take so long, by batch size.

    The batch is the smallest of nearly the highest throughput. Waiting pays where it is shorter than what the batch
    saves: computing its frames one by one, less computing them at once. Without times, batches of what waits already
    are made, and nothing is waited for.
    """
    if not latency_ms or 1 not in latency_ms:
        return Window(_UNMEASURED, 0.0)
    throughput = {size: size / latency for size, latency in latency_ms.items()}
    highest = max(throughput.values())
    size = min(size for size, rate in throughput.items() if rate >= _GOOD_ENOUGH * highest)
    saved_ms = size * latency_ms[1] - latency_ms[size]
    return Window(size, max(0.0, min(_LONGEST_WAIT * latency_ms[1], saved_ms)) / 1000)


class Batcher:
    """Makes batches for one session. Frames come from any thread, and are computed in the thread that it starts.

    `coming` counts frames that will arrive soon: only for these is anything waited for. `computed` is called after
    each batch with its size and the seconds that it took.
    """

    def __init__(
        self, session: Session, limits: Window, computed: Callable[[int, float], None] = lambda size, seconds: None
    ) -> None:
        self._session, self._window, self._computed = session, limits, computed
        self._frames: deque[tuple[NDArray[np.uint8], Future[Answer]]] = deque()
        self._changed = threading.Condition()
        self._coming = 0
        self._ending = False
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Frames that are not computed yet."""
        return len(self._frames)

    @property
    def works(self) -> bool:
        """Whether frames are computed: its thread runs, and its session answers, where it may cease to."""
        return self._thread.is_alive() and bool(getattr(self._session, "works", True))

    @property
    def restarts(self) -> int:
        """How often the process of its session ended and was started again."""
        return int(getattr(self._session, "restarts", 0))

    @contextmanager
    def coming(self) -> Iterator[None]:
        """A frame is being prepared, which a batch may wait for."""
        with self._changed:
            self._coming += 1
        try:
            yield
        finally:
            with self._changed:
                self._coming -= 1
                self._changed.notify()

    def submit(self, frame: NDArray[np.uint8]) -> Future[Answer]:
        """The answer to a frame, uint8 RGB [3, size, size], once it is computed. `RuntimeError` after `close`."""
        answer: Future[Answer] = Future()
        with self._changed:
            if self._ending:
                raise RuntimeError("the service is ending")
            self._frames.append((frame, answer))
            self._changed.notify()
        return answer

    def close(self) -> None:
        """Compute all that was submitted, then end the thread."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while batch := self._next():
            frames = [(frame, answer) for frame, answer in batch if answer.set_running_or_notify_cancel()]
            if frames:
                self._compute(frames)

    def _next(self) -> list[tuple[NDArray[np.uint8], Future[Answer]]]:
        """The frames of the next batch, none at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._ending)
            until = monotonic() + self._window.seconds
            while len(self._frames) < self._window.size and self._coming and not self._ending:
                left = until - monotonic()
                if left <= 0 or not self._changed.wait(left):
                    break
            return [self._frames.popleft() for _ in range(min(len(self._frames), self._window.size))]

    def _compute(self, batch: list[tuple[NDArray[np.uint8], Future[Answer]]]) -> None:
        """Answer all frames; those of a batch that memory is too small for in halves."""
        import numpy as np

        begin = monotonic()
        try:
            logits, cams = self._session.predict(np.stack([frame for frame, _ in batch]))
            answers = [
                Answer(logits[index], None if cams is None else np.asarray(cams[index], np.float32))
                for index in range(len(batch))
            ]
        except MemoryError as error:
            if len(batch) > 1:
                half = len(batch) // 2
                self._compute(batch[:half])
                self._compute(batch[half:])
                return
            batch[0][1].set_exception(error)
            return
        except BaseException as error:  # whatever it is: those who wait must hear of it, and others go on
            for _, answer in batch:
                answer.set_exception(error if isinstance(error, Exception) else RuntimeError(repr(error)))
            return
        self._computed(len(batch), monotonic() - begin)
        for (_, answer), result in zip(batch, answers, strict=True):
            answer.set_result(result)
