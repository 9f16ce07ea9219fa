"""Fifth stage: score and render what `results/<experiment>/` holds, without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from bench import datasets, phases, reports, seals, stored
from bench.errors import UserError, listed
from bench.experiment import ExperimentSettings
from bench.files import sweep, write_text
from bench.pipeline import judging, reasons
from bench.pipeline.finished import REPORT, Finished, Together
from bench.pipeline.jobs import Jobs, refuse_changed
from bench.pipeline.occlusions import with_occlusions
from bench.pipeline.prepared import Prepared
from bench.pipeline.summary import summarise
from bench.provenance import digest, file_digest, version
from bench.records import (
    Alone,
    Evaluation,
    Event,
    LabelledFrames,
    OnEvent,
    RunRecord,
    SideBySide,
    SideBySideScores,
    silent,
)
from bench.results import occlusion, predict, score, store
from bench.results.attributes import ATTRIBUTES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MARK = ".rendered"
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
        if first.results != prepared.results:
            # Of an earlier run of one detector on one set, whose results nobody renders any more.
            for record in (store.RUN, reasons.RECORD):
                (prepared.results / record).unlink(missing_ok=True)
        return report(first.base, first.name, first.settings, on_event=on_event)


def report(
    base: Path, name: str, settings: ExperimentSettings, *, again: bool = False, on_event: OnEvent = silent
) -> Finished:
    """Score and render an experiment from its stored results, with the threshold and gallery of `settings`.

    Each detector has a report on each frame set: the first is returned, with the `further` ones, and the one that
    compares several detectors. A report that this version rendered from the same results is left as it is, unless
    `again`.
    """
    parts = [
        _report(base, name, settings, (detector, frame_set), again=again, on_event=on_event)
        for detector in settings.detector_names
        for frame_set in settings.frame_sets
    ]
    (first, _), *others = parts
    together = _together(base, name, settings, parts, again=again) if settings.is_side_by_side else None
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
    store.write_run(results, run)
    mark = mark_of(results)
    if again or not is_rendered(folder, mark):
        _refuse_incomplete(run, results)
        on_event(Event(WORK, 0, 1, "reports", "scoring"))
        evaluation = evaluate_run(run, results)
        store.refuse_links(folder)
        sweep(folder, held=True)
        with phases.of(WORK, on_event):
            above = "../" * len(settings.folder(*of).parts) + "report.html" if settings.is_side_by_side else ""
            reports.render(run, evaluation, _reader(run, base, on_event), results, folder, above)
        _seal(folder, mark)
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


def _together(
    base: Path,
    name: str,
    settings: ExperimentSettings,
    parts: Sequence[tuple[Finished, Evaluation | None]],
    *,
    again: bool,
) -> Together:
    """The report that compares the detectors, as `report` says; `parts` are in the order of `settings.folders`."""
    results, folder = base / "results" / name, base / "reports" / name
    mark = mark_together(results, settings)
    if again or not is_rendered(folder, mark):
        store.refuse_links(folder)
        sweep(folder, held=True)
        by_part = dict(zip(settings.folders, parts, strict=True))
        compared: dict[str, SideBySide] = {}
        warnings: dict[str, list[str]] = {}
        for frame_set in settings.frame_sets:
            alone = {}
            for detector in settings.detector_names:
                part = settings.folder(detector, frame_set)
                finished, evaluation = by_part[part]
                alone[detector] = Alone(finished.run, evaluation or evaluate_run(finished.run, results / part))
                of_detector = warnings.setdefault(detector, [])
                of_detector += [text for text in finished.warnings if text not in of_detector]
            _refuse_other_frames(alone, results)
            compared[frame_set] = score.side_by_side(alone)
        below = {name: settings.folder(name, settings.frame_sets[0]) for name in settings.detector_names}
        reports.render_side_by_side(compared, warnings, below, folder)
        _seal(folder, mark)
    numbers = reports.read_scores(folder)
    assert isinstance(numbers, SideBySideScores)
    return Together(numbers, folder / REPORT)


def _refuse_other_frames(alone: Mapping[str, Alone], results: Path) -> None:
    """Raise `UserError` where detectors were evaluated on other frames than the first: nothing compares then."""
    digests = {detector: each.run.frames["test"].digest for detector, each in alone.items()}
    first, *others = digests
    if differing := [detector for detector in others if digests[detector] != digests[first]]:
        raise UserError(f"{results}: {listed([first, *differing])} were run on different frames; `bench run` mends it")


def _seal(folder: Path, mark: str) -> None:
    """Note of which results the report in `folder` is, so that it is not rendered again."""
    key = _rendered(folder, mark)
    write_text(folder / MARK, seals.seal(folder / reports.SCORES, seals.lasting_secret(), key) + "\n")


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
        steps = tuple(use.text for use in settings.variants.get(variant.name, ()))
        if variant.name in settings.variants and steps != variant.steps:
            before, now = spelled(variant.steps), spelled(steps)
            remarks.append(
                f"{variant.name} was run as {before}, and the experiment file now says {now}: `bench run` makes it."
            )
    return tuple(remarks)


def spelled(steps: Sequence[str]) -> str:
    return ", ".join(steps) or "no steps"


def as_set(run: RunRecord, settings: ExperimentSettings) -> RunRecord:
    """The run with what only its rendering depends on as it is set now."""
    return replace(
        run,
        threshold=settings.threshold,
        gallery_top=settings.gallery.top,
        gallery_heatmaps=settings.gallery.heatmaps,
        gallery_occlusion=settings.gallery.occlusion,
        margin=settings.margin,
        choose=settings.choose.record if settings.choose else None,
        judge=judging.as_judged(run, settings),
        video_scoring=settings.videos.record,
    )


def is_rendered(folder: Path, mark: str) -> bool:
    """Whether it is whole, this user rendered it from these results, and nothing of it has changed or gone since.

    What scores.json of a stranger says is not read: it is scored again.
    """
    if not reports.is_whole(folder):
        return False
    return seals.is_sealed(folder / reports.SCORES, _rendered(folder, mark), folder / MARK)


def _rendered(folder: Path, mark: str) -> str:
    """What is sealed together with scores.json: of which results it is, and the pages beside it."""
    pages = [file_digest(folder / name) for name in (REPORT, Path(REPORT).with_suffix(".html").name)]
    return f"rendered {mark} {' '.join(pages)}"


def mark_of(results: Path, by: str | None = None) -> str:
    """The digest of the results and of the version of bench that renders them, this one if left out."""
    depends_on: dict[str, object] = {"run": stored.read_text(results / store.RUN), "bench": by or version("bench")}
    blurred = [path for path in sorted(results.glob(f"*/{occlusion.OCCLUSION}")) if stored.is_file(path)]
    if blurred:
        depends_on["blurred"] = {path.parent.name: file_digest(path) for path in blurred}
    return digest(depends_on)


def mark_together(results: Path, settings: ExperimentSettings, by: str | None = None) -> str:
    """The same of the results of several detectors, which lie below `results`."""
    marks = {part.as_posix(): mark_of(results / part, by) for part in settings.folders}
    return digest({"detectors": settings.detector_names, "marks": marks})


def evaluate_run(run: RunRecord, results: Path) -> Evaluation:
    """What the stored answers of all variants come to; frames and labels, which all share, are read once."""
    answered = [variant.name for variant in run.variants if variant.status == "ok"]
    if not answered:
        return score.evaluate(run, _nothing(), None, {})
    test, validation = store.read_labelled(results, answered[0], run.frames)
    if run.videos and test.videos is None:
        raise UserError(f"{results / answered[0]}: lacks the videos of frames; `bench run` completes it")
    rows = len(test.labels) + (len(validation.labels) if validation else 0)
    predictions = {name: store.read_predictions(results / name, len(test.labels), rows) for name in answered}
    return with_occlusions(run, score.evaluate(run, test, validation, predictions), results)


def _nothing() -> LabelledFrames:
    """The frames of a run in which no variant answered."""
    import numpy as np
    import pandas as pd

    none = pd.Series([], dtype="str")
    return LabelledFrames(none, np.zeros(0, np.int8), none, pd.DataFrame(index=none.index))
