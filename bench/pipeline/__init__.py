"""The whole program on one screen: prepare, search, build, evaluate, time, render, track.

Parts of the third stage may have been evaluated by other processes: see `sharding`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.experiment import Experiments, select
from bench.pipeline import journal
from bench.pipeline.announce import announced, check_folders, warn_of_another_run
from bench.pipeline.build import build_variants
from bench.pipeline.evaluate import evaluate_variants
from bench.pipeline.finished import Finished
from bench.pipeline.log_runs import HandOver, track, warn_of_silence
from bench.pipeline.prepare import prepare
from bench.pipeline.prepared import Timing
from bench.pipeline.readings import with_warnings
from bench.pipeline.render import render_variants
from bench.pipeline.search import search_variants
from bench.pipeline.sharding import joining, local, part, sharing
from bench.pipeline.sharding.executor import Executor
from bench.pipeline.time import time_variants
from bench.records import OnEvent, silent
from bench.remote import reading

__all__ = ["Finished", "run"]


def run(  # noqa: PLR0913 - what a run is asked for, each by its name
    experiments: Experiments,
    path: Path,
    name: str | None = None,
    *,
    only: Sequence[str] = (),
    device: str | None = None,
    timing: Timing = "due",
    merging: bool = False,
    store: str | None = None,
    executor: Executor = local,
    hand_over: HandOver | None = None,
    on_event: OnEvent = silent,
) -> Finished:
    """Build the variants that are missing, evaluate and time them, and render the report.

    `path` is the experiment file; all folders are relative to it. `only` names the variants to run beside the
    baseline, `device` overrides the file's, `timing` says which variants are timed. With `merging`, all
    shards must have been evaluated already; with `store` too, they are fetched from that address, and results put
    there. `executor` builds and evaluates before this process does what is left.
    `hand_over` writes the chosen variant for the registry of a tracker; without it, none is registered.
    Raises `UserError` for bad input.
    """
    name, _ = select(experiments, name, path)
    results = path.parent / "results" / name
    check_folders(path.parent, name)
    with (
        journal.recording(results, on_event) as log,
        reading(f"running {name}"),
        sharing.merging(store, path.parent, name, log),
    ):
        warn_of_another_run(results, log)
        prepared = prepare(experiments, path, name, only=only, device=device, timing=timing, for_run=True, on_event=log)
        prepared = with_warnings(prepared, log)
        warn_of_silence(prepared, log)
        called = part.called(name, store)
        parts = joining.refuse_incomplete(prepared, called) if merging else []
        with announced(prepared, log) as progress:
            prepared = search_variants(prepared, progress)
            executor.build(prepared, progress)
            built = build_variants(prepared, progress)
            failed = joining.failures(prepared, built, parts, called) | executor.fill(prepared, built, progress)
            evaluated = evaluate_variants(prepared, built, progress, failed)
            joining.finish(prepared, evaluated, progress)
            timed = time_variants(prepared, evaluated, progress)
            finished = render_variants(prepared, timed, progress)
            track(prepared, finished, hand_over, progress)
        log.ended(finished.ending)  # before the log goes to the store
    return replace(finished, log=log.path)
