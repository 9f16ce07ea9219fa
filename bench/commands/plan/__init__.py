"""`bench plan`: what a run would do, how long it takes, and how much it writes."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.commands.plan.disk import writes_bytes
from bench.experiment import Experiments
from bench.pipeline import reasons, report_reasons
from bench.pipeline.estimates import Estimate, total
from bench.pipeline.forecast import Row, Stage, are_frames_read, exports, is_all_done, present, rows_of, stages_at
from bench.pipeline.history import History, recall
from bench.pipeline.prepare import prepare
from bench.pipeline.prepared import Prepared, Timing
from bench.pipeline.present_speed import PresentSpeed
from bench.pipeline.readings import input_fit_of
from bench.records import InputFit, OnEvent, silent


@dataclass(frozen=True)
class Forecast:
    """Everything that `bench plan` says.

    `speed` is None where nothing is to be built or measured. `due` says why each part of the work is to be done,
    `report_due` why the report is, where nothing else is due.

    `fits` is by detector, None where it was not asked for, or the demo set is not drawn. `alone` is how long each of
    several detectors would take without the others.

    `writes_bytes` is None where the size of the network is unknown; TensorRT's engines, compiled networks and the
    checkpoints of trainings, which are removed, are not in it.
    """

    prepared: Prepared
    rows: tuple[Row, ...]
    stages: tuple[Stage, ...]
    speed: PresentSpeed | None
    writes_bytes: int | None
    free_bytes: int
    due: tuple[reasons.Due, ...] = ()
    report_due: tuple[str, ...] = ()
    fits: Mapping[str, InputFit] | None = None
    alone: Mapping[str, Estimate] = field(default_factory=dict)


def forecast(  # noqa: PLR0913 - the options of `bench plan`
    experiments: Experiments,
    path: Path,
    name: str | None = None,
    *,
    only: Sequence[str] = (),
    device: str | None = None,
    timing: Timing = "due",
    fit: bool = False,
    on_event: OnEvent = silent,
) -> Forecast:
    """What `run` would do with the same arguments. Nothing is written but what is remembered of frames and weights.

    No frame is read: of those that a run has not read yet, only names are known, and all that depends on them counts as
    due. With `fit`, all are read, and some go through the first layers: how well does which preprocessing fit the
    weights?
    """
    prepared = prepare(experiments, path, name, only=only, device=device, timing=timing, reads=fit, on_event=on_event)
    history = recall(prepared.first.base, [setup.results for setup in prepared.setups])
    rows = rows_of(prepared)
    speed = present(prepared, rows, on_event)
    stages = stages_at(prepared, rows, history, speed)
    writes = writes_bytes(prepared, rows, exports(rows), history, renders=bool(stages[-1].work))
    free = shutil.disk_usage(prepared.first.base).free
    due = reasons.due(rows) if are_frames_read(prepared) else ()
    report_due = report_reasons.of_reports(prepared, rows) if is_all_done(rows) else ()
    fits = None
    if fit and are_frames_read(prepared):
        fits = {
            detector: input_fit_of(setup, on_event, with_flavours=True)
            for detector, setup in prepared.by_detector.items()
        }
    alone = _alone(prepared, rows, history, speed)
    return Forecast(prepared, rows, stages, speed, writes, free, due, report_due, fits, alone)


def _alone(
    prepared: Prepared, rows: Sequence[Row], history: History, speed: PresentSpeed | None
) -> dict[str, Estimate]:
    """How long each detector would take without the others, which share decoded frames; empty where there is one."""
    names = prepared.by_detector if len(prepared.by_detector) > 1 else ()
    takes = {}
    for name in names:
        of_detector = Prepared(tuple(setup for setup in prepared.setups if setup.detector_name == name))
        due = stages_at(of_detector, [row for row in rows if row.setup.detector_name == name], history, speed)
        takes[name] = total(stage.estimate for stage in due)
    return takes
