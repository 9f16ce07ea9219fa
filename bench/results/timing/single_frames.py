"""Times of single frames, of a few variants in turns: what a search for the fastest compares."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from bench.records import Event, OnEvent
from bench.results import timing
from bench.results.timing import ROUNDS, WORK, Key, Process, Subject
from bench.results.timing.worker import give_back_memory


def single_frames(subjects: Mapping[Key, Subject], seconds: float, on_event: OnEvent) -> dict[Key, tuple[float, ...]]:
    """Of each subject the median milliseconds of a call with one frame, round by round; `seconds` of calls each.

    Each is in a process of its own, and they take turns. Raises what a subject fails with.
    """
    running: dict[Key, Process] = {}
    turns, done = len(subjects) * (ROUNDS + 1), 0
    give_back_memory()

    def tell(subject: Subject, doing: str) -> None:
        on_event(Event(WORK, done, turns, "turns", f"{subject.name}: {doing}"))

    try:
        for key, subject in subjects.items():
            tell(subject, "loading")
            running[key] = timing.start()
            running[key].load(subject)
            running[key].begin(1)
            done += 1
        for _ in range(ROUNDS):
            for key, subject in subjects.items():
                tell(subject, "timing")
                running[key].time_calls(seconds / ROUNDS, subject.logits)
                done += 1
    finally:
        for process in running.values():
            process.end()
    on_event(Event(WORK, turns, turns, "turns"))
    return {key: tuple(median(samples) for samples in run.measurements[-1].rounds_ms) for key, run in running.items()}


def speedup(baseline: tuple[float, ...], variant: tuple[float, ...]) -> float:
    """How many times as fast as the baseline a variant is: the median over the rounds that they took turns in."""
    return median(before / after for before, after in zip(baseline, variant, strict=True))
