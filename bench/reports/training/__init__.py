"""Reports of trainings: report.md with figures, report.html as one file, in the look of all reports."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bench.files import make_folder, write_text
from bench.records.trainings import TrainingReport
from bench.reports.inspection import pages
from bench.reports.training import charts, figures, grid
from bench.reports.training.content import content

MARKDOWN, PAGE = "report.md", "report.html"
_FOLDER = Path(__file__).parent


def write(report: TrainingReport, folder: Path) -> Mapping[str, Path]:
    """Write the report of a training into the folder of its run; its files by what they are."""
    make_folder(folder)
    texts = content(report)
    drawn = figures.write(texts.charts, folder)
    context = {**vars(texts), "report": report}
    shown = grid.write(report.samples, report.threshold, folder)
    files = {"report": folder / PAGE, "text": folder / MARKDOWN}
    markdown = pages.markdown("training.md.j2", {**context, "figures": drawn, "grid": shown}, _FOLDER)
    write_text(files["text"], markdown)
    cards = grid.cards(report.samples, report.threshold)
    plots = [(chart, charts.draw(chart)) for chart in texts.charts]
    page = pages.html("training.html.j2", {**context, "plots": plots, "cards": cards}, texts.looks, _FOLDER)
    write_text(files["report"], page)
    return files
