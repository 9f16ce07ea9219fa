"""Calls until a GPU's times settle: its clock rises with work, and libraries choose kernels in the first calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median

ROUND_SECONDS, ROUND_CALLS = 0.1, 5
"""A round lasts so long at least, and has so many calls."""

LONG_ROUND_SECONDS = 1.0
"""A round that has lasted so long ends with fewer calls: those of a large batch are steady by themselves."""

AGREEING_ROUNDS, AGREEMENT = 3, 0.02
"""Times have settled once the medians of so many rounds in a row lie within this share of the least."""

MOST_SECONDS = 5.0


def settle(call: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> bool:
    """Call until the medians of three rounds in a row agree, for five seconds at most; whether they did."""
    until = clock() + MOST_SECONDS
    medians: list[float] = []
    while (seconds := _round(call, clock, until)) is not None:
        medians.append(seconds)
        if has_settled(medians):
            return True
    return False


def has_settled(medians: Sequence[float]) -> bool:
    """Whether the latest medians, seconds a call, agree."""
    latest = medians[-AGREEING_ROUNDS:]
    return len(latest) == AGREEING_ROUNDS and max(latest) <= (1 + AGREEMENT) * min(latest)


def _round(call: Callable[[], object], clock: Callable[[], float], until: float) -> float | None:
    """The median seconds of a round's calls; None where the time is up before it ends."""
    began = now = clock()
    samples: list[float] = []
    while now - began < LONG_ROUND_SECONDS and (now - began < ROUND_SECONDS or len(samples) < ROUND_CALLS):
        if now >= until:
            return None
        call()
        before, now = now, clock()
        samples.append(now - before)
    return median(samples)
