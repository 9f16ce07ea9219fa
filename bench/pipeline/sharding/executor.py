"""Who builds variants and evaluates shards before the process of the run does what is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from bench.pipeline.build import BuiltVariants
from bench.pipeline.prepared import Prepared
from bench.records import OnEvent, ResultKey


class Executor(Protocol):
    """What an executor offers. Both may leave anything undone: the run builds and evaluates that itself."""

    @property
    def build(self) -> Callable[[Prepared, OnEvent], None]:
        """Build the selected variants."""

    @property
    def fill(self) -> Callable[[Prepared, BuiltVariants, OnEvent], dict[ResultKey, str]]:
        """Evaluate shards of the selected variants, and return the reasons of those that failed."""
