"""What is wrong with a command `bench score` before any file is read, and with the folder of its report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bench import datasets, stored
from bench.errors import UserError, quoted
from bench.files import is_leftover
from bench.folder_names import checked_name
from bench.results import store

if TYPE_CHECKING:
    from bench.commands.score import Request

SCORES = "scores.json"


def checked(request: Request) -> dict[str, Path]:
    """The files by the names of their variants; all that is wrong with the command is one `UserError`."""
    problems = [*_number_problems(request), *_name_problems(request), *_doubled_names(request)]
    if problems:
        raise UserError(*problems)
    return dict(request.variants)


def _number_problems(request: Request) -> Iterator[str]:
    if not 0 <= request.margin < 1:
        yield f"--margin: expected a number from 0 to below 1, found {request.margin}"
    try:
        datasets.checked_pattern(request.source_pattern)
    except ValueError as error:
        yield f"--source-pattern: {error}"


def _name_problems(request: Request) -> Iterator[str]:
    """What is wrong with the names of the report and of the variants."""
    hint = "; write NAME=FILE to call it otherwise"
    for what, name, advice in (
        ("--name", request.name, ""),
        *((str(file), name, hint if name == file.stem else "") for name, file in request.variants),
    ):
        try:
            checked_name(name)
        except ValueError as error:
            yield f"{what}: {error}{advice}"


def _doubled_names(request: Request) -> Iterator[str]:
    variants: dict[str, Path] = {}
    for name, file in request.variants:
        if (key := name.casefold()) in variants:
            example = quoted(f"other={file}")
            yield (
                f"{variants[key]} and {file}: both would be the variant {quoted(name)}, as a variant is called like "
                f"its file; write NAME=FILE, such as {example}"
            )
        variants.setdefault(key, file)


def refuse_to_overwrite(request: Request) -> None:
    """Raise `UserError` where the folder holds anything but a report of this command."""
    folder = request.folder
    results = Path("results") / request.name
    # Below it are the records where there are several detectors.
    if request.to is None and ((results / store.RUN).exists() or any(results.glob(f"*/{store.RUN}"))):
        raise UserError(
            f"{folder}: belongs to the experiment {quoted(request.name)} of `bench run`; choose another --name"
        )
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file, and the report's folder would be there; move it away")
    if not folder.is_dir() or all(is_leftover(path) for path in folder.iterdir()):
        return
    try:
        content = stored.read_json(folder / SCORES)
        is_of_scores = content["detector"] == content["architecture"] == ""
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{folder}: holds other files; choose another --name or --to, or empty it") from None
    if not is_of_scores:
        raise UserError(f"{folder}: holds the report of an experiment of `bench run`; choose another --name or --to")
