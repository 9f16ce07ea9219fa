"""Long videos: a job each, one worked on at a time, with progress; results are forgotten after a while."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Literal

from bench.service.answers import JobState, VideoDetection
from bench.service.refusals import RefusedError, as_refusal

if TYPE_CHECKING:
    from bench.service.videos import Shown

State = Literal["queued", "running", "done", "failed", "cancelled"]


@dataclass
class Job:
    """A video that is judged, or was. `shown` are pictures of its frames by their numbers."""

    name: str
    total: int
    done: int = 0
    state: State = "queued"
    detail: str | None = None
    result: VideoDetection | None = None
    shown: dict[int, Shown] = field(default_factory=dict)
    ended_at: float | None = None
    collected: bool = False
    task: asyncio.Task[None] | None = None

    @property
    def ended(self) -> bool:
        return self.state in ("done", "failed", "cancelled")

    @property
    def is_awaited(self) -> bool:
        """Whether it is still worked on, or has just ended and nobody has heard of it yet."""
        if not self.ended or self.ended_at is None:
            return not self.ended
        return not self.collected and monotonic() - self.ended_at < _COLLECTED_WITHIN

    def as_state(self) -> JobState:
        return JobState(
            job=self.name, state=self.state, done=self.done, total=self.total, detail=self.detail, result=self.result
        )


_SHOWN_BYTES, _VIDEOS_AT_ONCE = 256 * 2**20, 2
_COLLECTED_WITHIN = 10.0
"""Seconds that a service that ends leaves for a job's client to ask once more, after the job has ended."""

Work = Callable[[Job], Awaitable[VideoDetection]]


class Jobs:
    """At most `most` jobs that have not ended; those that have are forgotten after `seconds`.

    `at_once` are the turns of videos that are answered at once: each holds several decoded frames.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._most, self._seconds = most, seconds
        self._jobs: dict[str, Job] = {}
        self._turn = asyncio.Lock()
        self.at_once = asyncio.Semaphore(_VIDEOS_AT_ONCE)

    def refuse_more(self) -> None:
        """Raise `RefusedError` where no further job is taken on."""
        if sum(not job.ended for job in self._jobs.values()) >= self._most:
            raise RefusedError(503, f"{self._most} videos wait already; ask again later", 30)

    def start(self, work: Work, total: int, clean_up: Callable[[], None]) -> Job:
        """Take on a job, which is done when those before it are. `clean_up` is called at its end, whatever that is."""
        self.refuse_more()
        job = Job(secrets.token_urlsafe(16), total)
        self._jobs[job.name] = job
        job.task = asyncio.create_task(self._run(job, work, clean_up))
        return job

    def find(self, name: str) -> Job:
        """The job; `RefusedError` where there is none, or none any more."""
        if name not in self._jobs:
            raise RefusedError(404, "there is no such job; those that ended are forgotten after a while")
        return self._jobs[name]

    @property
    def has_waiting(self) -> bool:
        """Whether any is worked on, waits, or has just ended and was not asked for since."""
        return any(job.is_awaited for job in self._jobs.values())

    async def cancel(self, name: str) -> None:
        """End a job and forget it."""
        job = self.find(name)
        del self._jobs[name]
        await _stop(job)

    async def close(self) -> None:
        """Cancel what has not ended."""
        for job in list(self._jobs.values()):
            await _stop(job)

    async def _run(self, job: Job, work: Work, clean_up: Callable[[], None]) -> None:
        """Wait for the job's turn, do it, and note how it ended."""
        try:
            async with self._turn:
                job.state = "running"
                job.result = await work(job)
                job.state = "done"
        except asyncio.CancelledError:
            job.state = "cancelled"
        except Exception as error:
            job.state, job.detail = "failed", as_refusal(error, "a video").detail
        finally:
            job.ended_at = monotonic()
            self._forget_pictures()
            clean_up()
            asyncio.get_running_loop().call_later(self._seconds, self._jobs.pop, job.name, None)

    def _forget_pictures(self) -> None:
        """Keep no more pictures of ended jobs than fit into memory, the latest first; their numbers stay."""
        left = _SHOWN_BYTES
        ended = [job for job in self._jobs.values() if job.ended]
        for job in sorted(ended, key=lambda job: job.ended_at or monotonic(), reverse=True):
            left -= sum(len(shown.jpeg) for shown in job.shown.values())
            if left < 0:
                job.shown.clear()


async def _stop(job: Job) -> None:
    if job.task is not None and not job.task.done():
        job.task.cancel()
        await asyncio.wait([job.task])
        job.state = "cancelled"
