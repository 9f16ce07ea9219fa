"""`bench report`: score and render again what `results/<experiment>/` holds, and put the report into a zip file."""

from __future__ import annotations

from pathlib import Path

from bench import reports
from bench.errors import UserError
from bench.experiment import ExperimentSettings
from bench.pipeline import render
from bench.pipeline.finished import Finished
from bench.records import OnEvent, silent
from bench.results import store


def render_again(base: Path, name: str, settings: ExperimentSettings, on_event: OnEvent = silent) -> Finished:
    """Score and render stored results anew; waits for a run that holds them. See `render.report`."""
    results = base / "results" / name
    parts = [results / part for part in settings.folders]
    store.read_run(parts[0])
    with store.locked(results, f"rendering {name}", on_event, parts):
        return render.report(base, name, settings, again=True, on_event=on_event)


def zip_report(base: Path, name: str) -> Path:
    """Write the rendered report with every picture it shows into one zip file that survives moving; its path."""
    archive = base / "reports" / f"{name}.zip"
    try:
        reports.bundle(base / "reports" / name, base / "results" / name, archive)
    except OSError as error:
        raise UserError(f"{archive}: cannot be written ({error.strerror})") from error
    return archive
