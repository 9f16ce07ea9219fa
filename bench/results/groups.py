"""Columns that divide frames into groups between which error rates are compared: `groups:` in an experiment."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, Field

from bench.errors import UserError, in_yaml, listed, nearest, quoted
from bench.records import MOST_VALUES
from bench.results.attributes import is_number

if TYPE_CHECKING:
    from bench.records import Frame, LabelledFrames


def _names(columns: object) -> tuple[str, ...]:
    """One name or several as a tuple; `ValueError` for anything else."""
    if isinstance(columns, str):
        columns = [columns]
    names = columns if isinstance(columns, (list, tuple)) else []
    if not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise ValueError(
            f"expected the name of a manifest's column, or a list of names, such as [skin_tone, age]; found "
            f"{in_yaml(columns)}"
        )
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ValueError(f"names {quoted(doubled[0])} twice")
    return tuple(names)


GroupColumns = Annotated[
    tuple[str, ...],
    BeforeValidator(_names, json_schema_input_type=str | Annotated[list[str], Field(min_length=1)]),
]
"""The name of a column, or a list of names."""


def group_columns(columns: str | Sequence[str], option: str) -> tuple[str, ...]:
    """The columns that an option names, none where it is empty. `UserError` where they are no names."""
    if isinstance(columns, (list, tuple)) and not columns:
        return ()
    try:
        return _names(columns)
    except ValueError as error:
        raise UserError(f"{option}: {error}") from None


def problem(columns: Sequence[str], values: Mapping[str, int], numbers: Collection[str]) -> str:
    """What keeps frames from being grouped by these columns; empty where nothing does.

    `values` are how many distinct values each column of the frames has. Those of `numbers` are cut into ranges.
    """
    unknown = [name for name in columns if name not in values]
    if unknown:
        choices = f"columns are: {listed(values)}" if values else "these have no columns"
        parts = [part.strip() for part in unknown[0].split(",")]
        several = len(parts) > 1 and all(part in values for part in parts)
        hint = ": name each column by itself" if several else nearest(unknown[0], values)
        return f"the test frames have no column {quoted(unknown[0])}{hint}; {choices}"
    single = [name for name in columns if values[name] < 2]
    if single:
        what = "one value" if values[single[0]] else "no value"
        return f"the column {quoted(single[0])} has {what} in the test frames, and a gap needs two groups"
    many = [name for name in columns if values[name] > MOST_VALUES and name not in numbers]
    if many:
        return (
            f"the column {quoted(many[0])} has {values[many[0]]:,} values in the test frames, more than {MOST_VALUES}: "
            "expected groups of frames, or numbers, which are cut into ranges"
        )
    return ""


def problem_of_frames(columns: Sequence[str], frames: Sequence[Frame]) -> str:
    """The same of frames whose content need not be known."""
    combinations = {frame.attributes for frame in frames} if columns else set()
    values: dict[str, set[str]] = {}
    for attributes in combinations:
        for name, value in attributes:
            values.setdefault(name, set()).update({value} - {""})
    numbers = [name for name in columns if all(map(is_number, values.get(name, ())))]
    return problem(columns, {name: len(distinct) for name, distinct in values.items()}, numbers)


def refuse(columns: Sequence[str], test: LabelledFrames, asked_by: str) -> None:
    """Raise `UserError` where test frames can't be grouped by these columns, which `asked_by` asks for."""
    if not columns:
        return
    values = {str(name): int(column.replace("", None).nunique()) for name, column in test.attributes.items()}
    numbers = [str(name) for name in test.attributes.select_dtypes("number")]
    if trouble := problem(columns, values, numbers):
        raise UserError(f"{asked_by}: {trouble}")
