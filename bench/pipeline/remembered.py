"""What was found out about weights, remembered by their content below the folder of variants.

Only what this user wrote is believed: a stranger's file could call weights whole that are not.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from bench import seals, stored
from bench.provenance import digest

FOLDER = ".readings"
_MOST_BYTES = 2**20

_Record = TypeVar("_Record")


def recall(variants: Path, depends_on: dict[str, Any], kind: type[_Record]) -> _Record | None:
    """The record of this kind that was made of this; None where there is none."""
    file = _file(variants, depends_on)
    content = seals.recall(file, _key(file), _MOST_BYTES)
    try:
        record: _Record | None = None if content is None else stored.typed(kind, content)
    except ValueError:
        return None
    return record


def remember(variants: Path, depends_on: dict[str, Any], record: Any) -> None:
    """Keep a record, where it can be written."""
    file = _file(variants, depends_on)
    seals.remember(file, _key(file), asdict(record))


def _file(variants: Path, depends_on: dict[str, Any]) -> Path:
    return variants / FOLDER / f"{digest(depends_on)}.json"


def _key(file: Path) -> str:
    return f"remembered {file.stem}"
