"""`bench run NAME --build-only` and `bench run NAME --shard K/N`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from bench import locks
from bench.experiment import Experiments, select
from bench.pipeline import journal
from bench.pipeline.announce import check_folders
from bench.pipeline.build import BuiltVariants, build_variants
from bench.pipeline.evaluate import load_all
from bench.pipeline.prepare import prepare
from bench.pipeline.prepared import Prepared
from bench.pipeline.readings import with_warnings
from bench.pipeline.search import search_variants
from bench.pipeline.sharding import part as parts
from bench.pipeline.sharding import records, sharing
from bench.pipeline.sharding.evaluate import Evaluator
from bench.pipeline.sharding.part import Part
from bench.pipeline.sharding.passes import Pass, passes_of
from bench.pipeline.sharding.records import Record
from bench.pipeline.sharding.sharing import SharedStore
from bench.records import OnEvent, silent
from bench.remote import reading
from bench.variants import cache


@dataclass(frozen=True)
class BuiltOnly:
    """An experiment whose variants are built: the id of each, the reasons of those that failed, and the log if any.

    `called` is how the next command names the experiment.
    """

    called: str
    ids: dict[str, str]
    failed: dict[str, str]
    log: Path | None


@dataclass(frozen=True)
class PartDone:
    """A part that was evaluated: its record, the reasons of variants that failed, which parts are still missing.

    `shards` counts the files of up to 256 frames that it stands for, of all passes. `is_joined` says that there was
    nothing to do, since all predictions are joined already. `called` is how the next command names the experiment.
    """

    called: str
    record: Record
    failed: dict[str, str]
    missing: list[Part]
    shards: int
    is_joined: bool
    log: Path | None


def build_only(
    experiments: Experiments,
    path: Path,
    name: str | None = None,
    *,
    only: Sequence[str] = (),
    device: str | None = None,
    store: str | None = None,
    on_event: OnEvent = silent,
) -> BuiltOnly:
    """Build the variants that are missing, and have made what loading and comparing them needs once. Nothing else.

    With `store`, artifacts are fetched from that address and put there.
    Raises `UserError` for bad input.
    """
    name, _ = select(experiments, name, path)
    check_folders(path.parent, name)
    shared = sharing.opened(store, path.parent, name)
    with journal.recording(path.parent / "results" / name, on_event) as log, reading(f"building {name}"):
        if shared:
            shared.begin(log)
        prepared = _prepared(experiments, path, name, only, device, log)
        with locks.announced(prepared.first.variants / cache.LOCKS, f"building {name}", log):
            prepared, built = _built(prepared, shared, log)
            failed = _titles(prepared, built) | load_all(prepared, built, log)
            if shared:  # what loading has made
                shared.offer_variants(built, log)
        log.ended(f"ended: {len(built.artifacts)} variants built, failed: {', '.join(failed) or 'none'}")
    ids = {
        prepared.by_detector[detector].title(variant): artifact.id
        for (detector, variant), artifact in built.artifacts.items()
    }
    return BuiltOnly(parts.called(name, store), ids, failed, log.path)


def run_part(  # noqa: PLR0913 - the options of a command
    experiments: Experiments,
    path: Path,
    name: str | None,
    part: Part,
    *,
    only: Sequence[str] = (),
    device: str | None = None,
    store: str | None = None,
    on_event: OnEvent = silent,
) -> PartDone:
    """Evaluate one part of an experiment, and build under a lock what of its variants is not there.

    With `store`, artifacts and shards are fetched from that address and put there.
    Raises `UserError` for bad input: parts of another N, version or experiment that are there among it.
    """
    name, _ = select(experiments, name, path)
    results = path.parent / "results" / name
    check_folders(path.parent, name)
    if shared := sharing.opened(store, path.parent, name):
        shared.begin(on_event)
    records.refuse_other_counts(records.read_all(results), results, part.count)
    called = parts.called(name, store)
    doing = f"evaluating {part.text} of {name}"
    with journal.recording(records.log_folder(results, part), on_event) as log, reading(doing):
        prepared = _prepared(experiments, path, name, only, device, log)
        records.refuse_others(records.read_all(results), prepared)
        with locks.announced(prepared.first.variants / cache.LOCKS, doing, log):
            prepared, built = _built(prepared, shared, log)
            passes = passes_of(prepared, built)
            is_joined = bool(passes) and all(target.is_done() for each in passes for target in each.targets)
            record, shards = records.begun(part, prepared, passes, _titles(prepared, built)), 0
            if not is_joined:
                record, shards = _evaluate(prepared, passes, record, shared, log, called)
        failed = record.failed
        log.ended(f"ended: part {part.text}, failed: {', '.join(failed) or 'none'}")
    return PartDone(called, record, failed, records.missing(records.read_all(results)), shards, is_joined, log.path)


def _prepared(
    experiments: Experiments, path: Path, name: str, only: Sequence[str], device: str | None, on_event: OnEvent
) -> Prepared:
    prepared = prepare(
        experiments, path, name, only=only, device=device, timing="none", for_run=True, on_event=on_event
    )
    return with_warnings(prepared, on_event)


def _built(prepared: Prepared, shared: SharedStore | None, on_event: OnEvent) -> tuple[Prepared, BuiltVariants]:
    """The experiment with what its searches found, and its variants: those of whoever shared them first."""
    while True:
        searched = search_variants(prepared, on_event)
        built = build_variants(searched, on_event)
        if shared is None or not shared.offer_variants(built, on_event):
            return searched, built


def _titles(prepared: Prepared, built: BuiltVariants) -> dict[str, str]:
    """The reasons of variants that could not be built, by their titles."""
    return {
        prepared.by_detector[detector].title(variant): reason for (detector, variant), reason in built.failed.items()
    }


def _evaluate(
    prepared: Prepared,
    passes: Sequence[Pass],
    record: Record,
    shared: SharedStore | None,
    on_event: OnEvent,
    called: str,
) -> tuple[Record, int]:
    """Evaluate the part of a record; the record as it is stored at the end, and how many shards it has."""
    part, shards = record.part, 0
    if shared:  # building may have taken hours, in which others began
        shared.fetch_records(on_event)
    others = [each for each in records.read_all(prepared.results) if each.part != part]
    records.refuse_other_keys(others, record, prepared.results, called)
    records.write(prepared.results, record)
    evaluator = Evaluator(f"attempt-{part.number}-of-{part.count}.json", on_event)
    with shared.evaluating(record, passes, on_event) if shared else nullcontext():
        for of in passes:
            lows = part.of(of.lows)
            evaluator.evaluate(of, lows)
            shards += len(lows)
    record = records.ended(record, evaluator.failed)
    records.write(prepared.results, record)
    if shared:
        shared.offer_record(record)
        shared.fetch_records(on_event)
    return record, shards
