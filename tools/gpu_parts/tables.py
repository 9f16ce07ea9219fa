"""The results as Markdown, for docs/benchmarks.md: each table says which card, when, and by which command."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gpu_parts import PARTS, targets
from gpu_parts.record import FINISHED

_LONGEST_CELL = 700


def markdown(content: Mapping[str, Any]) -> str:
    """All parts that there are, in the order in which they run."""
    parts = [name for name in PARTS if name in content["parts"]]
    return "\n".join(line for name in parts for line in _part(name, content["parts"][name]))


def _part(name: str, part: Mapping[str, Any]) -> Iterator[str]:
    yield f"### {name}: {PARTS[name].about}"
    yield f"`{part['command']}`, {part['gpu']}, {part['began']}, {part.get('seconds', 0):.0f} s of {part['limit_s']:g}."
    if part["status"] != FINISHED:
        yield f"**{part['status']}**: {part.get('reason', 'it did not come to its end')}."
    yield ""
    if part["rows"]:
        yield from table(part["rows"])
        yield ""
    yield from (f"- {line}" for line in (*targets.verdicts(name, part["rows"]), *part["notes"]))
    yield ""


def table(rows: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """One line a row; a column for every name that a cell has anywhere, in order of appearance."""
    columns = list(dict.fromkeys(name for row in rows.values() for name in row if name != "at"))
    yield f"| | {' | '.join(columns)} |"
    yield f"|{' --- |' * (len(columns) + 1)}"
    for name, row in rows.items():
        yield f"| {_cell(name)} | {' | '.join(_cell(row.get(column)) for column in columns)} |"


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = f"{value:.4g}" if isinstance(value, float) and abs(value) < 1000 else f"{value:.0f}" \
        if isinstance(value, float) else str(value)  # fmt: skip
    text = " ".join(text.split()).replace("|", "\\|")
    return text if len(text) <= _LONGEST_CELL else f"{text[:_LONGEST_CELL]} …"
