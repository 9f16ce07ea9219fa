"""What a quantised artifact needs once on a processor: kernels chosen, and its runtime compared with its graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import datasets, locks, phases, runtimes
from bench.artifacts import onnx_files
from bench.errors import UserError
from bench.pipeline.prepared import Setup
from bench.provenance import cuda_devices, cuda_version, digest, versions
from bench.records import Built, Event, Fidelity, OnEvent, Session, Split, evenly
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


def settle(setup: Setup, built: Built, on_event: OnEvent) -> None:
    """Have the runtime of an artifact choose, once on this processor, how it is executed."""
    runtime: Any = runtimes.find(runtimes.choose(setup.settings.runtime, built.kind, setup.device))
    if not hasattr(runtime, "settle") or runtime.is_settled(built, setup.device):
        return
    title = SETTLING
    on_event(Event(title, 0, 1, "variants", "preparing"))
    doing = f"{title} for {built.id} of {setup.name}"
    lock = cache.lock_file(setup.variants, built.id)
    artifact = locks.held(lock, doing, on_event, folder=setup.base, why=cache.WHY_WAIT)
    try:
        with artifact, alone(setup, doing, on_event):
            cache.check(built)
            with phases.of(title, on_event):
                runtime.settle(built, setup.device, setup.threads)
    except Exception:
        on_event(Event(title, 1, 1, "variants", Event.FAILED))
        raise
    on_event(Event(title, 1, 1, "variants"))


@contextmanager
def alone(setup: Setup, doing: str, on_event: OnEvent) -> Iterator[None]:
    """Inside, no other process of this user times anything on this machine: two would slow each other down.

    A run without timing does not wait for one that times.
    """
    lock, waits = locks.machine_wide("timing"), setup.timing != "none"
    with ExitStack() as stack:
        with suppress(locks.TakenError):
            stack.enter_context(locks.held(lock, doing, on_event, folder=setup.base, why=WHY_WAIT, waits=waits))
        yield


def refuse_unsettled(built: Built, name: str, device: runtimes.Device) -> None:
    """Raise `UserError` where the choice of kernels is gone: other kernels would run than the results' key says."""
    runtime: Any = runtimes.find(name)
    if hasattr(runtime, "is_settled") and not runtime.is_settled(built, device):
        raise UserError(f"{built.file.parent}: the choice of kernels is gone; the same `bench run` makes it again")


def arithmetic(setup: Setup, built: Built, runtime: str) -> Mapping[str, Any] | None:
    """What an artifact's scores depend on of the processor, for the keys of its results; None where on nothing."""
    describe = getattr(runtimes.find(runtime), "arithmetic", None)
    chosen: Mapping[str, Any] | None = describe(built, setup.device) if describe else None
    return chosen


def read(setup: Setup, built: Built, runtime: str) -> Fidelity | None:
    """The measured fidelity of a quantised artifact in a runtime on this machine; None where it was not measured."""
    return fidelity.read(_file(setup, built, runtime)) if built.quantised else None


def is_due(setup: Setup, built: Built, runtime: str) -> bool:
    """Whether an artifact is quantised, and its fidelity in this runtime was not measured on this machine yet."""
    return built.quantised and read(setup, built, runtime) is None


def check(setup: Setup, built: Built, runtime: str, session: Session, on_event: OnEvent) -> None:
    """Measure a quantised artifact's fidelity in a loaded session, once, and keep it beside the artifact."""
    if not is_due(setup, built, runtime):
        return
    split = _split(setup)
    reference = onnxruntime.load_reference(built, setup.threads)
    measured = fidelity.measure(session, reference, _batches(setup, split, on_event), split)
    fidelity.write(_file(setup, built, runtime), measured)


def _split(setup: Setup) -> Split:
    return "calibration" if "calibration" in setup.frames else "test"


def _batches(setup: Setup, split: Split, on_event: OnEvent) -> Iterator[NDArray[np.uint8]]:
    frames = setup.frames[split]
    sample = [frames.distinct[index] for index in evenly(len(frames.distinct), fidelity.FRAMES)]
    event = partial(Event, COMPARING, total=len(sample))
    done = 0
    for batch in datasets.read_batches(sample, setup.spec, BATCH, threads=setup.threads):
        on_event(event(done=done))
        yield batch
        done += len(batch)
    on_event(event(done=done))


def _file(setup: Setup, built: Built, runtime: str) -> Path:
    """Where the fidelity of an artifact in a runtime is stored; its name is a digest of what it was measured with."""
    executes = runtimes.find(runtime)
    measured_for: dict[str, Any] = {
        "version": VERSION,
        "runtime": runtime,
        "device": setup.device,
        "hardware": [cuda_devices()[:1], cuda_version()] if setup.device == "cuda" else processor().identity,
        "frames": setup.frames[_split(setup)].digest,
        "libraries": versions({*executes.LIBRARIES, *onnx_files.LIBRARIES}),
        "versions": dict(executes.VERSIONS),
        "arithmetic": arithmetic(setup, built, runtime),
    }
    if setup.device == "cuda":
        measured_for["tf32"] = setup.settings.tf32
    return built.file.with_name(f"{built.file.stem}.fidelity-{digest(measured_for)[:8]}.json")
