"""How each detector's weights are read, checked once and remembered by their content, so that no PyTorch is needed."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from pathlib import Path

from bench import detectors, seals, stored
from bench.files import write_text
from bench.provenance import digest
from bench.records import Reading
from bench.variants import ids
from bench.variants.context import Source

FOLDER = ".readings"
_FORMAT = 1  # raised whenever a file is checked otherwise, or something else is said of it
_MOST_BYTES = 2**20


def reading_of(source: Source, variants: Path) -> Reading:
    """What is made of the weights of a source. Raises `UserError` for all that `bench run` refuses of them.

    What is remembered lies in the folder of the variants; where that cannot be written, weights are read every time.
    """
    file = _file(source, variants)
    reading = _recalled(file)
    if reading is None:
        _, reading = detectors.read(source.architecture, source.weights, source.preprocessing, source.conventions)
        _remember(file, reading)
    return reading


def remembered(source: Source, variants: Path) -> Reading | None:
    """What was made of the weights earlier; None where this version of bench has not read them yet."""
    return _recalled(_file(source, variants))


def _file(source: Source, variants: Path) -> Path:
    return variants / FOLDER / f"{digest({'format': _FORMAT, 'weights': ids.of_weights(source)})}.json"


def _recalled(file: Path) -> Reading | None:
    """A stranger's file says nothing: it could call weights whole that are not."""
    try:
        if file.parent.is_symlink():
            return None
        data = seals.unsealed(stored.read_bytes(file, _MOST_BYTES, links=False), _key(file))
        reading: Reading | None = None if data is None else stored.typed(Reading, json.loads(data))
    except (OSError, ValueError):
        return None
    return reading


def _remember(file: Path, reading: Reading) -> None:
    if file.parent.is_symlink():  # it may lead to anybody's folder
        return
    with contextlib.suppress(OSError):
        write_text(file, seals.sealed(json.dumps(asdict(reading)), _key(file)))


def _key(file: Path) -> str:
    return f"reading {file.stem}"
