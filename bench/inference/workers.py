"""A variant that computes in a process of its own: whatever ends that process, its caller goes on, and so does it.

A network's runtime is native code, which can end its process (a kernel that crashes, a system that is short of memory).
A service must not end with it.
"""

from __future__ import annotations

import atexit
import logging
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
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


class WorkerLostError(RuntimeError):
    """The process that computes ended before it answered, or could not be started again."""


class WorkerSession:
    """A session that `load` opens in a process of its own. Its calls come from one thread at a time.

    Where the process ends during a call, that call raises `WorkerLostError`, and a new process is started at once.
    `restarts` counts these. `close` ends it.
    """

    def __init__(self, load: Callable[[], Session], name: str) -> None:
        """Start the process and wait until it has loaded. Raises what `load` raises, or `WorkerLostError`."""
        self.restarts = 0
        self._load, self._name, self._closed = load, name, False
        self._outbox = Outbox()
        self._begin()
        # Before multiprocessing ends its processes with a signal that this one ignores, and waits for them.
        atexit.register(self.close)
        try:
            self.executed: Executed = self._received()
        except (EOFError, ConnectionError) as error:
            raise WorkerLostError(_sentence(self._end(), was_loading=True)) from error
        self._is_loading = False

    @property
    def works(self) -> bool:
        """Whether the process runs, or is loading."""
        return bool(self._process.is_alive())

    @property
    def process_id(self) -> int:
        return int(self._process.pid)

    def predict(self, frames: NDArray[np.uint8]) -> Prediction[NDArray[np.float32]]:
        """The prediction of uint8 RGB frames [n, 3, H, W]. Raises what the session raises, or `WorkerLostError`."""
        if not self.works:
            # It ended while it had nothing to do: nothing is lost with it.
            self._again()
        try:
            if self._is_loading:
                self._wait_for_loading()
            self._connection.send(self._outbox.put(frames))
            answer: Prediction[NDArray[np.float32]] = self._received()
        except (EOFError, ConnectionError) as error:
            was_loading = self._is_loading
            code = self._again()
            raise WorkerLostError(f"{_sentence(code, was_loading=was_loading)}, and is started again") from error
        return answer

    def predict_timed(self, frames: NDArray[np.uint8]) -> Timed:
        """The same; the time of a device is not taken in another process."""
        return Timed(self.predict(frames), None)

    def close(self) -> None:
        """End the process. May be called again."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        self._end()
        self._outbox.close()

    def _begin(self) -> None:
        """Start a process, which loads while this one goes on."""
        self._process, self._connection = worker_processes.start(_serve)
        self._is_loading = True
        with suppress(ConnectionError):  # it has ended: whoever reads from it next hears of that
            self._connection.send(self._load)

    def _wait_for_loading(self) -> None:
        """Return once a process that was started again has loaded."""
        try:
            self.executed, self._is_loading = self._received(), False
        except (EOFError, ConnectionError):
            raise
        except Exception as error:
            _log.error("%s: its process could not be started again", self._name, exc_info=error)
            raise WorkerLostError("the process that computes could not be started again") from error

    def _again(self) -> int | None:
        """Start a new process in place of one that has ended; the exit code of that."""
        code = self._end()
        _log.error("%s: its process ended (exit code %s); it is started again", self._name, code)
        self.restarts += 1
        self._begin()
        return code

    def _end(self) -> int | None:
        self._connection.close()
        self._process.join(_PATIENCE_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        code: int | None = self._process.exitcode
        return code

    def _received(self) -> Any:
        """What the process sends; what it raised is raised here."""
        answer = self._connection.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer


def _sentence(code: int | None, *, was_loading: bool) -> str:
    how = "was killed" if code is not None and code < 0 else "ended"
    what = "before it was ready" if was_loading else "before it answered"
    return f"the process that computes {how} {what}"


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
