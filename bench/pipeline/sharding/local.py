"""The executor that leaves all to the process of the run: one machine, each frame decoded once for all variants."""

from __future__ import annotations

from bench.pipeline.build import BuiltVariants
from bench.pipeline.prepared import Prepared
from bench.records import OnEvent, ResultKey


def build(prepared: Prepared, on_event: OnEvent) -> None:
    """Nothing: the run builds its variants itself."""


def fill(prepared: Prepared, built: BuiltVariants, on_event: OnEvent) -> dict[ResultKey, str]:
    """Nothing: the run evaluates its frames itself."""
    return {}
