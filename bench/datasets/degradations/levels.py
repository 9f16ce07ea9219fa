"""What levels of every kind have in common."""

from __future__ import annotations

from bench.errors import in_yaml


def no_boolean(value: object) -> object:
    """YAML 1.1 reads yes, no, on and off as truth values, and Python takes those for 1 and 0."""
    if isinstance(value, bool):
        raise ValueError(f"must be a number, found {in_yaml(value)}")
    return value
