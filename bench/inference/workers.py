"""A variant that computes in a process of its own: whatever ends that process, its caller goes on, and so does it.

A network's runtime is native code, which can end its process (a kernel that crashes, a system that is short of memory).
A service must not end with it.
"""

from __future__ import annotations

import atexit
import logging
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from bench.records import Executed, Prediction, Session, Timed
from bench.system import worker_processes
from bench.system.shared_arrays import Inbox, Outbox
from bench.system.worker_processes import ignore_interrupts, portable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_log = logging.getLogger("bench")
_PATIENCE_SECONDS = 10.0
_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 60.0
"""After a start, before the next without a call: the first pause, and the longest, each twice the last.

A process that lives longer than the longest begins them anew: one that loads and ends each time takes no whole core.
"""
_HANGS_SECONDS, _HANGS_TIMES = 180.0, 30
"""A call that takes longer than these seconds, and than so many times the longest before, gets no answer any more."""
_LOST = "the process that computes cannot be started again now; it is tried again"
_CLOSED = "the service has ended, and computes nothing more"


class WorkerLostError(RuntimeError):
    """The process that computes ended before it answered, or could not be started again."""


class WorkerSession:
    """A session that `load` opens in a process of its own. Its calls come from one thread at a time.

    Where the process ends during a call, that call raises `WorkerLostError`. Whenever it ends, a thread starts a new
    one, which calls wait for; where that cannot be, calls raise `WorkerLostError` until a later try goes well.
    `restarts` counts the new ones that have loaded. One that gives no answer for minutes, and for many times as long as
    any before, is ended. `close` ends it all.
    """

    def __init__(self, load: Callable[[], Session], name: str) -> None:
        """Start the process and wait until it has loaded. Raises what `load` raises, or `WorkerLostError`."""
        self.restarts, self._longest_s = 0, 0.0
        self._load, self._name = load, name
        self._outbox = Outbox()
        self._is_lost, self._closing = False, threading.Event()
        # Whoever holds the first may use the connection; the second is held for moments, so that `close` gets it.
        self._calls, self._starting = threading.Lock(), threading.Lock()
        self._start()
        # Before multiprocessing ends its processes with a signal that this one ignores, and waits for them.
        atexit.register(self.close)
        try:
            self._wait_until_loaded()
        except BaseException:
            self.close()
            raise
        threading.Thread(target=self._watch, name=f"watches {name}", daemon=True).start()

    @property
    def works(self) -> bool:
        """Whether it answers calls, be it once a process that is started again has loaded."""
        return not self._is_lost and not self._closing.is_set()

    @property
    def process_id(self) -> int:
        return int(self._process.pid)

    def predict(self, frames: NDArray[np.uint8]) -> Prediction[NDArray[np.float32]]:
        """The prediction of uint8 RGB frames [n, 3, H, W]. Raises what the session raises, or `WorkerLostError`."""
        with self._calls:
            if self._is_lost:
                raise WorkerLostError(_LOST)
            self._start_where_ended()
            self._send(self._outbox.put(frames))
            begin, patience = time.monotonic(), max(_HANGS_SECONDS, _HANGS_TIMES * self._longest_s)
            if not self._connection.poll(patience):
                _log.error("%s: its process gave no answer in %d seconds, and is ended", self._name, patience)
                self._process.kill()
            answer: Prediction[NDArray[np.float32]] = self._received("before it answered, and is started again")
            self._longest_s = max(self._longest_s, time.monotonic() - begin)
            return answer

    def predict_timed(self, frames: NDArray[np.uint8]) -> Timed:
        """The same; the time of a device is not taken in another process."""
        return Timed(self.predict(frames), None)

    def close(self) -> None:
        """End the process for good; a call under way raises `WorkerLostError`. May be called again."""
        with self._starting:
            if self._closing.is_set():
                return
            self._closing.set()
        atexit.unregister(self.close)
        if not self._calls.acquire(blocking=False):
            # It computes or loads, for nobody: an orderly end waits for the last answer before it closes sessions.
            self._process.kill()
            self._calls.acquire()
        try:
            self._end()
            self._outbox.close()
        finally:
            self._calls.release()

    def _watch(self) -> None:
        """Start the process again wherever it has ended, until `close`; soon after a start, after longer pauses."""
        pause = _PAUSE_SECONDS
        while True:
            process = self._process  # its sentinel is valid for as long as it is referred to
            wait([process.sentinel])
            if time.monotonic() - self._started > _LONGEST_PAUSE_SECONDS:
                pause = _PAUSE_SECONDS
            with self._calls, suppress(WorkerLostError):
                process.join(_PATIENCE_SECONDS)  # its end is seen a moment before the system says how it ended
                self._start_where_ended()
            if self._closing.wait(pause):
                return
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _start_where_ended(self) -> None:
        """Start a new process where it has ended, and wait until it has loaded; `WorkerLostError` where that fails."""
        if self._closing.is_set():
            raise WorkerLostError(_CLOSED)
        if self._process.is_alive():
            return
        if not self._is_lost:
            code = self._end()
            _log.error("%s: its process ended (exit code %s); it is started again", self._name, code)
        try:
            self._start()
            self._wait_until_loaded()
        except Exception as error:
            self._end()
            if self._closing.is_set():
                raise WorkerLostError(_CLOSED) from error
            _log.error("%s: its process cannot be started again; it is tried again", self._name, exc_info=error)
            self._is_lost = True
            raise WorkerLostError(_LOST) from error
        self._is_lost = False
        self.restarts += 1

    def _start(self) -> None:
        """Start a process, unless closed."""
        with self._starting:
            if self._closing.is_set():
                raise WorkerLostError(_CLOSED)
            self._started = time.monotonic()
            try:
                self._process, self._connection = worker_processes.start(_serve)
            except OSError as error:
                raise WorkerLostError(f"the system starts no process ({error.strerror or error})") from error

    def _wait_until_loaded(self) -> None:
        self._send(self._load)
        self.executed: Executed = self._received("before it was ready")

    def _end(self) -> int | None:
        """End the process; its exit code."""
        self._connection.close()
        self._process.join(_PATIENCE_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        code: int | None = self._process.exitcode
        return code

    def _send(self, content: Any) -> None:
        with suppress(ConnectionError):  # it has ended: whoever reads from it next hears of that
            self._connection.send(content)

    def _received(self, moment: str) -> Any:
        """What the process sends; what it raised is raised here. `WorkerLostError` where it ends at that moment."""
        try:
            answer = self._connection.recv()
        except (EOFError, ConnectionError) as error:
            code = self._end()
            if self._closing.is_set():
                raise WorkerLostError(_CLOSED) from error
            how = "was killed" if code is not None and code < 0 else "ended"
            raise WorkerLostError(f"the process that computes {how} {moment}") from error
        if isinstance(answer, Exception):
            raise answer
        return answer


def _serve(connection: Connection) -> None:
    """Load a session, say what executes it, and answer frames until the connection breaks."""
    ignore_interrupts()
    if threading.current_thread() is threading.main_thread():
        # Whoever ends a whole group of processes means the parent: it finishes what it has taken on first.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        session: Session = connection.recv()()
        connection.send(session.executed)
        inbox = Inbox()
        while True:
            connection.send(_answer(session, inbox.get(connection.recv())))
    except (EOFError, ConnectionError):
        return
    except Exception as error:
        connection.send(portable(error))


def _answer(session: Session, frames: NDArray[np.uint8]) -> Prediction[NDArray[np.float32]] | Exception:
    """The prediction, or what was raised instead."""
    try:
        return session.predict(frames)
    except Exception as error:
        return portable(error)
