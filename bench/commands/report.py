"""`bench report`: score and render again what `results/<experiment>/` holds."""

from __future__ import annotations

from pathlib import Path

from bench.experiment import ExperimentSettings
from bench.pipeline import render
from bench.pipeline.render import Finished
from bench.records import OnEvent, silent
from bench.results import store


def report(
    base: Path, name: str, settings: ExperimentSettings, *, again: bool = False, on_event: OnEvent = silent
) -> Finished:
    """Score and render what is stored, waiting for a run that is at it; see `render.report`."""
    store.read_run(base / "results" / name)
    with store.locked(base / "results" / name, f"rendering {name}", on_event):
        return render.report(base, name, settings, again=again, on_event=on_event)
