"""`bench merge NAME`: whether all shards are there and of one experiment, and what is left to do with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.errors import UserError
from bench.files import remove
from bench.pipeline.build import BuiltVariants
from bench.pipeline.forecast import rows_of
from bench.pipeline.jobs import Jobs
from bench.pipeline.prepared import Prepared
from bench.pipeline.sharding import appearances, records
from bench.pipeline.sharding.part import Part
from bench.pipeline.sharding.passes import Pass, passes_of
from bench.pipeline.sharding.records import Record
from bench.records import OnEvent, ResultKey
from bench.results import predict, store


def refuse_incomplete(prepared: Prepared, called: str) -> list[Record]:
    """The records of all parts, none where all predictions are joined already.

    `called` is how commands name the experiment. `UserError` where parts are missing, or are of another N, version of
    bench or experiment.
    """
    if all(not row.frames and not row.degraded for row in rows_of(prepared)):
        return []
    parts = records.read_all(prepared.results)
    if not parts:
        raise UserError(
            f"{prepared.results}: no parts are there yet: `bench run {called} --shard 1/N` to N/N make them, "
            f"`bench run {prepared.first.name}` does all of it in one process"
        )
    records.refuse_other_counts(parts, prepared.results)
    records.refuse_others(parts, prepared)
    if missing := records.missing(parts):
        raise UserError("; ".join([records.named(missing, called), *records.unended(parts)]))
    return parts


def failures(prepared: Prepared, built: BuiltVariants, parts: Sequence[Record], called: str) -> dict[ResultKey, str]:
    """The reasons of variants that failed while their shards were evaluated; none where there are no `parts`.

    `UserError` where shards were made from something else than here, or their files are gone or damaged. Those that are
    damaged are removed. `called` is how commands name the experiment.
    """
    if not parts:
        return {}
    passes = passes_of(prepared, built)
    records.refuse_other_keys(parts, records.begun(parts[0].part, prepared, passes), prepared.results, called)
    for each in passes:
        remove_damaged(each)
    reasons = {title: reason for part in parts for title, reason in part.failed.items()}
    if gone := [(each, low) for each in passes for low in lacking(each, reasons)]:
        part_of = {id(each): _parts_of(each, parts[0].count) for each in passes}
        unique = sorted({part_of[id(each)][low] for each, low in gone}, key=lambda part: part.number)
        raise UserError(f"shards are gone or damaged: {records.named(unique, called)}")
    return failed_of(passes, reasons)


def remove_damaged(each: Pass) -> None:
    """Remove those shards of a pass that are damaged, so that they count as missing; what is joined stays."""
    for target in each.targets:
        for low in () if target.is_done() else each.lows:
            predict.remove_damaged(predict.shard_file(target.folder, target.key, low))


def lacking(each: Pass, failed: Mapping[str, str]) -> list[int]:
    """The shards of a pass that a variant lacks which has not `failed`, by the reasons of failures by title."""
    lows: set[int] = set()
    for target in each.targets:
        if not {target.result_title, target.job.result_title} & failed.keys():
            lows |= set(target.missing(each.lows))
    return sorted(lows)


def failed_of(passes: Sequence[Pass], failed: Mapping[str, str]) -> dict[ResultKey, str]:
    """The reasons of variants that lack shards of frames as they are since they failed.

    One level of re-compression more or less makes no variant fail.
    """
    return {
        target.job.setup.key(target.job.variant): failed[target.result_title]
        for each in passes
        if not each.is_degraded
        for target in each.targets
        if target.result_title in failed and target.missing(each.lows)
    }


def _parts_of(each: Pass, count: int) -> dict[int, Part]:
    """The part that evaluates each shard of a pass, by the shard's first row."""
    parts = (Part(number, count) for number in range(1, count + 1))
    return {low: part for part in parts for low in part.of(each.lows)}


def finish(prepared: Prepared, jobs: Jobs, on_event: OnEvent) -> None:
    """Store what shards measured of frames, and remove the records of parts that nobody needs any more.

    They are needed where something has failed, and where `--only` has left out what is still to be joined.
    """
    folder = records.folder_of(prepared.results)
    if not folder.is_dir():
        return
    with store.locked(prepared.results, f"running {prepared.first.name}", on_event, prepared.folders):
        appearances.join(prepared, folder)
        is_joined = bool(jobs.by_key) and len(jobs.unfailed) == len(jobs.by_key)
        if is_joined and (_is_whole(prepared) or _are_joined(prepared.results)):
            remove(folder)


def _is_whole(prepared: Prepared) -> bool:
    """Whether all variants of the experiment are selected."""
    return all(setup.chains.keys() <= set(setup.selected) for setup in prepared.setups)


def _are_joined(results: Path) -> bool:
    """Whether the parts have ended, and all that they evaluated is joined; damaged records are left to the merge."""
    try:
        parts = records.read_all(results)
    except UserError:
        return False
    return all(part.is_whole for part in parts) and all(
        predict.is_done(results / folder, key) for part in parts for folder, key in part.keys.items()
    )
