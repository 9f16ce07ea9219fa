"""Where heatmaps lie, in reports of several detectors or frame sets: a table for each of them, as in its own report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from bench.records import Alone, Evaluation, Outcome, RunRecord
from bench.reports.content import localisation, regions
from bench.reports.content.cells import Cell, Table
from bench.reports.content.galleries import TITLES
from bench.reports.content.spans import Sentence, docs, sentence, strong

OUTCOME: Outcome = "true_positives"
"""The parts of the face are shown for these frames alone; the report of each has those of the others."""


@dataclass(frozen=True)
class Tables:
    """A table for each detector or frame set, by its name, with what is said of each, and how they are read."""

    title: str
    note: Sentence
    findings: list[Sentence]
    tables: list[tuple[str, Table]]


def heatmaps(parts: Mapping[str, Alone]) -> list[Tables]:
    """Maps beside masks of what was forged, and beside parts of the face; nothing of what is not known.

    `parts` are the scores of detectors on a frame set, or of one detector on frame sets, by their names.
    """
    located = {name: table for name, part in parts.items() if (table := localisation.localised(part.evaluation))}
    of_faces = {name: regions.of_outcome(part.run, part.evaluation, OUTCOME) for name, part in parts.items()}
    on_face = {name: table for name, table in of_faces.items() if table}
    both = [
        Tables("Does it still look at the forgery?", _beside_masks(), _findings(parts, located, localisation.finding),
               _tables(located)),
        Tables("Parts of the face", _beside_parts(), _findings(parts, on_face, regions.finding), _tables(on_face)),
    ]  # fmt: skip
    return [each for each in both if each.tables]


def _findings(
    parts: Mapping[str, Alone],
    shown: Mapping[str, Table],
    finding: Callable[[RunRecord, Evaluation], list[Sentence]],
) -> list[Sentence]:
    """What each report says first, after the name of what it is about."""
    return [
        sentence(strong(name), ": ", text)
        for name in shown
        for text in finding(parts[name].run, parts[name].evaluation)
    ]


def _tables(shown: Mapping[str, Table]) -> list[tuple[str, Table]]:
    return [(name, replace(table, rows=tuple(_rows(table)))) for name, table in shown.items()]


def _rows(table: Table) -> Iterator[tuple[Cell, ...]]:
    """The rows without the marks of variants, which are those of detectors here, or of no table on the page."""
    for first, *others in table.rows:
        named = first if first.variant is None else Cell(sentence(strong(first.variant)))
        yield (named, *others)


def _beside_masks() -> Sentence:
    return sentence(
        "Heatmaps beside masks of what was forged, over the fakes that have one: how often the hottest place is "
        "forged, the share of the evidence that lies inside, and how well the map ranks forged places above others. Δ "
        "is the paired difference to the baseline of the same detector on the same fakes, bold where less is "
        "significant. More: ",
        docs("verdicts.md#where-heatmaps-lie"),
        ".",
    )


def _beside_parts() -> Sentence:
    return sentence(
        f"{TITLES[OUTCOME]}: the share of the evidence on each part of the face in percent; in parentheses the paired "
        "difference to the baseline of the same detector, bold where it is significant by its own interval. Other "
        "outcomes are in the report of each. More: ",
        docs("verdicts.md#parts-of-the-face"),
        ".",
    )
