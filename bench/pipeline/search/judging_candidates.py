"""What a candidate of a search comes to: its answers for validation frames, and its time with one frame."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from bench import datasets, locks, runtimes
from bench.pipeline import fidelity
from bench.pipeline.jobs import keys
from bench.pipeline.prepared import Setup
from bench.pipeline.search import trails
from bench.records import Built, OnEvent, Session
from bench.results import predict, store
from bench.variants import cache

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TIMED_FRAMES = 16
WORK = "judging on validation frames:"


def answers(setup: Setup, variant: str, built: Built, on_event: OnEvent) -> NDArray[np.float32]:
    """The logits [n, 2] of an artifact for the validation frames, kept beside the trail of the search for `variant`."""
    fidelity.settle(setup, built, on_event)
    held_out = replace(setup, frames={"validation": setup.frames["validation"]})
    runtime, key, _ = keys(held_out, built.id, built.kind, built)
    folder = trails.folder_of(setup, variant) / built.id
    if not predict.is_done(folder, key):
        title = setup.title(variant)
        pending = predict.Pending(title, key, folder, _loaded(setup, built, runtime, on_event), setup.spec, maps=False)
        rows = [predict.FrameRow("validation", frame) for frame in setup.frames["validation"].frames]
        read = partial(datasets.read_for_each, threads=setup.threads)
        for problem in predict.predict([pending], rows, read, on_event, WORK).values():
            raise problem
    return store.read_logits(folder)


def _loaded(setup: Setup, built: Built, runtime: str, on_event: OnEvent) -> Session:
    """What is exported beside an artifact is exported once: another run waits for it at the artifact's lock."""
    lock, doing = cache.lock_file(setup.variants, built.id), f"exporting {built.id} of {setup.name}"
    with locks.held(lock, doing, on_event, folder=setup.base, why=cache.WHY_WAIT):
        cache.check(built)
        fidelity.refuse_unsettled(built, runtime, setup.device)
        return runtimes.find(runtime).load(built, setup.device, setup.threads, tf32=setup.settings.tf32)


def speedup(setup: Setup, variant: str, baseline: Built, built: Built, on_event: OnEvent) -> float:
    """How many times as fast as the baseline an artifact is with one frame: both in turns, in its runtime."""
    from bench.results import timing
    from bench.results.timing import single_frames

    validation = setup.frames["validation"]
    indices = validation.sample_evenly(TIMED_FRAMES)
    frames = next(setup.read([validation.frames[index] for index in indices], setup.spec, len(indices)))
    runtime = runtimes.choose(setup.settings.runtime, built.kind, setup.device)
    subjects = {}
    for each, name in ((baseline, setup.title(setup.baseline)), (built, setup.title(variant))):
        load = partial(runtimes.find(runtime).load, each, setup.device, setup.threads, tf32=setup.settings.tf32)
        logits = answers(setup, variant, each, on_event)[indices]
        subjects[each.id] = timing.Subject(load, logits, frames, name)
    with fidelity.alone(setup, f"timing {setup.title(variant)}", on_event):
        times = single_frames.single_frames(subjects, setup.settings.timing.seconds, on_event)
    return single_frames.speedup(times[baseline.id], times[built.id])
