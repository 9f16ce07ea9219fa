"""Fifth stage: score and render what `results/<experiment>/` holds, without torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from bench import datasets, phases, reports
from bench.errors import UserError
from bench.experiment import ExperimentSettings
from bench.files import sweep
from bench.pipeline import ensembles, judging, reasons, threshold
from bench.pipeline.finished import REPORT, Finished
from bench.pipeline.jobs import Jobs, refuse_changed
from bench.pipeline.prepared import Prepared
from bench.pipeline.rendered import evaluate_run, is_rendered, mark_of, seal, with_times
from bench.pipeline.summary import summarise
from bench.pipeline.together import report_together
from bench.records import (
    Evaluation,
    Event,
    OnEvent,
    RunRecord,
    silent,
)
from bench.results import localisation, predict, store
from bench.results.appearance import APPEARANCE
from bench.results.attributes import ATTRIBUTES
from bench.results.copies import COPIES
from bench.results.regions import FACES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WORK = "rendering the report"


def render_variants(prepared: Prepared, jobs: Jobs, on_event: OnEvent) -> Finished:
    """Store what the run came to, and render its reports."""
    first = prepared.first
    with store.locked(prepared.results, f"running {first.name}", on_event, prepared.folders):
        refuse_changed(jobs)
        for setup in prepared.setups:
            run = summarise(setup, jobs)
            store.write_attributes(setup.results, setup.frames, run)
            store.write_copies(setup.results, setup.frames, run)
            store.write_run(setup.results, run)
            reasons.write(setup, jobs)
        ensembles.write(prepared)
        if first.results != prepared.results:
            # Of an earlier run of one detector on one set, whose results nobody renders any more.
            of_setup = (APPEARANCE, ATTRIBUTES, COPIES, localisation.MASKS, localisation.RECORD, FACES)
            for record in (store.RUN, reasons.RECORD, *of_setup):
                (prepared.results / record).unlink(missing_ok=True)
        return report(first.base, first.name, first.settings, on_event=on_event)


def report(
    base: Path, name: str, settings: ExperimentSettings, *, again: bool = False, on_event: OnEvent = silent
) -> Finished:
    """Score and render an experiment from its stored results, with the threshold and gallery of `settings`.

    Each detector has a report on each frame set: the first is returned, with the `further` ones, and the one of all
    `together`. A report that this version rendered from the same results is left as it is, unless
    `again`.
    """
    parts = [
        _report(base, name, settings, (detector, frame_set), again=again, on_event=on_event)
        for detector in settings.detector_names
        for frame_set in settings.frame_sets
    ]
    (first, _), *others = parts
    together = report_together(base, name, settings, parts, again=again)
    return replace(first, further=tuple(finished for finished, _ in others), together=together)


def _report(
    base: Path,
    name: str,
    settings: ExperimentSettings,
    of: tuple[str, str],
    *,
    again: bool,
    on_event: OnEvent,
) -> tuple[Finished, Evaluation | None]:
    """One report, `of` a detector on a frame set, as `report` says; and its scores where it was rendered now."""
    detector, frame_set = of
    below, evaluation = Path(name) / settings.folder(*of), None
    results, folder = base / "results" / below, base / "reports" / below
    run = as_set(store.read_run(results), settings)
    first = base / "results" / name / settings.folder(detector, settings.frame_sets[0])
    run = threshold.of_stored(run, results) if first == results else threshold.of_first_set(run, store.read_run(first))
    store.write_run(results, run)
    mark = mark_of(results)
    if again or not is_rendered(folder, mark):
        _refuse_incomplete(run, results)
        on_event(Event(WORK, 0, 1, "reports", "scoring"))
        evaluation = with_times(run, evaluate_run(run, results), base)
        store.refuse_links(folder)
        sweep(folder, held=True)
        with phases.of(WORK, on_event):
            above = "../" * len(settings.folder(*of).parts)
            reports.render(run, evaluation, _reader(run, base, on_event), results, folder, above)
        seal(folder, mark)
        on_event(Event(WORK, 1, 1, "reports"))
    finished = Finished(
        run,
        reports.read_scores(folder),
        folder / REPORT,
        remarks=_changed_steps(run, settings.of(detector)),
        detector=detector if settings.is_side_by_side else "",
        frame_set=frame_set if len(settings.frame_sets) > 1 else "",
    )
    return finished, evaluation


def _refuse_incomplete(run: RunRecord, results: Path) -> None:
    """Raise `UserError` where stored results that the report needs are missing or were replaced."""
    for variant in run.variants:
        if variant.status == "ok" and not predict.is_done(results / variant.name, variant.predictions_key):
            raise UserError(f"{results / variant.name}: has changed since the last whole run; `bench run` completes it")
    if run.attributes and not (results / ATTRIBUTES).exists():
        raise UserError(f"{results / ATTRIBUTES}: is gone; `bench run` writes it again")


def _reader(run: RunRecord, base: Path, on_event: OnEvent) -> Callable[[str], NDArray[np.uint8]]:
    """What reads a test frame's pixels for its heatmap, and says how many heatmaps are drawn where all are."""
    assert run.preprocessing is not None
    frames, spec, drawn = run.frames["test"], run.preprocessing.input_spec, count(1)

    def pixels(path: str) -> NDArray[np.uint8]:
        number = next(drawn)
        if run.gallery_heatmaps == "all" and number <= frames.count:
            on_event(Event(WORK, number, frames.count, "heatmaps", "drawing heatmaps"))
        return datasets.decode(base / frames.root / path, spec)

    return pixels


def _changed_steps(run: RunRecord, settings: ExperimentSettings) -> tuple[str, ...]:
    """A remark for each variant whose steps have changed in the experiment file since the run."""
    remarks = []
    for variant in run.variants:
        steps = tuple(use.text for use in settings.chains.get(variant.name, ()))
        if variant.name in settings.chains and steps != variant.steps:
            before, now = spelled(variant.steps), spelled(steps)
            remarks.append(
                f"{variant.name} was run as {before}, and the experiment file now says {now}: `bench run` makes it."
            )
    return tuple(remarks)


def spelled(steps: Sequence[str]) -> str:
    return ", ".join(steps) or "no steps"


def as_set(run: RunRecord, settings: ExperimentSettings) -> RunRecord:
    """The run with what only its rendering depends on as it is set now.

    Re-compression that is no longer asked for is left out. `UserError` where its frames have no such groups as are
    asked for now.
    """
    asked = settings.robustness.degradations if settings.robustness else ()
    variants = (
        replace(variant, degraded=tuple(level for level in variant.degraded if level.degradation in asked))
        for variant in run.variants
    )
    return replace(
        threshold.as_asked(run, settings),
        gallery_top=settings.gallery.top,
        gallery_heatmaps=settings.gallery.heatmaps,
        gallery_occlusion=settings.gallery.occlusion,
        margin=settings.margin,
        choose=settings.choose.record if settings.choose else None,
        judge=judging.as_judged(run, settings),
        video_scoring=settings.videos.record,
        groups=settings.groups,
        faces=run.faces if settings.regions else None,
        degradations=tuple(level for level in asked if level in run.degradations),
        variants=tuple(variants),
    )
