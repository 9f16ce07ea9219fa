"""Fifth stage: score and render what `results/<experiment>/` holds, without torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from bench import datasets, phases, reports, seals, stored
from bench.errors import UserError
from bench.experiment import ExperimentSettings
from bench.files import sweep, write_text
from bench.pipeline import reasons
from bench.pipeline.jobs import Jobs, refuse_changed
from bench.pipeline.occlusions import with_occlusions
from bench.pipeline.prepared import Prepared
from bench.pipeline.summary import summarise
from bench.provenance import digest, file_digest, version
from bench.records import Evaluation, Event, LabelledFrames, OnEvent, RunRecord, ScoresFile, silent
from bench.results import occlusion, predict, score, store
from bench.results.attributes import ATTRIBUTES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

REPORT, MARK = "report.md", ".rendered"
WORK = "rendering the report"


@dataclass(frozen=True)
class Finished:
    """A rendered experiment: its run, its scores as scores.json holds them, its report; the run's log if any.

    `remarks` say how the experiment file has changed since the run. Where there are several detectors or frame sets,
    these are the first detector's on the first set, and `further` has the others.
    """

    run: RunRecord
    scores: ScoresFile
    report: Path
    log: Path | None = None
    remarks: tuple[str, ...] = ()
    further: tuple[Finished, ...] = ()

    @property
    def page(self) -> Path:
        """The report in HTML."""
        return self.report.with_suffix(".html")

    @property
    def prefix(self) -> str:
        """What tells its lines from those of other detectors and frame sets; empty where there are none."""
        return f"{self.run.detector} on {self.run.frame_set}: " if self.run.frame_set else ""

    @property
    def failed(self) -> dict[str, str]:
        """Why each variant that failed did, on all frame sets."""
        reasons = {
            f"{self.prefix}{variant.name}": variant.reason or "no reason was recorded"
            for variant in self.run.variants
            if variant.status == "failed"
        }
        return reasons | {name: reason for other in self.further for name, reason in other.failed.items()}

    @property
    def ending(self) -> str:
        """How the run went, in one line."""
        failed = [variant.name for variant in self.run.variants if variant.status == "failed"]
        warnings = "".join(f"\nwarning: {warning}" for warning in self.warnings)
        count, names = len(self.run.variants), ", ".join(failed) or "none"
        ended = f"{self.prefix}ended: {count} variants, failed: {names}{warnings}"
        return "\n".join([ended, *(other.ending for other in self.further)])

    @property
    def warnings(self) -> tuple[str, ...]:
        """What must be read before any number."""
        return (*reports.plain_warnings(self.run, self.scores), *self.remarks, *self.run.warnings)


def render_variants(prepared: Prepared, jobs: Jobs, on_event: OnEvent) -> Finished:
    """Store what the run came to, and render its reports."""
    first = prepared.first
    with store.locked(prepared.results, f"running {first.name}", on_event, prepared.folders):
        refuse_changed(jobs)
        for setup in prepared.setups:
            run = summarise(setup, jobs)
            store.write_attributes(setup.results, setup.frames, run)
            store.write_run(setup.results, run)
            reasons.write(setup, jobs)
        return report(first.base, first.name, first.settings, on_event=on_event)


def report(
    base: Path, name: str, settings: ExperimentSettings, *, again: bool = False, on_event: OnEvent = silent
) -> Finished:
    """Score and render an experiment from its stored results, with the threshold and gallery of `settings`.

    Each detector has a report on each frame set: the first is returned, with the `further` ones. A report that this
    version rendered from the same results is left as it is, unless `again`.
    """
    first, *further = (
        _report(base, Path(name) / part, settings, again=again, on_event=on_event) for part in settings.folders
    )
    return replace(first, further=tuple(further))


def _report(base: Path, below: Path, settings: ExperimentSettings, *, again: bool, on_event: OnEvent) -> Finished:
    """One report, of the results in the folder `below` results/, as `report` says."""
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
            reports.render(run, evaluation, _reader(run, base, on_event), results, folder)
        key = _rendered(folder, mark)
        write_text(folder / MARK, seals.seal(folder / reports.SCORES, seals.lasting_secret(), key) + "\n")
        on_event(Event(WORK, 1, 1, "reports"))
    return Finished(run, reports.read_scores(folder), folder / REPORT, remarks=_changed_steps(run, settings))


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
    depends_on = {"run": stored.read_text(results / store.RUN), "bench": by or version("bench")}
    blurred = [path for path in sorted(results.glob(f"*/{occlusion.OCCLUSION}")) if stored.is_file(path)]
    return digest(depends_on | {path.parent.name: file_digest(path) for path in blurred})


def evaluate_run(run: RunRecord, results: Path) -> Evaluation:
    """What the stored answers of all variants come to; frames and labels, which all share, are read once."""
    answered = [variant.name for variant in run.variants if variant.status == "ok"]
    if not answered:
        return score.evaluate(run, _nothing(), None, {})
    test, validation = store.read_labelled(results, answered[0], run.frames)
    rows = len(test.labels) + (len(validation.labels) if validation else 0)
    predictions = {name: store.read_predictions(results / name, len(test.labels), rows) for name in answered}
    return with_occlusions(run, score.evaluate(run, test, validation, predictions), results)


def _nothing() -> LabelledFrames:
    """The frames of a run in which no variant answered."""
    import numpy as np
    import pandas as pd

    none = pd.Series([], dtype="str")
    return LabelledFrames(none, np.zeros(0, np.int8), none, pd.DataFrame(index=none.index))
