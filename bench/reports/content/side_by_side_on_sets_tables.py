"""The tables of the report of several detectors on several frame sets: detectors by sets, and variants by sets."""

from __future__ import annotations

from collections.abc import Mapping

from bench.records import Choice, SideBySideOnSets
from bench.reports.content.cells import EMPTY, NOT_PRINTED, ON_SET, Cell, Column, Table, cell, table, variant_cell
from bench.reports.content.frame_sets_tables import auc_cell, comparison_cell, set_columns, verdict_cell
from bench.reports.content.inputs import networks_and_inputs
from bench.reports.content.side_by_side_tables import size_cell
from bench.reports.content.spans import link, sentence, strong
from bench.reports.content.text import rough, within
from bench.reports.content.variants import area_cell


def detectors(together: SideBySideOnSets, page: str, below: Mapping[str, Mapping[str, str]]) -> Table:
    """A row for each detector as it is: its AUC on each set leads to its report there."""
    rows, networks = [], networks_and_inputs({name: across.run for name, across in together.detectors.items()})
    for name, across in together.detectors.items():
        cells = [variant_cell(name), cell(networks[name])]
        for frame_set, alone in across.sets.items():
            judged, target = alone.judged.variants.get(alone.baseline), f"{below[frame_set][name]}/{page}"
            auc = judged.auc if judged else None
            if auc is None:
                cells.append(cell(link("no AUC" if judged else "failed", target)))
            else:
                shown = area_cell(auc)
                cells.append(Cell(sentence(link(str(shown.text), target)), within(auc.interval, 3), auc.value))
        rows.append(cells)
    sets = [Column(f"AUC on {name}", key=f"{ON_SET}{name}", stacked=True) for name in together.compared]
    return table([Column("Detector", "left"), Column("Network and input", "left", key=NOT_PRINTED), *sets], rows)


def variants(together: SideBySideOnSets) -> Table:
    """A row for each variant: its verdict over all sets, ΔAUC to the reference on each, size and speed."""
    first, sets = together.first, together.worst_first
    results = {variant.name: variant for variant in first.run.variants}
    home = next(iter(together.detectors.values())).home
    rows = []
    for title, (detector, name) in first.titles.items():
        across, speed = together.detectors[detector], first.evaluation.speeds[title]
        overall = together.verdicts.get(title)
        is_baseline = name == across.run.baseline.name
        rows.append(
            [
                variant_cell(title),
                _standing(title, together.evaluation.choice),
                cell("baseline") if is_baseline else verdict_cell(across.verdicts.get(name)),
                *(_on(together, title, each) if overall is None else comparison_cell(overall, each) for each in sets),
                size_cell(results[title]),
                EMPTY if speed.latency_ms is None else cell(rough(speed.latency_ms), value=speed.latency_ms),
            ]
        )
    return table(
        [
            Column("Detector/variant", "left"),
            Column("Choice", "left", key=NOT_PRINTED),
            Column("To its own, for all", "left"),
            *set_columns(sets, home),
            Column("Size (MiB)"),
            Column("Latency (ms)"),
        ],
        rows,
    )


def _on(together: SideBySideOnSets, title: str, frame_set: str) -> Cell:
    """What a set says of a variant that is compared with nothing: the reference."""
    judged = together.compared[frame_set].evaluation.variants.get(title)
    return cell("failed") if judged is None else auc_cell(judged)


def _standing(title: str, choice: Choice | None) -> Cell:
    """Whether it is the one to ship, or which limit it misses on a set."""
    candidates = {candidate.name: candidate for candidate in choice.candidates} if choice else {}
    if choice is None or title not in candidates:
        return EMPTY
    if title in (choice.chosen, choice.runner_up):
        return cell(strong("ship") if title == choice.chosen else "runner-up")
    missed = [requirement.constraint for requirement in candidates[title].requirements if not requirement.met]
    return cell(f"misses {', '.join(missed)}") if missed else EMPTY
