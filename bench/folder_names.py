"""Names that a person gives to experiments, detectors, frame sets and variants: each becomes a folder's."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import BeforeValidator, Field

from bench.errors import in_yaml, quoted

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

# What Windows keeps for devices, and the files that lie beside a variant's folder; logs lie there too.
_RESERVED = {"con", "prn", "aux", "nul", "run", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}

_BESIDE = {
    "report.md", "report.html", "scores.json", "size_auc.png", "latency_auc.png", "check.md", "check.xml",
    "flips.csv", "inputs.json", "appearance.parquet", "attributes.parquet", "copies.parquet", "tables",
    "history.jsonl", "history.png", "flipped_videos.csv", "exemplars.csv",
}  # fmt: skip
"""What a report, and results, have beside the folder of each of several detectors or frame sets."""


def checked_name(name: object) -> str:
    """A name that can be that of a folder on every system; otherwise `ValueError`."""
    # Names become folder names, on every system.
    if not isinstance(name, str):
        raise ValueError(f"YAML reads this name as {in_yaml(name)}, not as text: put it in quotes")
    if name.casefold().partition(".")[0] in _RESERVED or name.casefold().endswith((".", ".log")):
        raise ValueError(f"{quoted(name)} cannot be a name: it means something else to a file system; use another")
    if not NAME.fullmatch(name):
        raise ValueError(
            f"{name[:80]!r} cannot be a name: use at most 64 letters, digits, '.', '_', '-', "
            "the first a letter or digit"
        )
    return name


def checked_list(names: object, kind: str, example: str) -> tuple[str, ...]:
    """A list of names of one kind, such as "detector"; otherwise `ValueError`. Of several, each gets a folder."""
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"expected a list of names, such as {example}; found {in_yaml(names)}")
    if twice := [name for index, name in enumerate(names) if name in names[:index]]:
        raise ValueError(f"names {quoted(twice[0])} twice")
    if len(names) > 1:
        refuse_equal_folders(names, kind)
        if reserved := [name for name in names if name.casefold() in _BESIDE]:
            raise ValueError(f"the report has a file {quoted(reserved[0])}; give the {kind} another name")
    return tuple(names)


def refuse_equal_folders(names: Iterable[str], kind: str) -> None:
    """Raise `ValueError` where two names differ in case only."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            raise ValueError(f"{kind}s {other!r} and {name!r} differ in case only, which not every file system tells")


def _names_of_sets(names: object) -> object:
    if isinstance(names, str):
        return (names,)
    if not isinstance(names, list):
        raise ValueError(
            f"expected a name under `datasets:`, or a list of names, such as [celeb, mine]; found {in_yaml(names)}"
        )
    return checked_list(names, "frame set", "[celeb, mine]")


FrameSets = Annotated[
    tuple[str, ...],
    BeforeValidator(_names_of_sets, json_schema_input_type=str | Annotated[list[str], Field(min_length=1)]),
]
"""One name or a list of names."""
