"""Blur regions of the frames that galleries will show: at the end of the third stage, while variants are loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench import datasets, reports
from bench.pipeline import journal
from bench.pipeline.jobs import Job, Jobs
from bench.pipeline.occlusions import galleries_key, is_due
from bench.pipeline.prepared import Prepared, Setup
from bench.pipeline.summary import summarise
from bench.records import BlurredFrame, Evaluation, Event, LabelledFrames, OnEvent, RunRecord, Session
from bench.results import occlusion, predict, score, store

WORK = "blurring regions of the galleries' frames"


@dataclass(frozen=True)
class _Due:
    """A variant, its frames that were blurred before, and the rows of those that are left."""

    job: Job
    blurred: occlusion.Blurred
    rows: tuple[int, ...]


def occlude(prepared: Prepared, jobs: Jobs, session_of: Callable[[Job], Session], on_event: OnEvent) -> None:
    """Blur the frames that galleries show, for every selected variant; the report judges heatmaps by that.

    A variant with which that fails lacks these numbers alone; the run's log says why.
    """
    for setup in prepared.setups:
        selected = [job for job in jobs.unfailed.values() if job.setup is setup and job.variant in setup.selected]
        of_baseline = jobs.baseline_of(setup).predictions_key
        if not any(is_due(setup, job.folder, job.predictions_key, of_baseline) for job in selected):
            continue
        on_event(Event(work_on(setup), 0, 0, "", "choosing the frames"))
        run = summarise(setup, jobs)
        evaluation = _scored(setup, run)
        due = list(_due(run, evaluation, selected))
        done, total = 0, sum(len(each.rows) for each in due)
        for each in due:
            galleries = galleries_key(setup, each.job.predictions_key, of_baseline)
            try:
                for row in _blur_each(each, evaluation, session_of):
                    on_event(Event(work_on(setup), done + each.rows.index(row), total, "frames", each.job.title))
                each.blurred.complete = galleries
                occlusion.write(each.job.folder, each.job.predictions_key, each.blurred)
            except Exception as error:
                journal.failure(f"{WORK} with {each.job.result_title}", error)
            done += len(each.rows)
        if total:
            on_event(Event(work_on(setup), total, total, "frames"))


def work_on(setup: Setup) -> str:
    """What this work on a frame set is called in events."""
    return f"{WORK}{setup.on_frames}"


def _scored(setup: Setup, run: RunRecord) -> Evaluation:
    """The scores by which galleries choose their frames: validation frames and slices have no say."""
    import numpy as np
    import pandas as pd

    frames = setup.frames["test"].frames
    names = pd.Series([frame.path for frame in frames], dtype=object)
    labels = np.array([frame.label for frame in frames], np.int8)
    sources = pd.Series(pd.array([frame.source for frame in frames], dtype="string"))
    firsts = np.array(setup.frames["test"].firsts) if setup.frames["test"].copies else None
    test = LabelledFrames(names, labels, sources, pd.DataFrame(index=names.index), firsts)
    answered = [variant.name for variant in run.variants if variant.status == "ok"]
    predictions = {name: store.read_predictions(setup.results / name, len(frames)) for name in answered}
    return score.evaluate(run, test, None, predictions, as_a_whole=True)


def _due(run: RunRecord, evaluation: Evaluation, selected: Sequence[Job]) -> Iterator[_Due]:
    """What is left of each variant, the baseline first: its frames are those of all galleries, to compare with."""
    rows, baseline = reports.rows_in_galleries(run, evaluation), run.baseline.name
    chosen = {job.variant: rows[job.variant] for job in selected}
    if baseline in chosen:
        chosen[baseline] = list(dict.fromkeys(row for of_variant in chosen.values() for row in of_variant))
    for job in sorted(selected, key=lambda job: job.variant != baseline):
        predicted, blurred = evaluation.predictions[job.variant], occlusion.read(job.folder, job.predictions_key)
        left = []
        for row in chosen[job.variant]:
            called_fake = bool(predicted.test[row] >= run.threshold)
            judged = blurred.judged.get(row)
            if row not in blurred.maps if predicted.cam is None else judged is None or judged.fake != called_fake:
                left.append(row)
        yield _Due(job, blurred, tuple(left))


def _blur_each(due: _Due, evaluation: Evaluation, session_of: Callable[[Job], Session]) -> Iterator[int]:
    """Blur one frame after the other, storing each; yields its row before it is begun."""
    if not due.rows:
        return
    job, session = due.job, session_of(due.job)
    predicted, spec, threshold = evaluation.predictions[job.variant], job.setup.spec, job.setup.settings.threshold
    batch = predict.batch_size(spec, session.executed.device)
    assert predicted.logit_diff is not None
    for row in due.rows:
        yield row
        pixels = datasets.decode(job.setup.frames["test"].frames[row].file, spec)
        logit_diff = float(predicted.logit_diff[row])
        if predicted.cam is None:
            due.blurred.maps[row] = occlusion.occlusion_map(session, pixels, logit_diff, batch)
        else:
            frame = BlurredFrame(row, bool(predicted.test[row] >= threshold), logit_diff)
            due.blurred.judged[row] = occlusion.judged(session, pixels, predicted.cam[row], frame, batch)
        due.blurred.complete = ""
        occlusion.write(job.folder, job.predictions_key, due.blurred)
