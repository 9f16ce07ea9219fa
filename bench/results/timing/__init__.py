"""Timing: each variant in a fresh process of its own, in alternation, with all raw samples kept.

All variants are loaded, then timed in rounds (A B C A B C …), so that a machine that slows down or speeds up does so
for all of them alike. Only one process computes at a time; the other workers and the parent wait for a message.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import astuple, dataclass, field, replace
from functools import partial
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from bench.records import Conditions, Event, Executed, Measurement, OnEvent, PeakMemory, Session
from bench.results.timing.conditions import watch
from bench.results.timing.worker import (
    FindBatch,
    Samples,
    TimeCalls,
    TryingBatch,
    WarmUp,
    give_back_memory,
    worker_loop,
)
from bench.system import worker_processes
from bench.system.control_groups import memory_kills

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Key = TypeVar("Key")

VERSIONS = {"cpu": 2, "cuda": 3}
"""By device; a change of how times are taken raises it."""

WORK = "timing"
ROUNDS = 10
MOST_DIFFERENCE = 0.02
"""How far P(fake) may lie from that of the evaluation: another batch size may use other kernels."""

PATIENCE_SECONDS = 10.0


@dataclass(frozen=True)
class Subject:
    """A variant to time: how to load it in another process, the timed frames, and its logits [n, 2] of them.

    `frames` are uint8 RGB [n, 3, H, W], as its detector takes them, repeated where a batch is larger.
    """

    load: Callable[[], Session]
    logits: NDArray[np.float32]
    frames: NDArray[np.uint8]
    name: str = ""


@dataclass(frozen=True)
class SubjectTimes:
    """What executed, and the times at batch 1, then at the best batch size, which may be 1 again."""

    executed: Executed
    measurements: tuple[Measurement, ...]


@dataclass(frozen=True)
class Timings(Generic[Key]):
    """The result of one session: `times` of every subject that did not fail, `failed` with the errors of the others."""

    times: dict[Key, SubjectTimes]
    failed: dict[Key, Exception]
    conditions: Conditions


class KilledError(RuntimeError):
    """A worker was killed while it computed batches of `batch_size`; `for_memory` if the kernel says so."""

    def __init__(self, batch_size: int, *, for_memory: bool) -> None:
        frames = "one frame at a time" if batch_size == 1 else f"batches of {batch_size} frames"
        why = "for want of memory" if for_memory else "most often for want of memory"
        super().__init__(f"its process ended without an answer (exit code -9: killed, {why}; it computed {frames})")
        self.batch_size = batch_size


@dataclass
class Process:
    """A worker process with one subject, and what it has measured so far."""

    process: Any
    connection: Connection
    executed: Executed | None = None
    measurements: list[Measurement] = field(default_factory=list)
    settled: dict[int, bool | None] = field(default_factory=dict)
    """By batch size, whether times had settled at the end of its latest warm-up."""
    batch_size: int = 1
    """The batch size that it computes now."""
    kills: int | None = field(default_factory=memory_kills)

    def load(self, subject: Subject) -> None:
        # Sent rather than passed as arguments: the parent would block for ever if a process ended before it read them.
        self.executed = self.call((subject.load, subject.frames))
        self.warm_up(1)

    def warm_up(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.settled[batch_size] = self.call(WarmUp(batch_size))

    def find_batch(self, seconds: float, most: int | None = None) -> int:
        """Find the batch size of the highest throughput; on CUDA, warm up for it."""
        assert self.executed is not None
        best: int = self.call(FindBatch(seconds, most))
        if self.executed.device == "cuda":
            self.warm_up(best)
        return best

    def begin(self, batch_size: int) -> None:
        assert self.executed is not None
        runtime, device, settled = self.executed.runtime, self.executed.device, self.settled.get(batch_size)
        self.measurements.append(Measurement(runtime, device, batch_size, (), settled=settled))

    def time_calls(self, seconds: float, expected: NDArray[np.float32]) -> None:
        """Time calls at the batch size that was begun last, and add the samples to that measurement.

        `expected` are the logits [n, 2] of the timed frames in the evaluation; `ValueError` where the calls differ.
        """
        before = self.measurements[-1]
        self.batch_size = before.batch_size
        samples: Samples = self.call(TimeCalls(before.batch_size, seconds))
        _check(samples.logits, expected)
        # Only now is known how a batch of this size is executed.
        self.executed = samples.executed
        peak = samples.peak_memory
        if len(self.measurements) > 1:
            # The search tried larger batches, and the peak of host memory cannot be reset.
            peak = replace(peak, rss_mib=None)
        self.measurements[-1] = replace(
            before,
            rounds_ms=(*before.rounds_ms, samples.samples_ms),
            device_rounds_ms=(*before.device_rounds_ms, samples.device_ms) if samples.device_ms else (),
            peak_memory=_higher(before.peak_memory, peak),
        )

    def call(self, request: Any) -> Any:
        """Send a request and wait for its answer. Raises the worker's error, or that it has ended."""
        with suppress(ConnectionError):  # the worker has ended: its last message, or its end, is the answer
            self.connection.send(request)
        return self._answer()

    def end(self) -> None:
        self.connection.close()
        self.process.join(PATIENCE_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def _answer(self) -> Any:
        try:
            while isinstance(answer := self.connection.recv(), TryingBatch):
                self.batch_size = answer.batch_size
        except (EOFError, ConnectionError) as error:
            self.process.join(PATIENCE_SECONDS)
            raise self._ended() from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _ended(self) -> RuntimeError:
        code, kills = self.process.exitcode, memory_kills()
        if code != -9:
            return RuntimeError(f"its process ended without an answer (exit code {code})")
        return KilledError(self.batch_size, for_memory=(kills or 0) > (self.kills or 0))


def measure(subjects: Mapping[Key, Subject], seconds: float, on_event: OnEvent) -> Timings[Key]:
    """Time calls of every subject at batch 1, then of every one at its best batch size, `seconds` each.

    A subject that fails, or whose logits differ from those of the evaluation, is left out from then on, and its error
    is in `failed`.
    """
    workers = _Workers(subjects, seconds)
    names = {key: subject.name for key, subject in subjects.items()}
    schedule: _Schedule[Key] = _Schedule(len(subjects) * 2 * (ROUNDS + 1), names, on_event)
    give_back_memory()
    try:
        # One after the other: loading is work too, and two peaks of memory at once may not fit.
        schedule.call_each("loading", {key: partial(workers.begin, key) for key in subjects})
        with watch(len(subjects)) as watched:
            workers.time_rounds(dict.fromkeys(workers.running, 1), schedule, watched.sample)
            searches = {key: partial(workers.find_batch, key) for key in workers.running}
            best = schedule.call_each("finding the best batch size", searches)
            # All subjects are timed again, so that compared times were taken side by side.
            workers.time_rounds(best, schedule, watched.sample)
            while killed := schedule.killed():
                workers.forget_batches(best.keys() - schedule.failed.keys() | killed.keys())
                best |= {key: size // 2 for key, size in killed.items()}
                schedule.again(len(killed) + len(best) * ROUNDS, killed)
                schedule.call_each("loading again", {key: partial(workers.begin_again, key) for key in killed})
                workers.time_rounds(best, schedule, watched.sample)
        schedule.end()
    finally:
        workers.end()
    return Timings(workers.times(schedule.failed), schedule.failed, watched.conditions)


class _Workers(Generic[Key]):
    """The worker processes of a session, by subject; `seconds` is the time for each batch size of each subject."""

    def __init__(self, subjects: Mapping[Key, Subject], seconds: float) -> None:
        self._subjects, self._seconds = subjects, seconds
        self.running: dict[Key, Process] = {}

    def begin(self, key: Key) -> None:
        self.running[key] = start()
        self.running[key].load(self._subjects[key])

    def begin_again(self, key: Key) -> None:
        """Replace a process that has ended; what was measured in it is taken over."""
        ended = self.running[key]
        ended.end()
        self.begin(key)
        self.running[key].measurements = ended.measurements

    def find_batch(self, key: Key, most: int | None = None) -> int:
        """Find the best batch size; where a batch killed the process, begin again with at most half of it."""
        try:
            return self.running[key].find_batch(self._seconds / ROUNDS, most)
        except KilledError as error:
            if error.batch_size == 1:
                raise
            self.begin_again(key)
            return self.find_batch(key, error.batch_size // 2)

    def time_rounds(self, sizes: Mapping[Key, int], schedule: _Schedule[Key], sample: Callable[[], None]) -> None:
        """ROUNDS rounds: each subject that has not failed is timed once with its batch size, then `sample` called."""
        left = [key for key in sizes if key not in schedule.failed]
        for key in left:
            self.running[key].begin(sizes[key])
        for _ in range(ROUNDS):
            calls = {
                key: partial(self.running[key].time_calls, self._seconds / ROUNDS, self._subjects[key].logits)
                for key in left
            }
            schedule.call_each("timing", calls, sample)

    def forget_batches(self, keys: Iterable[Key]) -> None:
        """Drop all measurements of these subjects but those at batch 1."""
        for key in keys:
            del self.running[key].measurements[1:]

    def times(self, failed: Collection[Key]) -> dict[Key, SubjectTimes]:
        """What was measured of every subject that has not failed."""
        return {
            key: SubjectTimes(process.executed, tuple(process.measurements))
            for key, process in self.running.items()
            if key not in failed and process.executed is not None
        }

    def end(self) -> None:
        for process in self.running.values():
            process.end()


def start() -> Process:
    """Start a worker process. It ends when the connection breaks, so with this process too."""
    return Process(*worker_processes.start(worker_loop))


def _higher(first: PeakMemory | None, second: PeakMemory) -> PeakMemory:
    """The higher of two peaks, number by number."""
    if first is None:
        return second
    return PeakMemory(
        *(
            max((value for value in pair if value is not None), default=None)
            for pair in zip(astuple(first), astuple(second), strict=True)
        )
    )


class _Schedule(Generic[Key]):
    """Calls subjects one after another, leaves out those that have failed, and reports progress."""

    def __init__(self, total: int, names: Mapping[Key, str], on_event: OnEvent) -> None:
        self.done, self.total, self.names, self.on_event = 0, total, names, on_event
        self.failed: dict[Key, Exception] = {}

    def call_each(
        self, doing: str, calls: Mapping[Key, Callable[[], Any]], after: Callable[[], None] = lambda: None
    ) -> dict[Key, Any]:
        """Make one call for each subject, and return the answers by subject; `doing` is printed as progress.

        `after` is called after each of them.
        """
        answers = {}
        for key, call in calls.items():
            if key in self.failed:
                continue
            self.on_event(Event(WORK, self.done, self.total, "turns", f"{self.names[key]}: {doing}"))
            try:
                answers[key] = call()
            except Exception as error:
                self.failed[key] = error
            after()
            self.done += 1
        return answers

    def killed(self) -> dict[Key, int]:
        """The batch size of every subject whose process was killed with more than one frame a batch."""
        return {
            key: error.batch_size
            for key, error in self.failed.items()
            if isinstance(error, KilledError) and error.batch_size > 1
        }

    def again(self, turns: int, keys: Iterable[Key]) -> None:
        """Let these subjects take part again; `turns` calls are to come."""
        self.total = self.done + turns
        for key in keys:
            del self.failed[key]

    def end(self) -> None:
        """Report the end; there may have been fewer calls than planned, since a failed subject is not called again."""
        self.on_event(Event(WORK, self.total, self.total, "turns"))


def _check(logits: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    """Raise `ValueError` if timed calls gave other logits than the evaluation: wrong answers may well be fast."""
    import numpy as np

    from bench.results.score import p_fake

    repeated = expected[np.arange(len(logits)) % len(expected)]
    now, then = p_fake(logits[:, 0], logits[:, 1]), p_fake(repeated[:, 0], repeated[:, 1])
    worst = int(np.argmax(np.abs(now - then)))
    if not abs(now[worst] - then[worst]) <= MOST_DIFFERENCE:
        raise ValueError(
            f"timed calls answered otherwise than the evaluation: P(fake) {now[worst]:.4f} against {then[worst]:.4f} "
            f"for frame {worst % len(expected) + 1} of the timed ones, at batch {len(logits)}"
        )
