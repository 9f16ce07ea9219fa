"""The galleries as Markdown: a table of pictures each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.records import Evaluation, RunRecord
from bench.reports.content.galleries import TITLES, judgement
from bench.reports.content.text import shortened
from bench.reports.markdown.write import RULES, escape, lines, link
from bench.reports.pictures.gallery import Galleries, Pair, Shown, overlay_path


@dataclass(frozen=True)
class MarkdownGalleries:
    """The file with the colours' key, where there are heatmaps; titles and tables, of outcomes and of pairs."""

    colour_bar: str | None
    outcomes: list[tuple[str, str]]
    pairs: list[tuple[str, str]]


def galleries(
    run: RunRecord, evaluation: Evaluation, shown: Galleries, colour_bar: str | None, results: Path, report: Path
) -> MarkdownGalleries:
    """All galleries; the links lead from the folder `report` to the overlays below `results`."""
    flipped = {name: len(judged.flips.rows) for name, judged in evaluation.variants.items() if judged.flips}
    other = {name: len(judged.drift.other_reason) for name, judged in evaluation.variants.items() if judged.drift}
    pairs = [
        ("Largest flips", _pairs(run, shown.flips, flipped, results, report)),
        ("Right for another reason", _pairs(run, shown.other_reason, other, results, report)),
    ]
    pairs.append(("Frames that most variants lose", _lost(shown, results, report)))
    outcomes = _outcomes(run, evaluation, shown, results, report)
    return MarkdownGalleries(colour_bar, outcomes, [(title, table) for title, table in pairs if table])


def _outcomes(
    run: RunRecord, evaluation: Evaluation, shown: Galleries, results: Path, report: Path
) -> list[tuple[str, str]]:
    """Title and table for every outcome: the top frames of every variant."""
    tables = []
    for outcome, title in TITLES.items():
        rows = []
        for name, outcomes in shown.outcomes.items():
            ranked = outcomes[outcome]
            cells = [
                _cell(name, frame, judgement(evaluation, name, frame.row), results, report)
                for frame in ranked.first[: run.gallery_top]
            ]
            cells += ["N/A"] * (run.gallery_top - len(cells))
            rows.append([f"**{escape(name)}**", f"{ranked.count:,}", *cells])
        tables.append((title, _table(run.gallery_top, rows)))
    return tables


def _pairs(
    run: RunRecord, pairs: Mapping[str, tuple[Pair, ...]], counts: Mapping[str, int], results: Path, report: Path
) -> str:
    """The baseline's picture beside the variant's, frame by frame; "" where there are none."""
    most = max((len(of_variant) for of_variant in pairs.values()), default=0)
    if not most:
        return ""
    baseline, rows = run.baseline.name, []
    for name, of_variant in pairs.items():
        if not of_variant:
            continue
        cells = []
        for pair in of_variant:
            both = (picture(baseline, pair.baseline, results, report), picture(name, pair.variant, results, report))
            scores = f"`{pair.baseline.p_fake:.4f}` → `{pair.variant.p_fake:.4f}`"
            cells.append(f"{''.join(both)}<br>{scores}<br>{_change(pair)}<br>_{escape(shortened(pair.variant.frame))}_")
        rows.append([f"**{escape(name)}**", f"{counts[name]:,}", *cells, *["N/A"] * (most - len(cells))])
    return _table(most, rows)


def _lost(shown: Galleries, results: Path, report: Path) -> str:
    """A row for each frame, with the pictures of the baseline and of the variants; "" where there are none."""
    if not shown.lost:
        return ""
    names = list(shown.lost[0])
    rows = []
    for by_variant in shown.lost:
        cells = []
        for name, verdict in by_variant.items():
            wrong = "" if verdict.outcome.startswith("true") else ", wrong"
            cells.append(f"{picture(name, verdict, results, report)}<br>`{verdict.p_fake:.4f}`{wrong}")
        of_first = by_variant[names[0]]
        what = "fake" if of_first.outcome in ("true_positives", "false_negatives") else "real"
        rows.append([f"_{escape(shortened(of_first.frame))}_<br>{what}", *cells])
    titles = ["Frame", *map(escape, names)]
    return lines(titles, [RULES["left"], *[RULES["center"]] * len(names)], *rows)


def _table(ranks: int, rows: list[list[str]]) -> str:
    titles = ["Model", "Frames", *(f"Rank {rank}" for rank in range(1, ranks + 1))]
    return lines(titles, [RULES["left"], RULES["right"], *[RULES["center"]] * ranks], *rows)


def _change(pair: Pair) -> str:
    """What the frame is, and whether the variant decides it better or worse than the baseline."""
    is_fake = pair.variant.outcome in ("true_positives", "false_negatives")
    right = [shown.outcome.startswith("true") for shown in (pair.baseline, pair.variant)]
    what = "fake" if is_fake else "real"
    return what if right[0] == right[1] else f"{what}, {'worse' if right[0] else 'better'}"


def _cell(name: str, shown: Shown, judged: str, results: Path, report: Path) -> str:
    below = [f"`{shown.p_fake:.4f}`", *([judged] if judged else []), f"_{escape(shortened(shown.frame))}_"]
    return "<br>".join([picture(name, shown, results, report), *below])


def picture(name: str, shown: Shown, results: Path, report: Path) -> str:
    """A variant's overlay of a frame."""
    return f"![{escape(shown.frame)}]({link(overlay_path(results, name, shown), report)})"
