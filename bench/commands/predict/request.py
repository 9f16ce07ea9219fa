"""What `bench predict` is asked for, checked before anything is loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.datasets import checked_pattern
from bench.datasets.layouts.manifest.tables import COLUMNS
from bench.errors import UserError
from bench.footage import sampling
from bench.records.inspection import FacesOption


@dataclass(frozen=True)
class Options:
    """What is predicted, and how.

    `inputs` are pictures, videos, folders and manifests. `variant` is named as on the command line, None for the
    baseline. `label_pattern` finds the true label in a file's path. `threshold` is None for the experiment's own.
    `columns` are what manifests call theirs (`columns_of`); None for the usual names.
    `frames` are those that `frame_sampling` takes of a video.
    """

    inputs: tuple[Path, ...]
    to: Path
    variant: str | None = None
    faces: FacesOption = "auto"
    label_pattern: str | None = None
    threshold: float | None = None
    columns: Mapping[str, str] | None = None
    frames: int = 32
    frame_sampling: str = "linspace"
    heatmaps: bool = False
    embedding: bool = False


def columns_of(**named: str | None) -> Mapping[str, str] | None:
    """What manifests call their columns, by role, of the options for it; None where none is given.

    Raises `UserError` for an empty name, and for one that would be two columns.
    """
    given = {role: name.strip().lower() for role, name in named.items() if name is not None}
    columns = {role: given.get(role, role) for role in COLUMNS}
    for role, name in given.items():
        if not name:
            raise UserError(f"--{role}-column: expected the name of a column, found nothing")
        other = next((other for other, its in columns.items() if its == name and other != role), None)
        if other:
            raise UserError(f"--{role}-column {name}: that is the column of `{other}` already")
    return columns if given else None


def check(options: Options) -> None:
    """Raise `UserError` for what is wrong with the options by themselves."""
    if options.threshold is not None and not (math.isfinite(options.threshold) and 0 <= options.threshold <= 1):
        raise UserError(f"--threshold: expected P(fake), from 0 to 1, found {options.threshold:g}")
    if options.to.suffix.lower() != ".csv":
        raise UserError(f"--to {options.to}: expected the name of a CSV file, such as predictions.csv")
    try:
        sampling.check(options.frame_sampling, options.frames)
    except UserError as error:
        raise UserError(f"--{error}") from None
    try:
        checked_pattern(options.label_pattern, what="label")
    except ValueError as error:
        raise UserError(f"--label-pattern: {error}") from None
