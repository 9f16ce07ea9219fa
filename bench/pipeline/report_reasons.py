"""Why the report alone is due: what it was rendered from, compared with what it would be rendered from now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from bench import reports
from bench.errors import UserError, listed
from bench.pipeline import face_points, masks, render, rendered, together
from bench.pipeline.prepared import Prepared, Setup
from bench.pipeline.reasons import Inputs, changed, flattened
from bench.provenance import version
from bench.records import RunRecord
from bench.results import store

if TYPE_CHECKING:
    from bench.pipeline.forecast import Row

# What only the report hangs on, by its field in `RunRecord`.
_RENDERED_BY = {
    "threshold": "threshold",
    "margin": "margin",
    "gallery_top": "gallery top",
    "gallery_heatmaps": "gallery heatmaps",
    "gallery_occlusion": "gallery occlusion",
    "choose": "choose",
    "judge": "judge",
}
_NO_RECORD = f"{store.RUN} is gone or damaged"
_NOT_RENDERED = "not rendered yet, or a file of it is gone"
_RENDERED_OTHERWISE = "its results or its files are not those it was rendered with"


def of_reports(prepared: Prepared, rows: Sequence[Row]) -> tuple[str, ...]:
    """Why a report is due where every row is done; empty where all are rendered from these results already."""
    reasons = [_of_report(setup, [row for row in rows if row.setup == setup]) for setup in prepared.setups]
    due = tuple(dict.fromkeys(reason for of_report in reasons for reason in of_report))
    return due or _of_comparison(prepared)


def _of_comparison(prepared: Prepared) -> tuple[str, ...]:
    """Why the report above those of several detectors or frame sets is due, where none of these is."""
    settings, folder = prepared.first.settings, prepared.report
    if len(settings.folders) == 1:
        return ()
    if rendered.is_rendered(folder, together.mark_together(prepared.results, settings)):
        return ()
    return (_RENDERED_OTHERWISE if reports.is_whole(folder) else _NOT_RENDERED,)


def _of_report(setup: Setup, rows: Sequence[Row]) -> tuple[str, ...]:
    """Why the report of a detector on a frame set is due."""
    try:
        run = store.read_run(setup.results)
    except UserError:
        return (_NO_RECORD,)
    settings = _changed_settings(run, render.as_set(run, setup.settings))
    if differences := [*settings, *_of_frames(run, setup), *_changed_variants(run, setup, rows)]:
        return tuple(differences)
    folder = setup.report
    if not reports.is_whole(folder):
        return (_NOT_RENDERED,)
    if rendered.is_rendered(folder, rendered.mark_of(setup.results)):
        return ()
    earlier, now = run.provenance.get("bench", ""), version("bench")
    if earlier != now and rendered.is_rendered(folder, rendered.mark_of(setup.results, earlier)):
        return (changed("bench", earlier, now),)
    return (_RENDERED_OTHERWISE,)


def _changed_settings(run: RunRecord, run_as_set: RunRecord) -> list[str]:
    """Which settings of the report differ between the stored run and `run_as_set`, by the experiment file."""
    before, now = _report_settings(run), _report_settings(run_as_set)
    names = [name for name in dict.fromkeys([*now, *before]) if before.get(name) != now.get(name)]
    return [changed(name, before.get(name), now.get(name)) for name in names]


def _of_frames(run: RunRecord, setup: Setup) -> list[str]:
    return [*_changed_masks(run, setup), *_changed_faces(run, setup)]


def _changed_masks(run: RunRecord, setup: Setup) -> list[str]:
    """Whether masks of test frames came, went or changed."""
    before, now = run.masks.key if run.masks else "", masks.key_of(setup)
    if before == now:
        return []
    return ["masks came" if not before else "masks went" if not now else "masks changed"]


def _changed_faces(run: RunRecord, setup: Setup) -> list[str]:
    """Whether faces are asked for in another way than those that are stored."""
    before, now = run.faces.key if run.faces else "", face_points.key_of(setup)
    if before == now:
        return []
    return ["faces are asked for" if not before else "faces changed"]


def _report_settings(run: RunRecord) -> Inputs:
    """What only the report hangs on, as text, by its name in the experiment file."""
    settings = {title: getattr(run, field) for field, title in _RENDERED_BY.items()}
    if run.threshold_rule is not None:
        settings["threshold"] = run.threshold_rule.text
    settings["videos"] = asdict(run.video_scoring)
    settings["groups"] = ", ".join(run.groups) or None
    settings["robustness"] = ", ".join(level.title for level in run.degradations) or None
    settings["choose"] = asdict(run.choose) if run.choose else None
    return {name.replace(".", " "): text for name, text in flattened(settings, "") if text != "null"}


def _changed_variants(run: RunRecord, setup: Setup, rows: Sequence[Row]) -> list[str]:
    """Which variants the report lacks, shows in another form, or shows though they are no longer asked for."""
    ids = {variant.name: variant.id for variant in run.variants}
    missing = [row.name for row in rows if row.name not in ids]
    rebuilt = [row.name for row in rows if ids.get(row.name, row.id) != row.id]
    removed = [name for name in ids if name not in setup.chains]
    groups = (("lacks", missing), ("shows another", rebuilt), ("shows the removed", removed))
    return [f"it {what} {listed(names)}" for what, names in groups if names]
