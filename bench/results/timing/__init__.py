"""How fast variants are: each in a fresh process of its own, in alternation, raw samples kept.

All variants are loaded, then take turns in rounds (A B C A B C …), so that a machine that slows down
or speeds up meanwhile does so for all of them alike. Whoever has no turn is idle, the parent included.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, field, replace
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from bench.records import Conditions, Event, Executed, Measurement, OnEvent, PeakMemory, Session
from bench.results.timing.conditions import watch
from bench.results.timing.worker import FindBatch, Trying, Turn, Turned, WarmUp, give_back_memory, serve
from bench.safe_path import protected
from bench.system.control_groups import memory_kills

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Key = TypeVar("Key")

VERSIONS = {"cpu": 2, "cuda": 3}
"""By device; raised whenever times would be taken in another way."""

WORK = "timing"
ROUNDS = 10
MOST_DIFFERENCE = 0.02
"""So far P(fake) may lie from the evaluation's: another batch size may take other kernels, in half precision too."""

PATIENCE_SECONDS = 10.0


@dataclass(frozen=True)
class Subject:
    """What is timed: how to load it in another process, what it said of the timed frames, logits [n, 2], its name."""

    load: Callable[[], Session]
    logits: NDArray[np.float32]
    name: str = ""


@dataclass(frozen=True)
class Found:
    """What ran, and how fast: at batch 1, then at the best batch size, which may be 1 again."""

    executed: Executed
    measurements: tuple[Measurement, ...]


@dataclass(frozen=True)
class Timings(Generic[Key]):
    """What one session of timing gave, and what failed in it."""

    found: dict[Key, Found]
    failed: dict[Key, Exception]
    conditions: Conditions


class KilledError(RuntimeError):
    """A process was killed while it computed batches of `batch_size`; `for_memory` where the kernel says so."""

    def __init__(self, batch_size: int, *, for_memory: bool) -> None:
        frames = "one frame at a time" if batch_size == 1 else f"batches of {batch_size} frames"
        why = "for want of memory" if for_memory else "most often for want of memory"
        super().__init__(f"its process ended without an answer (exit code -9: killed, {why}; it computed {frames})")
        self.batch_size = batch_size


@dataclass
class Process:
    """A subject in its own process, and what it told so far."""

    process: Any
    connection: Connection
    executed: Executed | None = None
    measurements: list[Measurement] = field(default_factory=list)
    settled: dict[int, bool | None] = field(default_factory=dict)
    """By batch size, whether times had settled at the end of its latest warm-up."""
    batch_size: int = 1
    """Of what it computes now."""
    kills: int | None = field(default_factory=memory_kills)

    def load(self, subject: Subject, frames: NDArray[np.uint8]) -> None:
        # Sent rather than passed as arguments: those block for ever where a process ends before it reads them.
        self.executed = self.do((subject.load, frames))
        self.warm_up(1)

    def warm_up(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.settled[batch_size] = self.do(WarmUp(batch_size))

    def find_batch(self, seconds: float, most: int | None = None) -> int:
        """The batch size of the highest throughput; on CUDA the process has then warmed up for it."""
        assert self.executed is not None
        best: int = self.do(FindBatch(seconds, most))
        if self.executed.device == "cuda":
            self.warm_up(best)
        return best

    def begin(self, batch_size: int) -> None:
        assert self.executed is not None
        runtime, device, settled = self.executed.runtime, self.executed.device, self.settled.get(batch_size)
        self.measurements.append(Measurement(runtime, device, batch_size, (), settled=settled))

    def turn(self, seconds: float, wanted: NDArray[np.float32]) -> None:
        """Take a turn at the batch size that was begun last, and add what it gave to that measurement."""
        before = self.measurements[-1]
        self.batch_size = before.batch_size
        turned: Turned = self.do(Turn(before.batch_size, seconds))
        _check(turned.logits, wanted)
        # How a batch of this size is executed, is known since it was.
        self.executed = turned.executed
        peak = turned.peak_memory
        if len(self.measurements) > 1:
            # The search for the batch size went further, and host memory does not tell a lower peak afterwards.
            peak = replace(peak, rss_mib=None)
        self.measurements[-1] = replace(
            before,
            rounds_ms=(*before.rounds_ms, turned.samples_ms),
            device_rounds_ms=(*before.device_rounds_ms, turned.device_ms) if turned.device_ms else (),
            peak_memory=_higher(before.peak_memory, peak),
        )

    def do(self, order: Any) -> Any:
        with suppress(ConnectionError):  # it has ended: what it said at last, or that it has, is the answer
            self.connection.send(order)
        return self._answer()

    def end(self) -> None:
        self.connection.close()
        self.process.join(PATIENCE_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def _answer(self) -> Any:
        try:
            while isinstance(answer := self.connection.recv(), Trying):
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


def measure(
    subjects: Mapping[Key, Subject], frames: NDArray[np.uint8], seconds: float, on_event: OnEvent
) -> Timings[Key]:
    """Time calls of every subject at batch 1, then of every one at its best batch size, `seconds` each.

    `frames` are uint8 RGB [n, 3, H, W], repeated where a batch is larger. A subject that fails, or
    answers otherwise than it did in the evaluation, is left out from then on and told beside the rest.
    """
    running: dict[Key, Process] = {}
    names = {key: subject.name for key, subject in subjects.items()}
    turns: _Turns[Key] = _Turns(len(subjects) * 2 * (ROUNDS + 1), names, on_event)

    def begin(key: Key) -> None:
        running[key] = start()
        running[key].load(subjects[key], frames)

    def begin_again(key: Key) -> None:
        ended = running[key]
        ended.end()
        begin(key)
        running[key].measurements = ended.measurements

    def find_batch(key: Key, most: int | None = None) -> int:
        try:
            return running[key].find_batch(seconds / ROUNDS, most)
        except KilledError as error:
            if error.batch_size == 1:
                raise
            begin_again(key)
            return find_batch(key, error.batch_size // 2)

    give_back_memory()
    try:
        # One after the other: loading is work too, and the peaks of two at once may not fit.
        turns.each("loading", {key: partial(begin, key) for key in subjects})
        with watch(len(subjects)) as watched:
            _rounds(running, dict.fromkeys(running, 1), subjects, seconds, turns, watched.sample)
            searches = {key: partial(find_batch, key) for key in running}
            best = turns.each("finding the best batch size", searches)
            # All take part again, so that what is compared was timed side by side.
            _rounds(running, best, subjects, seconds, turns, watched.sample)
            while killed := turns.killed():
                for key in best.keys() - turns.failed.keys() | killed.keys():
                    del running[key].measurements[1:]
                best |= {key: size // 2 for key, size in killed.items()}
                turns.again(len(killed) + len(best) * ROUNDS, killed)
                turns.each("loading again", {key: partial(begin_again, key) for key in killed})
                _rounds(running, best, subjects, seconds, turns, watched.sample)
        turns.end()
    finally:
        for one in running.values():
            one.end()
    found = {
        key: Found(one.executed, tuple(one.measurements))
        for key, one in running.items()
        if key not in turns.failed and one.executed is not None
    }
    return Timings(found, turns.failed, watched.conditions)


def start() -> Process:
    """A fresh process that waits to be told what to load; it ends with the connection, so with this process too."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs,), daemon=True)
    with protected(), _interrupts_blocked():
        process.start()
    # With this end closed here, the connection breaks when the process ends.
    theirs.close()
    return Process(process, ours)


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """A process that is started inherits this, and is not torn down by Ctrl-C before it can ignore it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # Starting the tracker, which the first process that is started would do, unblocks it again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _rounds(
    running: Mapping[Key, Process],
    sizes: Mapping[Key, int],
    subjects: Mapping[Key, Subject],
    seconds: float,
    turns: _Turns[Key],
    sample: Callable[[], None],
) -> None:
    """ROUNDS rounds in which everyone that has not failed has one turn with its batch size, and `sample` after it."""
    left = [key for key in sizes if key not in turns.failed]
    for key in left:
        running[key].begin(sizes[key])
    for _ in range(ROUNDS):
        calls = {key: partial(running[key].turn, seconds / ROUNDS, subjects[key].logits) for key in left}
        turns.each("timing", calls, sample)


def _higher(one: PeakMemory | None, other: PeakMemory) -> PeakMemory:
    """The higher of two peaks, number by number."""
    if one is None:
        return other
    return PeakMemory(
        *(
            max((value for value in pair if value is not None), default=None)
            for pair in zip(astuple(one), astuple(other), strict=True)
        )
    )


class _Turns(Generic[Key]):
    """Gives turns, one at a time, to whoever has not failed yet."""

    def __init__(self, total: int, names: Mapping[Key, str], on_event: OnEvent) -> None:
        self.done, self.total, self.names, self.on_event = 0, total, names, on_event
        self.failed: dict[Key, Exception] = {}

    def each(
        self, doing: str, turns: Mapping[Key, Callable[[], Any]], after: Callable[[], None] = lambda: None
    ) -> dict[Key, Any]:
        """The answers of one turn for each, `doing` in a word or two.

        `after` is called when a turn has ended and the next has not begun.
        """
        answers = {}
        for key, turn in turns.items():
            if key in self.failed:
                continue
            self.on_event(Event(WORK, self.done, self.total, "turns", f"{self.names[key]}: {doing}"))
            try:
                answers[key] = turn()
            except Exception as error:
                self.failed[key] = error
            after()
            self.done += 1
        return answers

    def killed(self) -> dict[Key, int]:
        """Whose process was killed with batches of more than one frame, and of how many."""
        return {
            key: error.batch_size
            for key, error in self.failed.items()
            if isinstance(error, KilledError) and error.batch_size > 1
        }

    def again(self, turns: int, keys: Iterable[Key]) -> None:
        """Let these take part again; so many turns are to come."""
        self.total = self.done + turns
        for key in keys:
            del self.failed[key]

    def end(self) -> None:
        """There may have been fewer: who fails gets no further turn."""
        self.on_event(Event(WORK, self.total, self.total, "turns"))


def _check(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> None:
    """What is fast because it answers something else is not fast."""
    import numpy as np

    from bench.results.score import p_fake

    expected = wanted[np.arange(len(found)) % len(wanted)]
    now, then = p_fake(found[:, 0], found[:, 1]), p_fake(expected[:, 0], expected[:, 1])
    worst = int(np.argmax(np.abs(now - then)))
    if not abs(now[worst] - then[worst]) <= MOST_DIFFERENCE:
        raise ValueError(
            f"timed calls answered otherwise than the evaluation: P(fake) {now[worst]:.4f} against {then[worst]:.4f} "
            f"for frame {worst % len(wanted) + 1} of the timed ones, at batch {len(found)}"
        )
