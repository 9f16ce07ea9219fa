"""`bench run --build-only` and `bench run --shard K/N`: what they print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.errors import UserError, counted, listed, shown
from bench.experiment import Experiments
from bench.pipeline.sharding import part, running
from bench.pipeline.sharding.running import BuiltOnly, PartDone
from bench.records import OnEvent

_MOST_NAMED = 8


def refuse_options(option: str, others: Mapping[str, object]) -> None:
    """Raise `UserError` for the first of the other options that is given: none of them goes together with it."""
    if given := next((other for other, value in others.items() if value), None):
        why = {
            "--dry-run": "`bench plan` says what a whole run would do",
            "--executor": "the workers of a cluster do all parts of a run",
            "--shard": "the variants are built first, and the parts evaluated then",
        }.get(given, f"{option} does a part of a run, without times and without a report; `bench merge` makes these")
        raise UserError(f"{option} and {given} do not go together: {why}")


def build_or_evaluate(  # noqa: PLR0913, PLR0917 - options of a command
    experiments: Experiments,
    path: Path,
    name: str | None,
    shard: str | None,
    only: Sequence[str],
    device: str | None,
    store: str | None,
    on_event: OnEvent,
) -> tuple[str, bool]:
    """Build the variants, or evaluate the part that `shard` names; what to print, and whether a variant failed."""
    if shard is None:
        built = running.build_only(experiments, path, name, only=only, device=device, store=store, on_event=on_event)
        return _of_build(built), bool(built.failed)
    done = running.run_part(
        experiments, path, name, part.parse(shard), only=only, device=device, store=store, on_event=on_event
    )
    return _of_part(done), bool(done.failed)


def _of_build(built: BuiltOnly) -> str:
    lines = [f"built {title}: variants/{variant}" for title, variant in built.ids.items() if title not in built.failed]
    lines += _failures(built.failed, built.log)
    return "\n".join([*lines, f"next: `bench run {built.called} --shard K/N` for K from 1 to N, on any machine"])


def _of_part(done: PartDone) -> str:
    """What a part came to, and which parts are still missing."""
    count, merge = done.record.count, f"`bench merge {done.called}`"
    work = f"nothing to do, there are fewer than {count} shards"
    if done.shards:
        work = f"{counted(done.shards, 'shard')} for each of {counted(len(done.record.inputs), 'result')}"
    following = f"all {counted(count, 'part')} are there; next: {merge}"
    if done.missing:
        following = f"not there yet: {listed((each.text for each in done.missing), _MOST_NAMED)}; then {merge}"
    if done.is_joined:
        work = "nothing to do, all predictions are joined already"
        following = f"next: {merge}, which renders the report"
    return "\n".join([f"part {done.record.part.text}: {work}", *_failures(done.failed, done.log), following])


def _failures(failed: Mapping[str, str], log: Path | None) -> list[str]:
    lines = [f"failed: {title}: {shown(reason, 300)}" for title, reason in failed.items()]
    return [*lines, f"log, with what failed: {log}"] if lines and log else lines
