"""What was found out about weights, remembered by their content below the folder of variants.

Only what this user wrote is believed: a stranger's file could call weights whole that are not.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from bench import seals, stored
from bench.files import write_text
from bench.provenance import digest

FOLDER = ".readings"
_MOST_BYTES = 2**20

_Record = TypeVar("_Record")


def recall(variants: Path, depends_on: dict[str, Any], kind: type[_Record]) -> _Record | None:
    """The record of this kind that was made of this; None where there is none."""
    file = _file(variants, depends_on)
    try:
        if file.parent.is_symlink():
            return None
        data = seals.unsealed(stored.read_bytes(file, _MOST_BYTES, links=False), _key(file))
        record: _Record | None = None if data is None else stored.typed(kind, json.loads(data))
    except (OSError, ValueError):
        return None
    return record


def remember(variants: Path, depends_on: dict[str, Any], record: Any) -> None:
    """Keep a record, where it can be written."""
    file = _file(variants, depends_on)
    if file.parent.is_symlink():  # it may lead to anybody's folder
        return
    with contextlib.suppress(OSError):
        write_text(file, seals.sealed(json.dumps(asdict(record)), _key(file)))


def _file(variants: Path, depends_on: dict[str, Any]) -> Path:
    return variants / FOLDER / f"{digest(depends_on)}.json"


def _key(file: Path) -> str:
    return f"remembered {file.stem}"
