"""Processes that each do one task after another. One that hangs is ended, one that ends is replaced: a task is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection as connections
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

from bench.system import worker_processes
from bench.system.worker_processes import ignore_interrupts, portable

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")

PATIENCE_SECONDS = 120.0
"""A process that has given no sign for so long hangs. A frame of 8K and its faces take seconds on a busy machine."""
_SIGN_SECONDS = 1.0
_GRACE_SECONDS = 5.0


class LostError(RuntimeError):
    """The process that did a task gave no answer; `stuck` where it was ended since it hung."""

    def __init__(self, message: str, *, stuck: bool) -> None:
        super().__init__(message)
        self.stuck = stuck


@dataclass
class _Worker(Generic[TaskT]):
    process: Any
    connection: Connection
    task: TaskT | None = None
    since: float = 0.0
    is_loaded: bool = False


def run_all(
    load: Callable[[], Callable[[TaskT, Callable[[], object]], ResultT]],
    tasks: Iterable[TaskT],
    workers: int,
    patience_s: float = PATIENCE_SECONDS,
) -> Generator[tuple[TaskT, ResultT | Exception], None, None]:
    """Each task with its result, as they come, or with the error that it raised or was lost with.

    `load` is called once in each process and gives what does a task; that gets a function to call as a sign of life.
    What `load` raises is raised here, and `LostError` where a process ends in it. Processes end with this one, or when
    the iterator is closed.
    """
    pool: _Pool[TaskT, ResultT] = _Pool(load, iter(tasks), workers, patience_s)
    try:
        yield from pool.results()
    finally:
        pool.end()


class _Pool(Generic[TaskT, ResultT]):
    def __init__(self, load: Callable[[], Any], tasks: Iterator[TaskT], workers: int, patience_s: float) -> None:
        self._load, self._tasks, self._most, self._patience_s = load, tasks, workers, patience_s
        self._workers: list[_Worker[TaskT]] = []

    def results(self) -> Iterator[tuple[TaskT, ResultT | Exception]]:
        """Give out tasks as long as there are some, and collect results."""
        self._fill()
        while busy := [worker for worker in self._workers if worker.task is not None]:
            ready = connections.wait([worker.connection for worker in busy], timeout=_SIGN_SECONDS)
            for worker in busy:
                if worker.connection in ready:
                    yield from self._receive(worker)
                elif time.monotonic() - worker.since > self._patience_s:
                    yield self._lost(worker, stuck=True)
            self._fill()

    def end(self) -> None:
        for worker in self._workers:
            worker.connection.close()
        until = time.monotonic() + _GRACE_SECONDS
        for worker in self._workers:
            # One that is busy is not waited for: nothing will be made of what it does.
            if worker.task is None:
                worker.process.join(max(0.0, until - time.monotonic()))
            _end(worker.process)
        self._workers = []

    def _fill(self) -> None:
        """Give every idle process a task, and start processes for tasks that none is idle for."""
        while True:
            idle = next((worker for worker in self._workers if worker.task is None), None)
            if idle is None and len(self._workers) == self._most:
                return
            task = next(self._tasks, None)
            if task is None:
                return
            if idle is None:
                idle = _Worker(*worker_processes.start(serve))
                self._workers.append(idle)
                with suppress(ConnectionError):  # it has ended: that shows when its answer is waited for
                    idle.connection.send(self._load)
            idle.task, idle.since = task, time.monotonic()
            with suppress(ConnectionError):
                idle.connection.send(task)

    def _receive(self, worker: _Worker[TaskT]) -> Iterator[tuple[TaskT, ResultT | Exception]]:
        """What a process has sent: a sign of life, a result, an error of its start, which is raised, or its end."""
        worker.since = time.monotonic()
        try:
            kind, message = worker.connection.recv()
        except (EOFError, ConnectionError):
            yield self._lost(worker, stuck=False)
            return
        if kind == "failed":
            raise message
        worker.is_loaded = True
        if kind == "done":
            task, worker.task = worker.task, None
            assert task is not None
            yield task, message

    def _lost(self, worker: _Worker[TaskT], *, stuck: bool) -> tuple[TaskT, Exception]:
        """End a process, and the task that it had, with its error; one that did not even begin raises it."""
        self._workers.remove(worker)
        worker.connection.close()
        if not stuck:
            worker.process.join(_GRACE_SECONDS)
        code = worker.process.exitcode
        _end(worker.process)
        text = f"no sign of life for {self._patience_s:.0f} s" if stuck else f"the process that read it ended ({code})"
        error = LostError(text, stuck=stuck)
        if not worker.is_loaded:
            raise error  # so would the next one
        assert worker.task is not None
        return worker.task, error


def _end(process: Any) -> None:
    if process.is_alive():
        process.kill()
    process.join()


# -------------------------------------------------------------------------------------------- in the process
def serve(connection: Connection) -> None:
    """Load, then do tasks until the connection ends, and with it whoever gave them."""
    ignore_interrupts()
    try:
        try:
            work = connection.recv()()
        except (EOFError, ConnectionError):
            return
        except Exception as error:
            connection.send(("failed", portable(error)))
            return
        connection.send(("loaded", None))
        while True:
            task = connection.recv()
            sign = _Signs(connection)
            try:
                result = work(task, sign)
            except ConnectionError:
                raise
            except Exception as error:
                result = portable(error)
            connection.send(("done", result))
    except (EOFError, ConnectionError):
        return


class _Signs:
    """Called again and again, it sends a sign of life every second."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._sent = connection, time.monotonic()

    def __call__(self) -> None:
        now = time.monotonic()
        if now - self._sent >= _SIGN_SECONDS:
            self._sent = now
            self._connection.send(("sign", None))
