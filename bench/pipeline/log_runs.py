"""Last stage: log what a run came to in the trackers of the experiment. Nothing that goes wrong here fails the run."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from bench import stored, tracking
from bench.artifacts.onnx_tensors import inputs_and_outputs
from bench.errors import Keys, UserError, shown
from bench.experiment import ExperimentSettings
from bench.pipeline.finished import Finished
from bench.pipeline.prepared import Prepared
from bench.pipeline.tracked import tracked
from bench.provenance import digest, file_digest, version, write_json
from bench.records import LOWERED, ONNX, Event, OnEvent, TrackedExperiment, TrackedModel

HandOver: TypeAlias = Callable[[Path, str, ExperimentSettings, str, Path], Sequence[Path]]
"""Writes a variant with its model card into a folder: base, experiment, its settings, variant, folder."""

RECORD = "tracked.json"
WORK = "logging to"


def problems(settings: ExperimentSettings, base: Path) -> Iterator[tuple[Keys, str]]:
    """What is wrong with trackers before any work, by the key below the experiment's `tracking:`."""
    for name, text in settings.tracking.items():
        try:
            if why := tracking.missing_package(name):
                yield (name,), why
            else:
                tracking.find(name).check(tracking.find(name).address(text, base))
        except UserError as error:
            yield (name,), str(error)


def warn_of_silence(prepared: Prepared, on_event: OnEvent) -> None:
    """Say before the work begins which tracker does not answer now."""
    first = prepared.first
    for name, text in first.settings.tracking.items():
        tracker = tracking.find(name)
        if why := tracker.unreachable(tracker.address(text, first.base)):
            on_event(Event(f"tracking, {name}: {why}; it is asked again after the run", 1, 1, "warning"))


def track(prepared: Prepared, finished: Finished, hand_over: HandOver | None, on_event: OnEvent) -> None:
    """Log the finished experiment in each of its trackers, unless the same stands there already.

    A tracker that fails is a warning: the results lie in their folders, and the next run logs them.
    """
    first = prepared.first
    if not first.settings.tracking:
        return
    model = partial(_model, first.base, first.name, first.settings, hand_over) if hand_over else None
    whole = tracked(finished, first.settings, model)
    for name, text in first.settings.tracking.items():
        try:
            _log(name, tracking.find(name).address(text, first.base), whole, prepared.results, on_event)
        except Exception as error:
            first_line = next(iter(str(error).splitlines()), "")
            reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {first_line}"
            on_event(
                Event(
                    f"tracking, {name}: not logged, or not all ({shown(reason, 400)}); results and report are whole, "
                    "and the next `bench run` logs them",
                    1, 1, "warning",
                )
            )  # fmt: skip


def _log(name: str, address: str, whole: TrackedExperiment, results: Path, on_event: OnEvent) -> None:
    """Log in one tracker, and note what was logged where."""
    tracker, mark = tracking.find(name), _mark(whole)
    record = _record(results)
    if record.get(name) == {"address": address, "digest": mark} and tracker.holds(address):
        return
    if why := tracker.unreachable(address):
        raise UserError(why)
    work = f"{WORK} {name}"
    on_event(Event(work, 0, 1, "trackers"))
    try:
        tracker.log(address, whole)
    except BaseException:
        on_event(Event(work, 1, 1, "trackers", Event.FAILED))
        raise
    on_event(Event(work, 1, 1, "trackers"))
    write_json(results / RECORD, {**record, name: {"address": address, "digest": mark}})


def _record(results: Path) -> dict[str, Any]:
    """What was logged where; nothing where that is unknown, then it is logged again."""
    with suppress(OSError, ValueError):
        record = stored.read_json(results / RECORD, links=False)
        return record if isinstance(record, dict) else {}
    return {}


def _mark(whole: TrackedExperiment) -> str:
    """A digest of all that is logged."""
    runs = [dataclasses.asdict(run) for run in (whole.whole, *whole.variants.values())]
    for run in runs:
        run["artifacts"] = {
            folder: [[path.name, file_digest(path)] for path in files] for folder, files in run["artifacts"].items()
        }
    return digest([version("bench"), runs, whole.chosen, whole.artifact, bool(whole.model)])


@contextmanager
def _model(
    base: Path, name: str, settings: ExperimentSettings, hand_over: HandOver, variant: str
) -> Iterator[TrackedModel]:
    """The model of a variant as it is handed over, in a folder that is gone afterwards.

    Of an int8 variant it is the file for onnxruntime on a CPU, which computes the same on every processor.
    """
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        written = {path.name: path for path in hand_over(base, name, settings, variant, Path(folder) / "model")}
        path = written.get(LOWERED) or written[ONNX]
        beside = tuple(file for file in written.values() if file.name not in (ONNX, LOWERED))
        inputs, outputs = inputs_and_outputs(path)
        libraries = ("numpy", "onnx", "onnxruntime")
        requirements = tuple(f"{library}=={version(library)}" for library in libraries if version(library) != "absent")
        yield TrackedModel(path, file_digest(path), inputs, outputs, requirements, beside)
