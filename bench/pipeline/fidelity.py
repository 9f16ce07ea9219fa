"""What a quantised artifact needs once on a processor: kernels chosen, and its runtime checked against its graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import datasets, locks, phases, runtimes
from bench.artifacts import onnx_files
from bench.errors import UserError
from bench.pipeline.prepare import Plan
from bench.provenance import cuda_devices, cuda_version, digest, versions
from bench.records import Built, Event, Fidelity, OnEvent, Session, Split
from bench.results import fidelity
from bench.runtimes import onnxruntime
from bench.system.processor import processor
from bench.variants import cache

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

VERSION = 2
"""Raised whenever the same artifact in the same runtime would be measured otherwise."""

BATCH = 4
WHY_WAIT = "two runs that time at once would time each other; `--no-timing` does all but timing, without this wait"
WORKS = SETTLING, COMPARING = "choosing the fastest exact kernels", "comparing with the artifact's own graph"


def settle(plan: Plan, built: Built, on_event: OnEvent) -> None:
    """Have the runtime of an artifact choose, once on this processor, how it is executed."""
    runtime: Any = runtimes.find(runtimes.choose(plan.settings.runtime, built.kind, plan.device))
    if not hasattr(runtime, "settle") or runtime.is_settled(built, plan.device):
        return
    title = SETTLING
    on_event(Event(title, 0, 1, "variants", "preparing"))
    doing = f"{title} for {built.id} of {plan.name}"
    lock = cache.lock_file(plan.base / "variants", built.id)
    artifact = locks.held(lock, doing, on_event, folder=plan.base, why=cache.WHY_WAIT)
    try:
        with artifact, alone(plan, doing, on_event):
            cache.check(built)
            with phases.of(title, on_event):
                runtime.settle(built, plan.device, plan.threads)
    except Exception:
        on_event(Event(title, 1, 1, "variants", Event.FAILED))
        raise
    on_event(Event(title, 1, 1, "variants"))


@contextmanager
def alone(plan: Plan, doing: str, on_event: OnEvent) -> Iterator[None]:
    """While this process times something: two that time at once would time each other.

    Who wants no times waits for nobody who takes some.
    """
    lock, waits = locks.machine_wide("timing"), plan.timing != "none"
    with ExitStack() as stack:
        with suppress(locks.TakenError):
            stack.enter_context(locks.held(lock, doing, on_event, folder=plan.base, why=WHY_WAIT, waits=waits))
        yield


def refuse_unsettled(built: Built, name: str, device: runtimes.Device) -> None:
    """Raise `UserError` where what was chosen is gone again: others would run than results are kept for."""
    runtime: Any = runtimes.find(name)
    if hasattr(runtime, "is_settled") and not runtime.is_settled(built, device):
        raise UserError(f"{built.file.parent}: the choice of kernels is gone; the same `bench run` makes it again")


def arithmetic(plan: Plan, built: Built, runtime: str) -> Mapping[str, Any] | None:
    """What of an artifact's scores hangs on the processor, for the keys of its results; None where nothing does."""
    asked = getattr(runtimes.find(runtime), "arithmetic", None)
    answer: Mapping[str, Any] | None = asked(built, plan.device) if asked else None
    return answer


def read(plan: Plan, built: Built, runtime: str) -> Fidelity | None:
    """What was measured of a quantised artifact in a runtime on this machine; None where nothing was."""
    return fidelity.read(_file(plan, built, runtime)) if built.quantised else None


def is_due(plan: Plan, built: Built, runtime: str) -> bool:
    """Whether an artifact is quantised and was not measured in this runtime on this machine yet."""
    return built.quantised and read(plan, built, runtime) is None


def check(plan: Plan, built: Built, runtime: str, session: Session, on_event: OnEvent) -> None:
    """Measure a quantised artifact's fidelity in a loaded session, once, and keep it beside the artifact."""
    if not is_due(plan, built, runtime):
        return
    split = _split(plan)
    reference = onnxruntime.load_reference(built, plan.threads)
    measured = fidelity.measure(session, reference, _batches(plan, split, on_event), split)
    fidelity.write(_file(plan, built, runtime), measured)


def _split(plan: Plan) -> Split:
    return "calibration" if "calibration" in plan.frames else "test"


def _batches(plan: Plan, split: Split, on_event: OnEvent) -> Iterator[NDArray[np.uint8]]:
    frames = plan.frames[split]
    sample = [frames.frames[index] for index in frames.spread(fidelity.FRAMES)]
    event = partial(Event, COMPARING, total=len(sample))
    done = 0
    for batch in datasets.read_batches(sample, plan.spec, BATCH, threads=plan.threads):
        on_event(event(done=done))
        yield batch
        done += len(batch)
    on_event(event(done=done))


def _file(plan: Plan, built: Built, runtime: str) -> Path:
    executes = runtimes.find(runtime)
    measured_for: dict[str, Any] = {
        "version": VERSION,
        "runtime": runtime,
        "device": plan.device,
        "hardware": [cuda_devices()[:1], cuda_version()] if plan.device == "cuda" else processor().identity,
        "frames": plan.frames[_split(plan)].digest,
        "libraries": versions({*executes.LIBRARIES, *onnx_files.LIBRARIES}),
        "versions": dict(executes.VERSIONS),
        "arithmetic": arithmetic(plan, built, runtime),
    }
    if plan.device == "cuda":
        measured_for["tf32"] = plan.settings.tf32
    return built.file.with_name(f"{built.file.stem}.fidelity-{digest(measured_for)[:8]}.json")
