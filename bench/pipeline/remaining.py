"""How long a run will still take: the estimate, corrected by how long the work so far took."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.pipeline import calibration_shift, degrade, evaluate, fidelity, occlude, render
from bench.pipeline.forecast import Stage
from bench.records import Event, OnEvent
from bench.results import predict, timing

# What events call the work of a stage begins with one of these.
_TITLES = {
    "load": (*fidelity.WORKS, calibration_shift.WORK, evaluate.LOADING),
    "time": (timing.WORK,),
    "report": (render.WORK,),
}
_DOUBT = 0.1
"""The correction is a ratio of times taken and foreseen; this share of the estimate is added to both, against noise."""
_LEAST_FACTOR, _MOST_FACTOR = 0.25, 6.0
_LEAST_LEFT = 0.1
"""The share of its estimate that a piece of work has left at least, however long it takes already."""


@dataclass
class _Task:
    """A piece of work: how the `work` of its events begins, and the seconds that were foreseen for it."""

    titles: tuple[str, ...]
    foreseen_s: float


class Remaining:
    """Passes events on with the seconds that are left, `left_s`, by the stages that a run has to do."""

    def __init__(self, stages: Sequence[Stage], on_event: OnEvent) -> None:
        self._on_event = on_event
        # Where a stage cannot be foreseen, nor can the whole: then no time is given.
        foreseen = not any(stage.estimate.unknown for stage in stages)
        self._tasks = [task for stage in stages for task in _tasks(stage)] if foreseen else []
        self._foreseen_s = sum(task.foreseen_s for task in self._tasks)
        self._at, self._began = -1, time.monotonic()
        self._waits_since = self._began
        self._done_s = self._took_s = 0.0

    def __call__(self, event: Event) -> None:
        # Without a foreseen duration, there is nothing to scale.
        if event.is_message or not self._foreseen_s:
            return self._on_event(event)
        if event.is_wait:
            return self._wait(event)
        self._go_to(event)
        self._on_event(replace(event, left_s=self._left_s(event)))

    def _wait(self, event: Event) -> None:
        """Pass a wait on without an estimate, and leave its time out of what the current task took."""
        if event.is_whole:
            self._began += time.monotonic() - self._waits_since
        else:
            self._waits_since = time.monotonic()
        self._on_event(event)

    def _go_to(self, event: Event) -> None:
        """Make the task that an event belongs to the current one; tasks come in their order."""
        ahead = (i for i in range(max(self._at, 0), len(self._tasks)) if event.work.startswith(self._tasks[i].titles))
        index = next(ahead, self._at)
        if index == self._at:
            return
        now = time.monotonic()
        if self._at >= 0:
            self._done_s += self._tasks[self._at].foreseen_s
            self._took_s += now - self._began
        self._at, self._began = index, now

    def _left_s(self, event: Event) -> float:
        """Seconds left: what was foreseen, scaled by how much longer the work so far took than was foreseen of it."""
        after = sum(task.foreseen_s for task in self._tasks[self._at + 1 :])
        if self._at < 0:
            return after
        task, elapsed = self._tasks[self._at], time.monotonic() - self._began
        # What already takes longer than was foreseen is known to be slow before it ends.
        overrun = elapsed > task.foreseen_s
        done_s = self._done_s + (task.foreseen_s if overrun else 0.0)
        took_s = self._took_s + (elapsed if overrun else 0.0)
        doubt = _DOUBT * self._foreseen_s
        factor = min(max((took_s + doubt) / (done_s + doubt), _LEAST_FACTOR), _MOST_FACTOR)
        left_s = max(task.foreseen_s * factor - elapsed, task.foreseen_s * _LEAST_LEFT)
        if event.total > 1 and event.done and _counts_all(event):
            share = event.done / event.total
            # Believed by as much as is done: at this pace, the rest takes `elapsed / share * (1 - share)`.
            left_s = (1 - share) * left_s + (1 - share) * elapsed
        return left_s + after * factor


def _counts_all(event: Event) -> bool:
    """Whether an event counts the whole of its task, not a part of it."""
    return event.work.startswith((predict.WORK, degrade.WORK, occlude.WORK, timing.WORK))


def _tasks(stage: Stage) -> list[_Task]:
    if stage.parts:
        return [_Task((title,), _likely_s(estimate.low_s, estimate.high_s)) for title, estimate in stage.parts]
    if stage.work and stage.name in _TITLES:
        return [_Task(_TITLES[stage.name], _likely_s(stage.estimate.low_s, stage.estimate.high_s))]
    return []


def _likely_s(low_s: float, high_s: float) -> float:
    return math.sqrt(low_s * high_s)
