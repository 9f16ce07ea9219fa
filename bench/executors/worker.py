"""What runs in a worker of a cluster: building one link of a chain, and evaluating shards with sessions that stay."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

from bench.errors import UserError
from bench.executors import Request
from bench.experiment import read
from bench.pipeline.build import BuiltVariants, build_context, build_variants
from bench.pipeline.prepare import prepare
from bench.pipeline.prepared import Prepared
from bench.pipeline.search import search_variants
from bench.pipeline.sharding import records
from bench.pipeline.sharding.evaluate import Evaluator
from bench.pipeline.sharding.part import Part
from bench.pipeline.sharding.passes import Pass, passes_of
from bench.pipeline.sharding.records import Record
from bench.records import silent
from bench.variants import build

WHOLE = Part(1, 1)


def prepared_of(request: Request, threads: int) -> Prepared:
    """The experiment as this machine finds it, with so many threads, its searched chains among its variants."""
    experiments = read(request.path)
    prepared = prepare(
        experiments, request.path, request.name, only=request.only, device=request.device, timing="none", for_run=True
    )
    prepared = Prepared(tuple(replace(setup, threads=threads) for setup in prepared.setups))
    return search_variants(prepared, silent)


def build_link(request: Request, threads: int, detector: str, variant: str, length: int, parent: str = "") -> str:
    """Build the first `length` steps of a variant's chain, after its `parent`; the reason where that fails.

    `parent` is what this function returned for the link before.
    """
    if parent:
        return parent
    setup = prepared_of(request, threads).by_detector[detector]
    try:
        build.build(setup.title(variant), setup.source, setup.chains[variant][:length], build_context(setup, silent))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


class Worker:
    """Evaluates shards; loads each variant once. `expected` is the record of the run that asks, `number` its own."""

    def __init__(self, request: Request, threads: int, expected: Record, number: int) -> None:
        self._request, self._threads, self._expected, self._number = request, threads, expected, number

    @cached_property
    def _passes(self) -> list[Pass]:
        """The passes over all frame sets. `UserError` where this machine would make other shards than are expected."""
        prepared = prepared_of(self._request, self._threads)
        built: BuiltVariants = build_variants(prepared, silent)
        passes = passes_of(prepared, built)
        present = records.begun(WHOLE, prepared, passes)
        if why := records.other_keys(self._expected, present):
            raise UserError(
                f"a worker on {present.host} would make other predictions ({why}): use machines with the same "
                "libraries and the same kind of processor or GPU"
            )
        return passes

    @cached_property
    def _evaluator(self) -> Evaluator:
        return Evaluator(f"attempt-worker-{self._number}.json", silent)

    def evaluate(self, index: int, low: int) -> dict[str, str]:
        """Write the shard of the pass `index` that begins at the row `low`; the reasons of what failed, by title."""
        self._evaluator.evaluate(self._passes[index], [low])
        return self._evaluator.failed
