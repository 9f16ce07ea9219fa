"""Where runs are logged beside their report: one file a tracker, named as under `tracking:` in `experiments.yaml`.

A tracker is a module with

- `PACKAGES`: what it imports; `EXTRA`: the extra of bench that installs these;
- `ADDRESS`: what its address may be, in words;
- `address(text, base)`: the address that the text means, with files relative to the folder `base`; `UserError` where
  it means none;
- `check(address)`: raises `UserError` where the address can never be logged to; asks no network;
- `unreachable(address)`: why nothing can be logged there now, in a second at most; None where nothing is known
  against it. Only what the standard library can ask is asked;
- `holds(address)`: whether what was logged there can still be there;
- `log(address, tracked)`: log an experiment; runs that were logged before are updated;
- `log_predictions(address, experiment, predictions)`: log answers of a service.

The last two may raise anything, and whoever calls them says so and goes on: a tracker makes no run fail. Nothing heavy
is imported at a tracker's top.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Protocol

from pydantic import BeforeValidator

from bench.errors import UserError, as_value_error, in_yaml, nearest, quoted
from bench.records import TrackedExperiment, TrackedPrediction

_OTHERS = ("predictions",)
"""Modules of this folder that are no trackers."""


class Tracker(Protocol):
    """The module contract, for type checkers."""

    PACKAGES: tuple[str, ...]
    EXTRA: str
    ADDRESS: str

    def address(self, text: str, base: Path) -> str: ...

    def check(self, address: str) -> None: ...

    def unreachable(self, address: str) -> str | None: ...

    def holds(self, address: str) -> bool: ...

    def log(self, address: str, tracked: TrackedExperiment) -> None: ...

    def log_predictions(self, address: str, experiment: str, predictions: Sequence[TrackedPrediction]) -> None: ...


def names() -> tuple[str, ...]:
    """The trackers there are, without importing them."""
    return tuple(module.name for module in pkgutil.iter_modules(__path__) if module.name not in _OTHERS)


def find(name: str) -> Tracker:
    """The tracker of this name; a `UserError` names the choices."""
    if name not in names():
        raise UserError(f"unknown tracker {quoted(name)}{nearest(name, names())}; trackers are: {', '.join(names())}")
    module: Any = importlib.import_module(f"{__name__}.{name}")
    tracker: Tracker = module
    return tracker


def missing_package(name: str) -> str | None:
    """Why this Python cannot log with a tracker; None where it has all packages. Nothing is imported."""
    tracker = find(name)
    for package in tracker.PACKAGES:
        if importlib.util.find_spec(package) is None:
            return (
                f"tracker {name!r} needs the package {package}, which this Python does not have; "
                f'`python -m pip install "bench[{tracker.EXTRA}]"`, or leave it out of `tracking:`'
            )
    return None


def _checked(tracking: object) -> dict[str, str]:
    """Trackers with their addresses as a file spells them; `ValueError` for anything else."""
    if not isinstance(tracking, dict) or not tracking:
        raise ValueError(
            "expected trackers with their addresses, such as {mlflow: sqlite:///mlruns.db}; found "
            f"{in_yaml(tracking)}. Trackers are: {', '.join(names())}"
        )
    for name, text in tracking.items():
        tracker: Any = as_value_error(partial(find, str(name)))
        if not isinstance(text, str):
            raise ValueError(f"{name}: expected {tracker.ADDRESS}; found {in_yaml(text)}")
        as_value_error(partial(tracker.address, text, Path()))
    return {str(name): text for name, text in tracking.items()}


Trackers = Annotated[dict[str, str], BeforeValidator(_checked)]
"""Addresses of trackers by their names."""
