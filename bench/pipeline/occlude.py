"""Blur regions of the frames that galleries will show: at the end of the third stage, while variants are loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench import datasets, reports
from bench.pipeline import journal, threshold
from bench.pipeline.jobs import Job, Jobs
from bench.pipeline.occlusions import galleries_key, is_due
from bench.pipeline.prepared import Prepared, Setup
from bench.pipeline.summary import summarise
from bench.records import BlurredFrame, Evaluation, Event, OnEvent, RunRecord, Session
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
        run = _with_threshold(prepared, setup, jobs)
        evaluation = _scored(setup, run)
        due = list(_due(run, evaluation, selected))
        done, total = 0, sum(len(each.rows) for each in due)
        for each in due:
            galleries = galleries_key(setup, each.job.predictions_key, of_baseline)
            try:
                for row in _blur_each(each, evaluation, run.threshold, session_of):
                    on_event(Event(work_on(setup), done + each.rows.index(row), total, "frames", each.job.title))
                each.blurred.complete = galleries
                occlusion.write(each.job.folder, each.job.predictions_key, each.blurred)
            except Exception as error:
                journal.failure(f"{WORK} with {each.job.result_title}", error)
            done += len(each.rows)
        if total:
            on_event(Event(work_on(setup), total, total, "frames"))


def _with_threshold(prepared: Prepared, setup: Setup, jobs: Jobs) -> RunRecord:
    """The record of a run so far, with the threshold that galleries go by."""
    run = summarise(setup, jobs)
    if run.threshold_rule is None:
        return run
    first = prepared.by_detector[setup.detector_name]
    of_first = run if first is setup else summarise(first, jobs)
    return threshold.of_first_set(run, threshold.of_frames(of_first, first.results, first.frames))


def work_on(setup: Setup) -> str:
    """What this work on a frame set is called in events."""
    return f"{WORK}{setup.on_frames}"


def _scored(setup: Setup, run: RunRecord) -> Evaluation:
    """The scores by which galleries choose their frames: validation frames and slices have no say."""
    frames = setup.frames["test"].frames
    answered = [variant.name for variant in run.variants if variant.status == "ok"]
    predictions = {name: store.read_predictions(setup.results / name, len(frames)) for name in answered}
    return score.evaluate(run, threshold.labelled(setup.frames["test"]), None, predictions, as_a_whole=True)


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


def _blur_each(due: _Due, evaluation: Evaluation, fixed: float, session_of: Callable[[Job], Session]) -> Iterator[int]:
    """Blur one frame after the other, storing each; yields its row before it is begun."""
    if not due.rows:
        return
    job, session = due.job, session_of(due.job)
    predicted, spec = evaluation.predictions[job.variant], job.setup.spec
    batch = predict.batch_size(spec, session.executed.device)
    assert predicted.logit_diff is not None
    for row in due.rows:
        yield row
        pixels = datasets.decode(job.setup.frames["test"].frames[row].file, spec)
        logit_diff = float(predicted.logit_diff[row])
        if predicted.cam is None:
            due.blurred.maps[row] = occlusion.occlusion_map(session, pixels, logit_diff, batch)
        else:
            frame = BlurredFrame(row, bool(predicted.test[row] >= fixed), logit_diff)
            due.blurred.judged[row] = occlusion.judged(session, pixels, predicted.cam[row], frame, batch)
        due.blurred.complete = ""
        occlusion.write(job.folder, job.predictions_key, due.blurred)
