"""Fifth stage: score and render what `results/<experiment>/` holds, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench import datasets, phases, reports, seals, stored
from bench.errors import UserError
from bench.experiment import ExperimentSettings
from bench.files import sweep, write_text
from bench.pipeline import reasons
from bench.pipeline.jobs import Jobs, refuse_changed
from bench.pipeline.prepare import Prepared
from bench.pipeline.summary import summarise
from bench.provenance import digest, file_digest, version
from bench.records import Evaluation, Event, LabelledFrames, OnEvent, RunRecord, ScoresFile, silent
from bench.results import predict, score, store
from bench.results.attributes import ATTRIBUTES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

REPORT, MARK = "report.md", ".rendered"
WORK = "rendering the report"


@dataclass(frozen=True)
class Finished:
    """A rendered experiment: its run, its scores.json as read, its report; the run's log if any.

    `remarks` tell in what the experiment file has gone on since the run.
    """

    run: RunRecord
    scores: ScoresFile
    report: Path
    log: Path | None = None
    remarks: tuple[str, ...] = ()

    @property
    def page(self) -> Path:
        """The same report to look at."""
        return self.report.with_suffix(".html")

    @property
    def ending(self) -> str:
        """How the run went, in one line."""
        fallen = [variant.name for variant in self.run.variants if variant.status == "failed"]
        told = "".join(f"\nwarning: {warning}" for warning in self.warnings)
        return f"ended: {len(self.run.variants)} variants, failed: {', '.join(fallen) or 'none'}{told}"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What must be read before any number."""
        return (*reports.plain_warnings(self.run, self.scores), *self.remarks, *self.run.warnings)


def render_variants(prepared: Prepared, jobs: Jobs, on_event: OnEvent) -> Finished:
    """Store what the run came to, and render its report."""
    with store.locked(prepared.results, f"running {prepared.name}", on_event):
        refuse_changed(prepared, jobs)
        run = summarise(prepared, jobs)
        store.write_attributes(prepared.results, prepared.frames, run)
        store.write_run(prepared.results, run)
        reasons.write(prepared, jobs)
        return report(prepared.base, prepared.name, prepared.settings, on_event=on_event)


def report(
    base: Path, name: str, settings: ExperimentSettings, *, again: bool = False, on_event: OnEvent = silent
) -> Finished:
    """Score and render an experiment from its stored results, with the threshold and gallery of `settings`.

    What was rendered from the same results by the same version stands, unless `again`.
    """
    results, folder = base / "results" / name, base / "reports" / name
    run = _as_set(store.read_run(results), settings)
    store.write_run(results, run)
    mark = _mark(results)
    if not again and _is_rendered(folder, mark):
        return Finished(run, reports.read_scores(folder), folder / REPORT, remarks=_other_steps(run, settings))
    for variant in run.variants:
        if variant.status == "ok" and not predict.is_done(results / variant.name, variant.predictions_key):
            raise UserError(f"{results / variant.name}: has changed since the last whole run; `bench run` completes it")
    if run.attributes and not (results / ATTRIBUTES).exists():
        raise UserError(f"{results / ATTRIBUTES}: is gone; `bench run` writes it again")
    on_event(Event(WORK, 0, 1, "reports", "scoring"))
    evaluation = evaluate_run(run, results)

    drawn, wanted = 0, run.frames["test"].count
    assert run.preprocessing is not None
    spec = run.preprocessing.input_spec

    def pixels(frame: str) -> NDArray[np.uint8]:
        nonlocal drawn
        drawn += 1
        if run.gallery_heatmaps == "all" and drawn <= wanted:
            on_event(Event(WORK, drawn, wanted, "heatmaps", "drawing heatmaps"))
        return datasets.decode(base / run.frames["test"].root / frame, spec)

    store.refuse_links(folder)
    sweep(folder, held=True)
    with phases.of(WORK, on_event):
        reports.render(run, evaluation, pixels, results, folder)
    key = _rendered(folder, mark)
    write_text(folder / MARK, seals.seal(folder / reports.SCORES, seals.lasting_secret(), key) + "\n")
    on_event(Event(WORK, 1, 1, "reports"))
    return Finished(run, reports.read_scores(folder), folder / REPORT, remarks=_other_steps(run, settings))


def _other_steps(run: RunRecord, settings: ExperimentSettings) -> tuple[str, ...]:
    """What a reader who has changed the experiment file since would take for results of it."""
    said = []
    for variant in run.variants:
        asked = tuple(use.text for use in settings.variants.get(variant.name, ()))
        if variant.name in settings.variants and asked != variant.steps:
            was, now = spelled(variant.steps), spelled(asked)
            said.append(
                f"{variant.name} was run as {was}, and the experiment file now says {now}: `bench run` makes it."
            )
    return tuple(said)


def spelled(steps: Sequence[str]) -> str:
    return ", ".join(steps) or "no steps"


def is_current(base: Path, name: str, settings: ExperimentSettings) -> bool:
    """Whether `report` would find everything rendered already."""
    results, folder = base / "results" / name, base / "reports" / name
    try:
        run = store.read_run(results)
    except UserError:
        return False
    return _as_set(run, settings) == run and _is_rendered(folder, _mark(results))


def _as_set(run: RunRecord, settings: ExperimentSettings) -> RunRecord:
    """The run with what only its rendering depends on as it is set now."""
    return replace(
        run,
        threshold=settings.threshold,
        gallery_top=settings.gallery.top,
        gallery_heatmaps=settings.gallery.heatmaps,
        margin=settings.margin,
        choose=settings.choose.record if settings.choose else None,
    )


def _is_rendered(folder: Path, mark: str) -> bool:
    """Whether this user rendered it from these results, and nothing of it has changed or gone since.

    What scores.json of a stranger says is not read: it is scored again.
    """
    if not reports.is_whole(folder):
        return False
    return seals.is_sealed(folder / reports.SCORES, _rendered(folder, mark), folder / MARK)


def _rendered(folder: Path, mark: str) -> str:
    """What is sealed together with scores.json: of which results it is, and the pages beside it."""
    pages = [file_digest(folder / name) for name in (REPORT, Path(REPORT).with_suffix(".html").name)]
    return f"rendered {mark} {' '.join(pages)}"


def _mark(results: Path) -> str:
    return digest({"run": stored.read_text(results / store.RUN), "bench": version("bench")})


def evaluate_run(run: RunRecord, results: Path) -> Evaluation:
    """What the stored answers of all variants come to; frames and labels, which all share, are read once."""
    answered = [variant.name for variant in run.variants if variant.status == "ok"]
    if not answered:
        return score.evaluate(run, _nothing(), None, {})
    test, validation = store.read_labelled(results, answered[0], run.frames)
    rows = len(test.labels) + (len(validation.labels) if validation else 0)
    predictions = {name: store.read_predictions(results / name, len(test.labels), rows) for name in answered}
    return score.evaluate(run, test, validation, predictions)


def _nothing() -> LabelledFrames:
    """The frames of a run in which no variant answered."""
    import numpy as np
    import pandas as pd

    none = pd.Series([], dtype="str")
    return LabelledFrames(none, np.zeros(0, np.int8), none, pd.DataFrame(index=none.index))
