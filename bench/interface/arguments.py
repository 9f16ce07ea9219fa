"""What a caller gives as an argument; `UserError` names the argument, what was expected and what was given."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import DEVICES, UserError, no_device, quoted

if TYPE_CHECKING:
    from bench.pipeline.prepared import Timing
    from bench.records import ThresholdRule


def path(name: str, given: object, of: str = "a folder") -> Path:
    """The argument `name` as a path."""
    text = os.fspath(given) if isinstance(given, str | os.PathLike) else None
    if not isinstance(text, str):
        raise UserError(f"{name}: expected the path of {of}, found {_described(given)}")
    if "\0" in text:
        raise UserError(f"{name}: {quoted(text)} is no path: it holds a null character")
    return Path(text)


def absolute(name: str, given: object) -> Path:
    """The folder with all names, so that the last one is an id; links stay, and are judged as such."""
    return Path(os.path.abspath(path(name, given)))  # noqa: PTH100 - `resolve` would follow the links


def experiment(given: object) -> str | None:
    """The name of an experiment; None for the only one there is."""
    if given is None or isinstance(given, str):
        return given
    hint = "; the experiment file is `file=`" if isinstance(given, os.PathLike) else ""
    raise UserError(f"experiment: expected its name, found {_described(given)}{hint}")


def names(only: object) -> list[str]:
    """The variants to run; a text may name several, separated by commas."""
    if only is None:
        return []
    listed: list[Any] = only.split(",") if isinstance(only, str) else _listed(only)
    if not all(isinstance(name, str) for name in listed):
        raise UserError(f"only: expected names of variants, found {quoted(only)}")
    variants = [name.strip() for name in listed if name.strip()]
    if not variants:
        raise UserError('only: names no variant; expected names, such as only=["q8", "q16"]')
    return variants


def _listed(only: Any) -> list[Any]:
    try:
        return list(only)
    except TypeError:
        raise UserError(f'only: expected names of variants, such as ["q8", "q16"], found {_described(only)}') from None


def device(given: object) -> None:
    """Refuse what is neither auto, cuda nor cpu."""
    if not isinstance(given, str) or given not in DEVICES:
        raise UserError(f"device: {no_device(given)}")


def timing(given: object) -> Timing:
    """What is timed."""
    if isinstance(given, str) and given == "again":
        return "again"
    if not isinstance(given, bool):
        raise UserError(f'timing: expected True, False or "again", found {quoted(given)}')
    return "due" if given else "none"


def share(name: str, given: Any, *, from_0: bool) -> float:
    """A number between 0 and 1; 0 itself only with `from_0`."""
    from numbers import Real

    is_number = isinstance(given, Real) and not isinstance(given, bool)
    if not is_number or not (0 < given < 1 or (from_0 and given == 0)):
        limits = "from 0 to" if from_0 else "above 0 and"
        raise UserError(f"{name}: expected a number {limits} below 1, found {quoted(given)}")
    return float(given)


def threshold(name: str, given: Any) -> float | ThresholdRule:
    """A number between 0 and 1, or a mapping that says how it is found."""
    if not callable(getattr(given, "items", None)):
        return share(name, given, from_0=False)
    from bench.results.threshold_settings import from_option

    return from_option(name, mapping(name, given, '{"fpr": 0.01}'))


def mapping(name: str, given: Any, example: str) -> dict[str, Any]:
    """Values by names that are text: a mapping, or a table of pandas."""
    if isinstance(given, type) or not callable(getattr(given, "items", None)):
        raise UserError(f"{name}: expected a mapping such as {example}, found a {type(given).__name__}")
    values = dict(given.items())
    if wrong := [key for key in values if not isinstance(key, str)]:
        raise UserError(f"{name}: expected names as text, found {quoted(wrong[0])}")
    return values


def _described(given: object) -> str:
    return f"{quoted(given)} ({type(given).__name__})"
