"""The server's end: jobs that were taken on are done, and can be asked for, before it stops listening."""

from __future__ import annotations

from time import monotonic
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    from bench.service.state import State


class Server(uvicorn.Server):
    """Told to end, it refuses new work, finishes its jobs and lets their clients ask for them; told twice, it ends.

    It waits no longer than `shutdown_seconds` of the settings for both. Without jobs it ends as uvicorn does: after the
    requests that are under way.
    """

    def __init__(self, config: uvicorn.Config, service: State) -> None:
        super().__init__(config)
        self._service = service
        self._ends_by: float | None = None
        self._signal = 0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called with the signal that tells it to end."""
        if self._ends_by is not None:
            self._stop(sig, frame)
            self.force_exit = True
            return
        self._ends_by, self._signal = monotonic() + self._service.settings.shutdown_seconds, sig
        self._service.admission.ending = True
        if not self._service.jobs.has_waiting:
            self._stop(sig, frame)

    def _stop(self, sig: int, frame: FrameType | None) -> None:
        """Take no more connections; what is under way has the rest of the time."""
        left = (self._ends_by or 0.0) - monotonic()
        self.config.timeout_graceful_shutdown = max(1, round(left))
        super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second."""
        is_late = self._ends_by is not None and monotonic() > self._ends_by
        if self._ends_by is not None and not self.should_exit and (is_late or not self._service.jobs.has_waiting):
            self._stop(self._signal, None)
        return await super().on_tick(counter)
