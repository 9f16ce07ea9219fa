"""Writes the summary of predictions: a page that needs no other file, and Markdown beside its figures."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bench.files import write_text
from bench.records import CLASSES, class_of
from bench.records.predicted import PredictedPicture, PredictedSummary
from bench.reports.content.text import number
from bench.reports.html import decision_plots
from bench.reports.html import plots as html_plots
from bench.reports.inspection import pages
from bench.reports.pictures import figures
from bench.reports.predictions import content
from bench.reports.predictions.frames import outcome

_FOLDER = Path(__file__).parent
_SIDE = 220
"""Pixels of the longest side of a picture in the page."""


def write(
    summary: PredictedSummary, page: Path, text: Path, pictures: Path, files: tuple[tuple[str, str], ...]
) -> None:
    """Write the page and the Markdown; figures go to the folder `pictures`, which lies beside them.

    `files` are others to name: what each is, and its name beside the page.
    """
    judged, by_video = summary.judged, summary.by_video
    plots = content.drawable(summary.variant, judged) if judged else None
    drawn = figures.draw(plots, pictures) if plots else []
    tables = []
    if judged:
        of_pictures = content.metrics(judged, summary.accuracy_ci, "picture")
        tables.append((f"At the threshold {summary.threshold:g}, where one is needed", of_pictures))
    if by_video:
        of_videos = content.metrics(by_video, summary.video_accuracy_ci, "video")
        tables.append((f"By video: the score of each is {summary.video_score}", of_videos))
    context: dict[str, Any] = {
        "title": f"{summary.variant} of {summary.experiment}",
        "variant": summary.variant,
        "opening": content.opening(summary),
        "labels_note": content.labels_note(summary),
        "interval_note": content.interval_note(judged) if judged else "",
        "tables": tables,
        "matrix": plots.confusion.panels[0] if plots and plots.confusion else None,
        "count": judged.score.count if judged else 0,
        "errors": content.errors_table(summary.errors) if summary.errors else None,
        "errors_caption": content.errors_caption(len(summary.errors), summary.counts.failed),
        "files": files,
    }
    shown = [_shown(picture, page.parent, summary.threshold) for picture in summary.shown]
    figures_of = [(title, f"{quote(pictures.name)}/{file}") for title, file in drawn]
    write_text(text, pages.markdown("summary.md.j2", {**context, "figures": figures_of, "shown": shown}, _FOLDER))
    curves = {
        "roc": html_plots.roc(plots.roc)[0] if plots and plots.roc else None,
        "precision": decision_plots.precision(plots.precision)[0] if plots and plots.precision else None,
        "reliability": html_plots.reliability(plots.calibration)[0] if plots and plots.calibration else None,
    }
    write_text(page, pages.html("summary.html.j2", {**context, **curves, "shown": shown}, [summary.variant], _FOLDER))


def _shown(picture: PredictedPicture, folder: Path, threshold: float) -> dict[str, str]:
    """A picture of the gallery: its data, its file, and what is said of it."""
    called = class_of(picture.p_fake, threshold)
    label = None if picture.label is None else CLASSES[picture.label]
    frame = f", frame {picture.frame_index}" if picture.frame_index is not None else ""
    return {
        "uri": _data(folder / picture.heatmap),
        "file": quote(picture.heatmap),
        "path": f"{picture.path}{frame}",
        "outcome": outcome(called, label),
        "says": f"called {called}" + (f", is {label}" if label else "") + f", P(fake) {number(picture.p_fake, 3)}",
    }


def _data(file: Path) -> str:
    """A heatmap small enough for the page; empty where its file is gone."""
    from PIL import Image

    try:
        with Image.open(file, formats=("JPEG",)) as image:
            small = image.convert("RGB")
    except (OSError, ValueError):
        return ""
    small.thumbnail((_SIDE, 2 * _SIDE), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
