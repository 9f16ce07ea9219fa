"""What an artifact's ranges clip of a frame set: measured once for each of both, and kept beside the artifact."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench import datasets
from bench.artifacts import onnx_files
from bench.pipeline.prepared import Setup
from bench.provenance import digest, versions
from bench.records import Built, CalibrationShift, Clipping, Event, FrameSet, OnEvent, as_inputs, evenly
from bench.results import clipping

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

VERSION = 1
"""Raised whenever the same artifact would clip other shares of the same frames, or another noise would come of it."""

BATCH = 4
WORK = "looking for values outside of calibrated ranges"


def read(setup: Setup, built: Built) -> CalibrationShift | None:
    """What was measured of an artifact on the test frames; None where it was not, or nothing has a fixed range."""
    test = _recalled(setup, built, setup.frames["test"])
    if test is None or test.reason or not test.layers:
        return None
    # Another set may have had it measured; what is said of this one must not hang on that.
    calibration = setup.frames.get("calibration") if clipping.is_noisy(test) else None
    return clipping.shift(test, _recalled(setup, built, calibration) if calibration else None)


def reason(setup: Setup, built: Built) -> str:
    """Why an artifact's ranges can't be looked into; "" where they can, or that was not tried."""
    test = _recalled(setup, built, setup.frames["test"])
    return test.reason if test else ""


def is_due(setup: Setup, built: Built) -> bool:
    """Whether an artifact's activations are integers, and what it clips of these frames was not measured yet."""
    return bool(_due(setup, built))


def check(setup: Setup, built: Built, on_event: OnEvent) -> None:
    """Measure what an artifact clips of the test frames, once; where that matters, of calibration frames too."""
    if not is_due(setup, built):
        return
    from bench.artifacts.unclipped import UnreadableRangesError
    from bench.runtimes.onnxruntime.clipping import load_clipping

    try:
        session = load_clipping(built, setup.threads)
    except UnreadableRangesError as error:
        clipping.write(_file(setup, built, setup.frames["test"]), Clipping(None, None, 0, {}, str(error)))
        return
    for _ in ("test", "calibration"):
        if (frames := _due(setup, built)) is None:
            return
        measured = (
            clipping.measure(session, _batches(setup, frames, on_event)) if session else Clipping(None, None, 0, {})
        )
        clipping.write(_file(setup, built, frames), measured)


def _due(setup: Setup, built: Built) -> FrameSet | None:
    """The frames that are to be looked at next; None where all is known."""
    if built.stored != "int8":
        return None
    test, calibration = setup.frames["test"], setup.frames.get("calibration")
    measured = _recalled(setup, built, test)
    if measured is None:
        return test
    matters = calibration is not None and clipping.is_noisy(measured)
    return calibration if matters and calibration and _recalled(setup, built, calibration) is None else None


def _batches(setup: Setup, frames: FrameSet, on_event: OnEvent) -> Iterator[NDArray[np.uint8]]:
    sample = [frames.distinct[index] for index in evenly(len(frames.distinct), clipping.FRAMES)]
    event, done = partial(Event, WORK, total=len(sample)), 0
    for batch in datasets.read_batches(sample, setup.spec, BATCH, threads=setup.threads):
        on_event(event(done=done))
        yield batch
        done += len(batch)
    on_event(event(done=done))


def _recalled(setup: Setup, built: Built, frames: FrameSet) -> Clipping | None:
    return clipping.read(_file(setup, built, frames)) if built.stored == "int8" else None


def _file(setup: Setup, built: Built, frames: FrameSet) -> Path:
    """Where it is stored what an artifact clips of frames; its name is a digest of what that depends on."""
    measured_for = {
        "version": VERSION,
        "frames": frames.digest,
        "spec": as_inputs(setup.spec),
        "decoded by": datasets.decoder_versions(),
        "libraries": versions(onnx_files.LIBRARIES),
        "content": built.digest,
    }
    return built.file.with_name(f"{built.file.stem}.clipping-{digest(measured_for)[:8]}.json")
