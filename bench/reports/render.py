"""One report: overlays, figures, the ledger of flips, report.md, report.html, and scores.json last."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench import phases
from bench.files import remove, write_atomically, write_text
from bench.records import Evaluation, OnSets, RunRecord, SideBySide, SideBySideOnSets
from bench.reports import html, latex, spreadsheet
from bench.reports.content import changes, exemplars
from bench.reports.content.flipped_videos import flipped_videos
from bench.reports.content.flipped_videos import ledger as video_ledger
from bench.reports.content.frame_sets import all_sets
from bench.reports.content.judged import judged
from bench.reports.content.main_tables import MainTable, main_tables
from bench.reports.content.plots import plots
from bench.reports.content.report import gather
from bench.reports.content.side_by_side import overall
from bench.reports.content.side_by_side_on_sets import overall_on_sets
from bench.reports.content.tables_of_several import of_detectors, of_detectors_on_sets, of_sets
from bench.reports.html.frame_sets import page as sets_as_page
from bench.reports.html.pictures import pictured
from bench.reports.html.side_by_side import page as as_page
from bench.reports.html.side_by_side import page_on_sets as detectors_on_sets_as_page
from bench.reports.markdown import frame_sets as sets_as_markdown
from bench.reports.markdown import markdown
from bench.reports.markdown import side_by_side as as_markdown
from bench.reports.markdown import side_by_side_on_sets as detectors_on_sets_as_markdown
from bench.reports.markdown.galleries import MarkdownGalleries, galleries
from bench.reports.markdown.videos import flipped
from bench.reports.pictures import figures, timelines
from bench.reports.pictures.gallery import Galleries, draw_overlays, has_maps
from bench.reports.pictures.gallery import galleries as choose
from bench.reports.scores_json import as_text, scores, scores_side_by_side
from bench.reports.scores_of_sets import scores_on_sets, scores_side_by_side_on_sets
from bench.reports.spreadsheet import no_formula

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

LEDGER, VIDEO_LEDGER, EXEMPLARS = "flips.csv", "flipped_videos.csv", "exemplars.csv"
TABLES = "tables"
_WRITERS = {".csv": spreadsheet.document, ".tex": latex.document}
COLOUR_BAR = "heatmap_colours.png"
THUMBNAILS = ".thumbnails"


def render(
    run: RunRecord,
    evaluation: Evaluation,
    pixels: Callable[[str], NDArray[np.uint8]] | None,
    results: Path | None,
    report: Path,
    above: str = "",
) -> None:
    """Write report.md, its figures, report.html, ledgers and scores.json into `report`, and overlays below `results`.

    `pixels(frame)` is a test frame as the networks saw it, uint8 RGB [size, size, 3], asked for only
    where an overlay or a thumbnail is missing or out of date. `results` is the experiment's folder. Both are None
    where there are only scores, and no galleries then. `above` leads from `report` to the folder of the report of all
    detectors and frame sets, "../" or more; empty where there is none. Every file is written atomically, scores.json
    last.
    """
    shown = None
    if pixels is not None and results is not None:
        phases.begin("drawing galleries")
        shown = choose(run, evaluation)
        draw_overlays(run, evaluation, shown, pixels, results)
    phases.begin("drawing figures")
    of = judged(run, evaluation)
    drawable = of.plots(plots(of.run, of.evaluation))
    drawn = figures.draw(drawable, report)
    of_videos = flipped_videos(run, evaluation)
    video_files = timelines.draw(of_videos, run.threshold, report)
    ledger = _write_ledger(changes.ledger(run, evaluation), report / LEDGER)
    _write_ledger(video_ledger(run, evaluation), report / VIDEO_LEDGER)
    _write_ledger(exemplars.ledger(run, evaluation), report / EXEMPLARS)
    phases.begin("writing the pages")
    numbers = scores(run, evaluation)
    tables = _write_tables(main_tables(run, evaluation, numbers), report / TABLES)
    content = gather(run, evaluation, numbers, ledger=ledger, tables=tables)
    overlays = (shown, results) if shown is not None and results is not None else None
    pictures = _galleries(run, evaluation, *overlays, report) if overlays else None
    below = flipped(run.baseline.name, of_videos, video_files, overlays, report)
    text = markdown(content, drawn, pictures, below, f"{above}report.md" if above else "")
    way_up = f"{above}report.html" if above else ""
    page = html.page(content, evaluation, drawable, pictured(run, evaluation, pixels, report / THUMBNAILS), way_up)
    write_text(report / "report.md", text)
    write_text(report / "report.html", page)
    write_text(report / "scores.json", f"{as_text(numbers)}\n")


def render_side_by_side(
    compared: Mapping[str, SideBySide], warnings: Mapping[str, Sequence[str]], below: Mapping[str, Path], report: Path
) -> None:
    """Write report.md, its figures, report.html, tables and scores.json of several detectors into `report`.

    `compared` has them on each frame set, and scores.json those of the first. `warnings` are those of each detector,
    and `below` is the folder of the report of each, seen from `report`.
    """
    phases.begin("writing the pages")
    folders = {name: folder.as_posix() for name, folder in below.items()}
    text, page = (overall(compared, warnings, f"report.{form}", folders) for form in ("md", "html"))
    drawn = [figures.draw(section.plots, report) for section in text.sections]
    reports = [(name, f"{folder}/report.html") for name, folder in folders.items()]
    _remove_of_one(report)
    numbers = scores_side_by_side(next(iter(compared.values())))
    tables = _write_tables(of_detectors(numbers, text.sections[0]), report / TABLES)
    write_text(report / "report.md", as_markdown(text, drawn, tables))
    write_text(report / "report.html", as_page(page, reports, tables))
    write_text(report / "scores.json", f"{as_text(numbers)}\n")


def render_on_sets(
    across: OnSets, warnings: Mapping[str, Sequence[str]], below: Mapping[str, Path], report: Path
) -> None:
    """Write report.md, report.html, tables and scores.json of a detector on several frame sets into `report`.

    `warnings` are those of the report on each set, and `below` is its folder, seen from `report`.
    """
    phases.begin("writing the pages")
    folders = {name: folder.as_posix() for name, folder in below.items()}
    text, page = (all_sets(across, warnings, f"report.{form}", folders) for form in ("md", "html"))
    reports = [(name, f"{folder}/report.html") for name, folder in folders.items()]
    _remove_of_one(report)
    numbers = scores_on_sets(across)
    tables = _write_tables(of_sets(numbers, text), report / TABLES)
    write_text(report / "report.md", sets_as_markdown(text, tables))
    write_text(report / "report.html", sets_as_page(page, reports, tables))
    write_text(report / "scores.json", f"{as_text(numbers)}\n")


def render_side_by_side_on_sets(
    together: SideBySideOnSets,
    warnings: Mapping[str, Sequence[str]],
    below: Mapping[str, Mapping[str, Path]],
    report: Path,
) -> None:
    """Write report.md, its figures, report.html, tables and scores.json of several detectors on several frame sets.

    `warnings` are those of each detector on each set; `below` is the folder of its report, seen from `report`, by
    frame set and detector.
    """
    phases.begin("writing the pages")
    folders = {of: {name: folder.as_posix() for name, folder in by.items()} for of, by in below.items()}
    text, page = (overall_on_sets(together, warnings, f"report.{form}", folders) for form in ("md", "html"))
    drawn = [figures.draw(section.plots, report) for section in text.sections]
    reports = {of: [(name, f"{folder}/report.html") for name, folder in by.items()] for of, by in folders.items()}
    _remove_of_one(report)
    numbers = scores_side_by_side_on_sets(together)
    by_set = {name: scores_side_by_side(compared) for name, compared in together.compared.items()}
    tables = _write_tables(of_detectors_on_sets(numbers, by_set, text), report / TABLES)
    write_text(report / "report.md", detectors_on_sets_as_markdown(text, drawn, tables))
    write_text(report / "report.html", detectors_on_sets_as_page(page, reports, tables))
    write_text(report / "scores.json", f"{as_text(numbers)}\n")


def _remove_of_one(report: Path) -> None:
    """Where the report of one detector on one set was before, its files would be read as those of all."""
    for name in (LEDGER, VIDEO_LEDGER, EXEMPLARS):
        (report / name).unlink(missing_ok=True)


def _write_tables(tables: Sequence[MainTable], folder: Path) -> list[tuple[str, str]]:
    """Write each table by all writers, and nothing else is in `folder` then; names and paths, seen from the report."""
    remove(folder)
    written = []
    for table in tables:
        for ending, document in _WRITERS.items():
            file = f"{table.name}{ending}"
            write_text(folder / file, document(table))
            written.append((file, f"{folder.name}/{file}"))
    return written


def _write_ledger(flips: pd.DataFrame | None, path: Path) -> bool:
    """Write a ledger of flips; False, and no such file, where nothing can be compared."""
    if flips is None:
        path.unlink(missing_ok=True)
        return False
    # People open it in a spreadsheet, and names of frames and videos come from strangers.
    for name in {"frame", "video", "source", "variant", "variants"} & set(flips.columns):
        flips[name] = flips[name].map(no_formula, na_action="ignore")
    write_atomically(path, lambda file: flips.to_csv(file, index=False, errors="replace"))
    return True


def _galleries(
    run: RunRecord, evaluation: Evaluation, shown: Galleries, results: Path, report: Path
) -> MarkdownGalleries:
    """The galleries of report.md, and the file with the key of their colours."""
    with_maps = any(has_maps(evaluation, name) for name in evaluation.predictions)
    if with_maps:
        figures.colour_bar(report / COLOUR_BAR)
    return galleries(run, evaluation, shown, COLOUR_BAR if with_maps else None, results, report)
