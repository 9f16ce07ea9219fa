"""What runs in a worker of a cluster: building one link of a chain, and evaluating shards with sessions that stay.

Workers see the folder of the experiment file, or have one of their own, which `BENCH_WORKERS` moves, and share what is
made by the store of the run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from bench import stored
from bench.errors import UserError
from bench.executors import Request
from bench.experiment import read, select
from bench.files import make_folder, write_text
from bench.pipeline import journal
from bench.pipeline.build import BuiltVariants, build_context, build_variants
from bench.pipeline.prepare import prepare
from bench.pipeline.prepared import Prepared
from bench.pipeline.search import search_variants
from bench.pipeline.sharding import records, sharing
from bench.pipeline.sharding.evaluate import Evaluator
from bench.pipeline.sharding.part import Part
from bench.pipeline.sharding.passes import Pass, passes_of
from bench.pipeline.sharding.records import Record
from bench.pipeline.sharding.sharing import SharedStore
from bench.provenance import digest
from bench.records import silent
from bench.remote import reading
from bench.variants import build, ids

WHOLE = Part(1, 1)
FOLDER = "BENCH_WORKERS"
"""The environment's name for the folder in which workers of runs with a store have theirs."""


class NotSharedError(Exception):
    """A shard is evaluated, and could not be put into the store: later, or by another worker, it may."""


@dataclass(frozen=True)
class Evaluated:
    """The reasons of what failed while a shard was evaluated, by title, and the errors for the log."""

    failed: dict[str, str]
    errors: list[str]


def experiment_file(request: Request) -> Path:
    """The experiment file on this machine: the run's, or a copy of it in the folder that is for its store.

    `UserError` where no such folder can be.
    """
    if request.store is None:
        return request.path
    folder = _workers_folder() / digest(request.store)
    path = folder / f"experiments-{digest(request.text)}.yaml"
    if not stored.is_file(path) or path.read_text(encoding="utf-8") != request.text:
        make_folder(folder)
        write_text(path, request.text)
    return path


def _workers_folder() -> Path:
    if given := os.environ.get(FOLDER):
        return Path(given).absolute()
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bench" / "workers"
    except RuntimeError:
        raise UserError(f"this worker has no home folder: set {FOLDER} to a folder for what it copies") from None


@contextmanager
def sharing_of(request: Request) -> Iterator[SharedStore | None]:
    """What is shared by the store of the run, with artifacts of others had here; None where all see one folder.

    Inside, copies of frames in a folder of this machine's own stay as they are.
    """
    if request.store is None:
        yield None
        return
    path = experiment_file(request)
    name, _ = select(read(path), request.name, path)
    with reading(f"working for {name}"):
        shared = sharing.opened(request.store, path.parent, name)
        assert shared is not None
        shared.take_over(silent)
        yield shared


def prepared_of(request: Request, threads: int) -> Prepared:
    """The experiment as this machine finds it, with so many threads, its searched chains among its variants."""
    path = experiment_file(request)
    try:
        prepared = prepare(
            read(path), path, request.name, only=request.only, device=request.device, timing="none", for_run=True
        )
    except UserError as error:
        if request.store is None:
            raise
        raise UserError(
            f"{error}; with --store, a worker has the experiment file alone: weights and frames must be addresses, or "
            "have paths from the root that all machines see"
        ) from error
    prepared = Prepared(tuple(replace(setup, threads=threads) for setup in prepared.setups))
    return search_variants(prepared, silent)


def build_link(request: Request, threads: int, detector: str, variant: str, length: int, parent: str = "") -> str:
    """Build the first `length` steps of a variant's chain, after its `parent`; the reason where that fails.

    `parent` is what this function returned for the link before.
    """
    if parent:
        return parent
    with sharing_of(request) as shared:
        setup = prepared_of(request, threads).by_detector[detector]
        chain, context = setup.chains[variant][:length], build_context(setup, silent)
        try:
            build.build(setup.title(variant), setup.source, chain, context)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        if shared:
            shared.offer_artifacts(ids.of_chain(setup.source, chain, context), silent)
    return ""


class Worker:
    """Evaluates shards; loads each variant once. `expected` is the record of the run that asks, `number` its own."""

    def __init__(self, request: Request, threads: int, expected: Record, number: int) -> None:
        self._request, self._threads, self._expected, self._number = request, threads, expected, number
        self._stack = ExitStack()

    @cached_property
    def _ready(self) -> tuple[list[Pass], SharedStore | None]:
        """The passes over all frame sets, and what is shared by a store as long as this worker lives.

        `UserError` where this machine would make other shards than are expected.
        """
        with ExitStack() as stack:
            shared = stack.enter_context(sharing_of(self._request))
            passes = self._passes()
            self._stack = stack.pop_all()
        return passes, shared

    def _passes(self) -> list[Pass]:
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

    def evaluate(self, index: int, low: int) -> Evaluated:
        """Write the shard of the pass `index` that begins at the row `low`; `NotSharedError` if none can have it."""
        passes, shared = self._ready
        with journal.errors_logged() as errors:
            self._evaluator.evaluate(passes[index], [low])
        if shared:
            try:
                shared.offer_shard(passes[index], low)
            except UserError as error:
                raise NotSharedError(str(error)) from error
        return Evaluated(self._evaluator.failed, errors)
