"""Reports that are rendered: whether they are those of the stored results, and the scores that they are made from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bench import datasets, reports, seals, stored
from bench.errors import UserError
from bench.files import write_text
from bench.pipeline import ensembles
from bench.pipeline.degraded import with_degraded
from bench.pipeline.face_points import hottest_part, with_regions
from bench.pipeline.finished import REPORT
from bench.pipeline.masks import with_localisation
from bench.pipeline.occlusions import with_occlusions
from bench.provenance import digest, file_digest, version
from bench.records import Evaluation, LabelledFrames, RunRecord
from bench.results import groups, occlusion, score, store
from bench.results.appearance import APPEARANCE

MARK = ".rendered"


def seal(folder: Path, mark: str) -> None:
    """Note of which results the report in `folder` is, so that it is not rendered again."""
    key = _rendered(folder, mark)
    write_text(folder / MARK, seals.seal(folder / reports.SCORES, seals.lasting_secret(), key) + "\n")


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
    if stored.is_file(results / APPEARANCE):
        depends_on["appearance"] = file_digest(results / APPEARANCE)
    return digest(depends_on)


def evaluate_run(run: RunRecord, results: Path) -> Evaluation:
    """What the stored answers of all variants come to; frames and labels, which all share, are read once."""
    answered = [variant.name for variant in run.variants if variant.status == "ok"]
    if not answered:
        return score.evaluate(run, _nothing(), None, {})
    test, validation = store.read_labelled(results, answered[0], run.frames)
    if run.videos and test.videos is None:
        raise UserError(f"{results / answered[0]}: lacks the videos of frames; `bench run` completes it")
    groups.refuse(run.groups, test, f"{run.experiment}: `groups:`")
    rows = len(test.labels) + (len(validation.labels) if validation else 0)
    predictions = {name: store.read_predictions(results / name, len(test.labels), rows) for name in answered}
    further = hottest_part(run, test, predictions, results)
    evaluation = score.evaluate(run, test, validation, predictions, further=further)
    evaluation = with_degraded(run, evaluation, results)
    evaluation = ensembles.with_members(run, evaluation, results)
    evaluation = with_localisation(run, with_occlusions(run, evaluation, results), results)
    return with_regions(run, evaluation, results)


def with_times(run: RunRecord, evaluation: Evaluation, base: Path) -> Evaluation:
    """The evaluation with the time of each test frame in its video, where a manifest beside the frames tells it."""
    import numpy as np

    test = evaluation.test
    times = datasets.times_at(base / run.test.root) if evaluation.video is not None else {}
    if not times:
        return evaluation
    times_s = np.array([times.get(str(name), np.nan) for name in test.frames])
    return replace(evaluation, test=replace(test, times_s=times_s))


def _nothing() -> LabelledFrames:
    """The frames of a run in which no variant answered."""
    import numpy as np
    import pandas as pd

    none = pd.Series([], dtype="str")
    return LabelledFrames(none, np.zeros(0, np.int8), none, pd.DataFrame(index=none.index))
