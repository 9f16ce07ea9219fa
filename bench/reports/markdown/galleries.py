"""The galleries as Markdown: a table of pictures each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bench.records import Outcome, RunRecord
from bench.reports.content.text import Column, columns, escape, link, shortened, table
from bench.reports.pictures.gallery import Galleries, Pair, Shown, overlay_path

TITLES: dict[Outcome, str] = {
    "true_positives": "Resolved fakes (true positives)",
    "false_negatives": "Missed fakes (false negatives)",
    "false_positives": "Reals labelled fake (false positives)",
    "true_negatives": "Confirmed reals (true negatives)",
}


def of_outcomes(run: RunRecord, shown: Galleries, results: Path, report: Path) -> list[tuple[str, str]]:
    """Title and table for every outcome: the top frames of every variant."""
    found = []
    for outcome, title in TITLES.items():
        rows = []
        for name, outcomes in shown.outcomes.items():
            ranked = outcomes[outcome]
            cells = [_cell(name, one, results, report) for one in ranked.first[: run.gallery_top]]
            cells += ["N/A"] * (run.gallery_top - len(cells))
            rows.append([f"**{escape(name)}**", f"{ranked.count:,}", *cells])
        found.append((title, str(table(_columns(run.gallery_top), rows))))
    return found


def of_pairs(
    run: RunRecord, pairs: Mapping[str, tuple[Pair, ...]], counts: Mapping[str, int], results: Path, report: Path
) -> str:
    """The baseline's picture beside the variant's, frame by frame; "" where there are none."""
    most = max((len(found) for found in pairs.values()), default=0)
    if not most:
        return ""
    baseline, rows = run.baseline.name, []
    for name, found in pairs.items():
        if not found:
            continue
        cells = []
        for pair in found:
            both = (_picture(baseline, pair.baseline, results, report), _picture(name, pair.variant, results, report))
            scores = f"`{pair.baseline.p_fake:.4f}` → `{pair.variant.p_fake:.4f}`"
            cells.append(f"{''.join(both)}<br>{scores}<br>{_change(pair)}<br>_{escape(shortened(pair.variant.frame))}_")
        rows.append([f"**{escape(name)}**", f"{counts[name]:,}", *cells, *["N/A"] * (most - len(cells))])
    return str(table(_columns(most), rows))


def _columns(ranks: int) -> list[Column]:
    return [
        ("Model", "left"),
        ("Frames", "right"),
        *columns((f"Rank {rank}" for rank in range(1, ranks + 1)), "center"),
    ]


def _change(pair: Pair) -> str:
    """What the frame is, and whether the variant mends or spoils it."""
    is_fake = pair.variant.outcome in ("true_positives", "false_negatives")
    right = [one.outcome.startswith("true") for one in (pair.baseline, pair.variant)]
    what = "fake" if is_fake else "real"
    return what if right[0] == right[1] else f"{what}, {'worse' if right[0] else 'better'}"


def _cell(name: str, one: Shown, results: Path, report: Path) -> str:
    return f"{_picture(name, one, results, report)}<br>`{one.p_fake:.4f}`<br>_{escape(shortened(one.frame))}_"


def _picture(name: str, one: Shown, results: Path, report: Path) -> str:
    return f"![{escape(one.frame)}]({link(overlay_path(results, name, one), report)})"
