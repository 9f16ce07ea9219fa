"""What an ensemble costs: the sum of its members' files, and of their times in one session."""

from __future__ import annotations

from collections.abc import Sequence

from bench.records import Executed, Footprint, Measurement, VariantResult
from bench.records.ensembles import total


def footprint(members: Sequence[VariantResult]) -> Footprint:
    """The sums of the members'; the share of zeros is that of all their weights."""
    parts = [member.footprint for member in members if member.footprint]
    parameters = total([part.parameters for part in parts])
    zeros = None
    if parameters and all(part.zeros is not None for part in parts):
        zeros = sum((part.zeros or 0.0) * (part.parameters or 0) for part in parts) / parameters
    return Footprint(
        sum(part.size_bytes for part in parts),
        parameters,
        total([part.macs for part in parts]),
        zeros,
        total([part.zstd_bytes for part in parts]),
    )


def executed(members: Sequence[VariantResult]) -> Executed:
    """What executed the members: what differs between them is named with a plus sign between."""
    by = [member.executed for member in members if member.executed]
    first = by[0]
    kinds = {each.int8 for each in by} - {None}
    return Executed(
        runtime=_names([each.runtime for each in by]),
        device=first.device,
        device_name=first.device_name,
        providers=tuple(dict.fromkeys(provider for each in by for provider in each.providers)),
        # Where any int8 was simulated, no time is that of int8.
        stored="int8" if "simulated" in kinds else _names([each.stored for each in by]),
        computed=_names([each.computed for each in by]),
        int8="simulated" if "simulated" in kinds else "native" if kinds else None,
        int8_operators=total([each.int8_operators for each in by]),
        heavy_operators=total([each.heavy_operators for each in by]),
        threads=first.threads,
        mode=_names([each.mode for each in by if each.mode]),
    )


def _names(names: Sequence[str]) -> str:
    return " + ".join(dict.fromkeys(names))


def measurements(
    members: Sequence[VariantResult], runtime: str, *, as_they_are: bool = False
) -> tuple[Measurement, ...]:
    """The times of one frame through all members, one after another; of their baselines where `as_they_are`.

    Empty where they were not timed in one session. The calls of a round are added up in their order. `runtime` is what
    the sums are called by.
    """
    taken = [_single(member, as_they_are=as_they_are) for member in members]
    if any(member.conditions != members[0].conditions for member in members) or not all(taken):
        return ()
    by_member = [each for each in taken if each]
    rounds = zip(*(each.rounds_ms for each in by_member), strict=False)
    added = tuple(tuple(float(sum(calls)) for calls in zip(*of_round, strict=False)) for of_round in rounds)
    return (Measurement(runtime, by_member[0].device, 1, added),) if added and all(added) else ()


def _single(member: VariantResult, *, as_they_are: bool) -> Measurement | None:
    """A member's times with one frame, in the runtime of its variant."""
    if member.executed is None or not member.conditions:
        return None
    pool = member.baseline if as_they_are and member.baseline else member.measurements
    runs_on = (member.executed.runtime, member.executed.device, 1)
    return next((each for each in pool if (each.runtime, each.device, each.batch_size) == runs_on), None)
