"""Second and third stage: build the variants, evaluate and time them; what fails does not stop the others."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from bench import datasets, locks, phases, runtimes
from bench.errors import UserError
from bench.files import stops_all
from bench.pipeline import fidelity
from bench.pipeline.plan import Plan
from bench.provenance import cuda_devices, digest, machine, versions
from bench.records import (
    LABELLED_SPLITS,
    BatchReader,
    Built,
    Event,
    Executed,
    OnEvent,
)
from bench.results import predict, store, timing
from bench.variants import build

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TIMED_FRAMES = 16
LOADING = "exporting and loading"
_MOST_REASON = 2_000

Executable: TypeAlias = tuple[str, str]
"""An artifact's id and the runtime that executes it."""


def build_variants(plan: Plan, on_event: OnEvent) -> tuple[dict[str, Built], dict[str, str]]:
    """The artifacts of all variants, and for those that could not be built the reason.

    While another process builds one of them, the others are built here.
    """
    shop = workshop(plan, on_event)
    built: dict[str, Built] = {}
    failed: dict[str, str] = {}

    def make(name: str) -> None:
        chain = plan.chains[name]
        if name not in plan.wanted and not build.is_built(shop.folder, build.ids(plan.source, chain, shop)[-1]):
            return
        try:
            built[name] = build.build(name, plan.source, chain, shop, waits=False)
        except locks.TakenError:
            raise
        except Exception as error:
            # Weights that cannot be used are bad input; a step that fails is that variant's outcome.
            if not chain:
                raise
            failed[name] = _reason(f"building {name}", error)

    locks.each(plan.chains, make, on_event, build.WHY_WAIT)
    return {name: built[name] for name in plan.chains if name in built}, failed


def workshop(plan: Plan, on_event: OnEvent) -> build.Workshop:
    """Where and with what the variants of a plan are built."""
    return build.Workshop(
        folder=plan.base / "variants",
        frames=plan.frames,
        read=_reader(plan.threads),
        decoder=_decoder(),
        device=plan.device,
        threads=plan.threads,
        seed=plan.settings.seed,
        on_event=on_event,
        experiment=plan.name,
    )


def _decoder() -> dict[str, str]:
    """What turns files into pixels, for ids and keys."""
    return {"version": str(datasets.VERSION), **versions(datasets.LIBRARIES)}


def _reason(doing: str, error: Exception) -> str:
    """What the report says of a failure; the traceback goes into the run's log, for whoever mends it."""
    if stops_all(error):
        raise error
    # Some compilers' errors are files of their own; the log has them whole.
    text = str(error).strip().replace("\0", "")[:_MOST_REASON] or type(error).__name__
    if isinstance(error, UserError):
        logging.getLogger("bench").error("%s failed: %s", doing, text)
        return text
    logging.getLogger("bench").error("%s failed", doing, exc_info=error)
    return f"{type(error).__name__}: {text}"


@dataclass(frozen=True)
class Job:
    """A built variant with the runtime that will execute it, and the keys of what that gives."""

    built: Built
    runtime: str
    folder: Path
    predictions_key: str
    timing_key: str

    @property
    def executable(self) -> Executable:
        return self.built.id, self.runtime


def settle_variants(plan: Plan, built: Mapping[str, Built], on_event: OnEvent) -> dict[str, str]:
    """Have kernels chosen on this processor where that was not done yet; for what fails at it, the reason."""
    failed: dict[str, str] = {}
    for name, artifact in built.items():
        if name not in plan.wanted:
            continue
        try:
            fidelity.settle(plan, artifact, on_event)
        except Exception as error:
            failed[name] = _reason(f"choosing kernels for {name}", error)
    return failed


def evaluate_variants(
    plan: Plan, built: Mapping[str, Built], failed: dict[str, str], on_event: OnEvent
) -> tuple[dict[str, Job], dict[str, str]]:
    """Evaluate every variant that has no results yet; returned is also what failed so far, and why."""
    jobs = {name: _job(plan, name, artifact) for name, artifact in built.items()}
    unpredicted = {n: job for n, job in jobs.items() if not predict.is_done(job.folder, job.predictions_key)}
    untimed = _untimed(plan, jobs)
    unchecked = {n: job for n, job in jobs.items() if fidelity.is_due(plan, job.built, job.runtime)}
    unknown = {n: job for n, job in jobs.items() if executed(job) is None}
    # Of the variants that were not asked for, those are shown whose results are there, their fidelity too.
    for name in (unpredicted.keys() | unchecked.keys() | unknown.keys()) - plan.wanted:
        for some in (jobs, unpredicted, unchecked, unknown):
            some.pop(name, None)
    baseline = jobs[next(iter(plan.chains))].built
    due = {n: job for n, job in (unpredicted | untimed | unchecked | unknown).items() if n not in failed}
    wanted = {job.executable: job.built for job in due.values()}
    # A speed-up is against the baseline in the same runtime, timed in the same session.
    wanted |= {(baseline.id, job.runtime): baseline for job in untimed.values()}
    sessions, problems = _open(wanted, _names(jobs), plan, on_event)
    failed = failed | {n: problems[job.executable] for n, job in jobs.items() if job.executable in problems}
    failed |= _predict(plan, {n: job for n, job in unpredicted.items() if n not in failed}, sessions, on_event)
    for job in (job for n, job in unknown.items() if n not in failed and executed(job) is None):
        predict.write_executed(job.folder, sessions[job.executable].executed)
    return jobs, failed


def _untimed(plan: Plan, jobs: Mapping[str, Job]) -> dict[str, Job]:
    """What is to be timed."""
    return {n: job for n, job in jobs.items() if n in plan.wanted and is_time_due(plan, job.folder, job.timing_key)}


def executed(job: Job) -> Executed | None:
    """What executes a variant, as far as it was timed or evaluated."""
    timed = store.read_timed(job.folder, job.timing_key)
    return timed.executed if timed else predict.read_executed(job.folder, job.predictions_key)


def _job(plan: Plan, name: str, built: Built) -> Job:
    runtime, predictions_key, timing_key = keys(plan, built.id, built.kind, built)
    return Job(built, runtime, plan.results / name, predictions_key, timing_key)


def keys(plan: Plan, variant: str, kind: str, built: Built | None = None) -> tuple[str, str, str]:
    """For an artifact's id and kind: the runtime that executes it, the keys of its predictions and of its times.

    `built` is the artifact where it is there.
    """
    runtime, predictions, times = inputs(plan, variant, kind, built)
    return runtime, digest(predictions), digest(times)


def inputs(
    plan: Plan, variant: str, kind: str, built: Built | None = None
) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The runtime, and what the two keys are the digests of, as JSON values."""
    runtime = runtimes.choose(plan.settings.runtime, kind, plan.device)
    by = runtimes.find(runtime)
    executed: dict[str, Any] = {
        "variant": variant,
        "spec": asdict(plan.spec),
        "runtime": runtime,
        "device": plan.device,
        "libraries": versions(by.LIBRARIES),
        "versions": dict(by.VERSIONS),
        "decoded by": _decoder(),
    }
    if plan.device == "cuda":
        # Which kernels there are, and whether TF32 is among them, is a matter of the GPU's model.
        executed |= {"tf32": plan.settings.tf32, "gpu": cuda_devices()[:1]}
    if built is not None:
        # The same id may be built again to other bits, where another number of threads was free.
        executed["content"] = built.digest
        if (arithmetic := fidelity.arithmetic(plan, built, runtime)) is not None:
            executed["arithmetic"] = arithmetic
    labelled = {split: plan.frames[split].digest for split in LABELLED_SPLITS if split in plan.frames}
    timed = {
        "version": timing.VERSIONS[plan.device],
        "machine": machine(),
        "threads": plan.threads,
        "seconds": plan.settings.timing.seconds,
    }
    return runtime, {**executed, "frames": labelled}, executed | timed


def is_timed(folder: Path, key: str) -> bool:
    """Without the baseline beside it, a time compares with nothing: it is taken again."""
    timed = store.read_timed(folder, key)
    return timed is not None and len(timed.baseline) > 0


def is_time_due(plan: Plan, folder: Path, key: str) -> bool:
    """Whether this run times a variant anyway, or since that was not done yet."""
    return plan.timing == "again" or (plan.timing == "due" and not is_timed(folder, key))


def _names(jobs: Mapping[str, Job]) -> dict[str, str]:
    """By artifact, what the first variant that it belongs to is called."""
    return {job.built.id: name for name, job in reversed(list(jobs.items()))}


def _open(
    wanted: Mapping[Executable, Built], names: Mapping[str, str], plan: Plan, on_event: OnEvent
) -> tuple[dict[Executable, runtimes.Session], dict[Executable, str]]:
    """Load artifacts; for those that cannot be loaded, the reason."""
    sessions: dict[Executable, runtimes.Session] = {}
    problems: dict[Executable, str] = {}
    for done, (key, built) in enumerate(wanted.items()):
        on_event(Event(LOADING, done, len(wanted), "variants", f"{names[key[0]]}: loading"))
        lock, doing = build.lock_file(plan.base / "variants", built.id), f"exporting {built.id} of {plan.name}"
        try:
            # What a runtime exports beside an artifact, it exports once: another run waits for it here.
            with (
                phases.of(LOADING, on_event, names[key[0]]),
                locks.held(lock, doing, on_event, folder=plan.base, why=build.WHY_WAIT),
            ):
                build.check(built)
                fidelity.refuse_unsettled(built, key[1], plan.device)
                sessions[key] = runtimes.find(key[1]).load(built, plan.device, plan.threads, tf32=plan.settings.tf32)
                _check_fidelity(plan, built, key[1], sessions[key], on_event)
        except Exception as error:
            problems[key] = _reason(f"loading {key[0]} into {key[1]}", error)
        on_event(Event(LOADING, done + 1, len(wanted), "variants"))
    return sessions, problems


def _check_fidelity(plan: Plan, built: Built, runtime: str, session: runtimes.Session, on_event: OnEvent) -> None:
    """Scores are worth having where this fails; the report says that it did, the run's log why."""
    try:
        fidelity.check(plan, built, runtime, session, on_event)
    except Exception as error:
        _reason(f"comparing {built.id} in {runtime} with its own graph", error)


def _predict(
    plan: Plan, jobs: Mapping[str, Job], sessions: Mapping[Executable, runtimes.Session], on_event: OnEvent
) -> dict[str, str]:
    """Evaluate variants, every frame decoded once; for those that fail, the reason."""
    if not jobs:
        return {}
    pending = [
        predict.Pending(name, job.predictions_key, job.folder, sessions[job.executable]) for name, job in jobs.items()
    ]
    splits = [plan.frames[split] for split in LABELLED_SPLITS if split in plan.frames]
    rows = [predict.Labelled(frames.split, frame) for frames in splits for frame in frames.frames]
    problems = predict.predict(pending, rows, plan.spec, _reader(plan.threads), on_event)
    return {name: _reason(f"evaluating {name}", error) for name, error in problems.items()}


def time_variants(plan: Plan, jobs: Mapping[str, Job], failed: dict[str, str], on_event: OnEvent) -> dict[str, str]:
    """Time what is to be timed and the baseline beside it in one session, and store the samples.

    Returned is what failed so far. Nobody who only evaluates or renders has to wait meanwhile: results are
    held where they are read and written alone.
    """
    if not _untimed(plan, {n: job for n, job in jobs.items() if n not in failed}):
        return failed
    doing = f"timing {plan.name}"
    lock = plan.base / "variants" / build.LOCKS / "timing.lock"
    # A team shares the folder, and the machine-wide lock is each user's own.
    with locks.held(lock, doing, on_event, folder=plan.base, why=fidelity.WHY_WAIT):
        with store.locked(plan.results, doing, on_event):
            # Another run may have timed some while this one waited.
            untimed = _untimed(plan, {n: job for n, job in jobs.items() if n not in failed})
            baseline = jobs[next(iter(plan.chains))].built.id
            if not untimed:
                return failed
            subjects, batch = _subjects(plan, jobs, untimed, baseline)
        with fidelity.alone(plan, doing, on_event):
            session = timing.measure(subjects, batch, plan.settings.timing.seconds, on_event)
        with store.locked(plan.results, doing, on_event):
            for job in untimed.values():
                if found := session.found.get(job.executable):
                    beside = session.found.get((baseline, job.runtime))
                    timed = store.Timed(
                        found.executed, found.measurements, beside.measurements if beside else (), session.conditions
                    )
                    store.write_timed(job.folder, job.timing_key, timed)
    return failed | {
        name: _reason(f"timing {name}", session.failed[job.executable])
        for name, job in untimed.items()
        if job.executable in session.failed
    }


def _subjects(
    plan: Plan, jobs: Mapping[str, Job], untimed: Mapping[str, Job], baseline: str
) -> tuple[dict[Executable, timing.Subject], NDArray[np.uint8]]:
    """What is timed side by side, the baseline first, and the frames that it is timed with."""
    places = plan.frames["test"].spread(TIMED_FRAMES)
    frames = [plan.frames["test"].frames[place] for place in places]
    names = _names(jobs)
    predicted = {job.built.id: job for job in jobs.values() if predict.is_done(job.folder, job.predictions_key)}
    runtimes_used = {job.runtime for job in untimed.values()}
    wanted = {job.executable for job in untimed.values()} | {(baseline, runtime) for runtime in runtimes_used}
    subjects = {
        (variant, runtime): timing.Subject(
            partial(
                runtimes.find(runtime).load,
                predicted[variant].built,
                plan.device,
                plan.threads,
                tf32=plan.settings.tf32,
            ),
            store.read_logits(predicted[variant].folder)[places],
            names[variant],
        )
        for variant, runtime in sorted(wanted, key=lambda one: one[0] != baseline)
        if variant in predicted
    }
    return subjects, next(_reader(plan.threads)(frames, plan.spec, len(frames)))


def refuse_changed(plan: Plan, jobs: Mapping[str, Job], failed: Mapping[str, str]) -> None:
    """Raise `UserError` where another run, of other settings, has put its results in the place of these meanwhile."""
    for name, job in jobs.items():
        there = predict.is_done(job.folder, job.predictions_key) and executed(job) is not None
        is_to_be_timed = name in plan.wanted and plan.timing != "none"
        there &= not is_to_be_timed or store.read_timed(job.folder, job.timing_key) is not None
        if name not in failed and not there:
            raise UserError(
                f"{job.folder}: another run, with other settings, frames or weights, wrote its results here while this "
                "one took times: run the same command again when that one is done"
            )


def _reader(threads: int) -> BatchReader:
    return partial(datasets.read_batches, threads=threads)
