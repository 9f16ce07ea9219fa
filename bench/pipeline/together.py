"""The report above those of several detectors or frame sets, which compares them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from bench import reports
from bench.errors import UserError, listed
from bench.experiment import ExperimentSettings
from bench.files import sweep
from bench.pipeline.finished import REPORT, Finished, Together
from bench.pipeline.rendered import evaluate_run, is_rendered, mark_of, seal
from bench.provenance import digest
from bench.records import Alone, Evaluation
from bench.results import score, store

Part: TypeAlias = tuple[Finished, Evaluation | None]
"""A report of a detector on a frame set, and its scores where it was rendered now."""


def report_together(
    base: Path, name: str, settings: ExperimentSettings, parts: Sequence[Part], *, again: bool
) -> Together | None:
    """The report of all detectors and frame sets, unless there is one of each; `parts` are as `settings.folders`.

    What this version rendered from the same results is left as it is, unless `again`.
    """
    if len(parts) == 1:
        return None
    results, folder = base / "results" / name, base / "reports" / name
    mark = mark_together(results, settings)
    if again or not is_rendered(folder, mark):
        store.refuse_links(folder)
        sweep(folder, held=True)
        by_set = _by_set(settings, parts, results)
        built_with, pool = settings.build_set, settings.pool
        below = {frame_set: _below(settings, frame_set) for frame_set in settings.frame_sets}
        if not settings.has_several_sets:
            [(frame_set, detectors)] = by_set.items()
            compared = {frame_set: score.side_by_side(detectors)}
            reports.render_side_by_side(compared, _warnings(parts, "detector"), below[frame_set], folder)
        elif settings.is_side_by_side:
            on_all = score.side_by_side_on_sets(by_set, built_with, pool=pool)
            reports.render_side_by_side_on_sets(on_all, _warnings(parts, "title"), below, folder)
        else:
            across = score.on_sets(
                {name: next(iter(each.values())) for name, each in by_set.items()}, built_with, pool=pool
            )
            reports.render_on_sets(across, _warnings(parts, "frame_set"), {name: Path(name) for name in by_set}, folder)
        seal(folder, mark)
    return Together(reports.read_scores(folder), folder / REPORT)


def _below(settings: ExperimentSettings, frame_set: str) -> dict[str, Path]:
    """The folder of each detector's report on a frame set, below the experiment's."""
    return {name: settings.folder(name, frame_set) for name in settings.detector_names}


def _by_set(settings: ExperimentSettings, parts: Sequence[Part], results: Path) -> dict[str, dict[str, Alone]]:
    """Each detector with its scores, on each frame set."""
    by_folder = dict(zip(settings.folders, parts, strict=True))
    by_set: dict[str, dict[str, Alone]] = {}
    for frame_set in settings.frame_sets:
        alone = {}
        for detector, folder in _below(settings, frame_set).items():
            finished, evaluation = by_folder[folder]
            alone[detector] = Alone(finished.run, evaluation or evaluate_run(finished.run, results / folder))
        _refuse_other_frames(alone, results)
        by_set[frame_set] = alone
    return by_set


def _warnings(parts: Sequence[Part], called: str) -> dict[str, list[str]]:
    """The warnings of all parts that are `called` alike, by that name, each once."""
    warnings: dict[str, list[str]] = {}
    for finished, _ in parts:
        of_part = warnings.setdefault(getattr(finished, called), [])
        of_part += [text for text in finished.warnings if text not in of_part]
    return warnings


def _refuse_other_frames(alone: Mapping[str, Alone], results: Path) -> None:
    """Raise `UserError` where detectors were evaluated on other frames than the first: nothing compares then."""
    digests = {detector: each.run.frames["test"].digest for detector, each in alone.items()}
    first, *others = digests
    if differing := [detector for detector in others if digests[detector] != digests[first]]:
        raise UserError(f"{results}: {listed([first, *differing])} were run on different frames; `bench run` mends it")


def mark_together(results: Path, settings: ExperimentSettings, by: str | None = None) -> str:
    """The digest of all results, which lie below `results`, and of what else the report hangs on; see `mark_of`."""
    marks = {part.as_posix(): mark_of(results / part, by) for part in settings.folders}
    depends_on: dict[str, object] = {"detectors": settings.detector_names, "marks": marks}
    if settings.has_several_sets:
        depends_on |= {"built with": settings.build_set, "pool": settings.pool}
    return digest(depends_on)
