"""Compress a deepfake detector, measure every variant, and see which one you can ship.

`run` an experiment, `read` its results, `score` arrays of P(fake), `load` a variant to predict with. What is wrong
with an input is raised as `UserError`. docs/python.md shows each; these names stay.
"""

from __future__ import annotations

# Imports nothing: at `python -m bench` the working folder still comes before the standard library here.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from bench.errors import UserError
    from bench.interface.arrays import score
    from bench.interface.experiments import read, run
    from bench.interface.model import load

__all__ = ["UserError", "load", "read", "run", "score"]

_HOMES = {
    "UserError": "bench.errors",
    "load": "bench.interface.model",
    "read": "bench.interface.experiments",
    "run": "bench.interface.experiments",
    "score": "bench.interface.arrays",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for only then: importing `bench` alone takes milliseconds."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
