"""Which variant to ship: what meets the constraints, what is beaten in everything, and what would have to give way."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from bench.records import (
    Candidate,
    Choice,
    Constraints,
    Loosening,
    Ratio,
    Requirement,
    RunRecord,
    Speed,
    VariantEvaluation,
    VariantResult,
)
from bench.results.score.speed import is_simulated, is_throttled

Criterion: TypeAlias = Literal["size", "latency", "auc"]

ORDER: Mapping[Criterion, tuple[Criterion, ...]] = {
    "size": ("size", "latency", "auc"),
    "latency": ("latency", "size", "auc"),
    "auc": ("auc", "size", "latency"),
}
"""By what the best is picked, the next deciding where the one before calls variants equal."""

EQUAL = 0.01
"""Sizes and latencies that differ by no more than this share count as equal; latencies also where their speed-ups
against the baseline, in the same runtime on the same device, have intervals that overlap."""

STEP = {"auc_drop": 1e-4, "size_mib": 0.01, "latency_ms": 0.01}
"""To what a loosened limit is rounded up."""

Point: TypeAlias = tuple[float | None, ...]


@dataclass(frozen=True)
class _Standing:
    """What the choice looks at, less is better. `speedup` is against the baseline in `place`: runtime and device."""

    by: Mapping[Criterion, float | None]
    place: tuple[str, str] | None
    speedup: Ratio | None


def choose(run: RunRecord, judged: Mapping[str, VariantEvaluation], speeds: Mapping[str, Speed]) -> Choice | None:
    """The variant to ship under `run.choose`, by default the smallest that loses less AUC than the margin.

    Latencies are median wall-clock times of one frame on the machine of the run, each variant in its own
    runtime; they are compared across runtimes, and left out for int8 that was simulated. None where the
    baseline has no AUC or is not proven to be better than chance, or where there is nothing to choose from.
    """
    baseline = judged.get(run.baseline.name)
    if baseline is None or baseline.auc is None or baseline.auc.interval.low <= 0.5 or len(judged) < 2:
        return None
    asked = run.choose or Constraints()
    # Who asks for a small file does not ask for a bad detector.
    constraints = asked if asked.auc_drop is not None else replace(asked, auc_drop=run.margin)
    candidates = _candidates(run, judged, speeds, constraints)
    first = run.baseline.name
    standing = {one.name: _standing(one, judged[one.name], speeds[one.name], one.name == first) for one in candidates}
    qualified = [one for one in candidates if one.qualifies]
    chosen = _best(qualified, standing, constraints.prefer)
    runner_up = _best([one for one in qualified if one.name != chosen], standing, constraints.prefer)
    return Choice(
        constraints=constraints,
        asked=any(limit is not None for limit in (asked.auc_drop, asked.size_mib, asked.latency_ms)),
        candidates=candidates,
        chosen=chosen,
        runner_up=runner_up,
        loosen=() if chosen else _loosenings(candidates),
        front_by_size=front({one.name: (one.size_mib, _less(one.auc)) for one in candidates}),
        front_by_latency=front({one.name: (one.latency_ms, _less(one.auc)) for one in candidates}),
    )


def beats(one: Point, other: Point) -> bool:
    """Whether a point is at least as good in every coordinate and better in one; less is better.

    What is unknown of `one` is no better than anything known of `other`, and no coordinate is better for
    being known: so no circle of points can beat one another.
    """
    pairs = list(zip(one, other, strict=True))
    at_least = all(theirs is None or (own is not None and own <= theirs) for own, theirs in pairs)
    return at_least and any(own is not None and theirs is not None and own < theirs for own, theirs in pairs)


def front(points: Mapping[str, Point]) -> tuple[str, ...]:
    """The names of the points that none beats (the Pareto front), the least first coordinate first.

    Less is better in every coordinate; points of which one is unknown are left out.
    """
    known = {name: point for name, point in points.items() if None not in point}
    unbeaten = [name for name, point in known.items() if not any(beats(other, point) for other in known.values())]
    return tuple(sorted(unbeaten, key=lambda name: [value for value in known[name] if value is not None]))


def _candidates(
    run: RunRecord, judged: Mapping[str, VariantEvaluation], speeds: Mapping[str, Speed], constraints: Constraints
) -> tuple[Candidate, ...]:
    """Every judged variant in the run's order, with whom it is beaten by: one that qualifies if there is one."""
    found = []
    for variant in run.variants:
        if variant.name not in judged:
            continue
        own = judged[variant.name]
        size_mib = variant.footprint.size_bytes / 2**20 if variant.footprint else None
        latency_ms = speeds[variant.name].latency_ms
        met = (
            _auc_drop(own, variant is run.baseline, constraints.auc_drop),
            _at_most("size_mib", size_mib, constraints.size_mib, "the size of its file is not known"),
            _at_most("latency_ms", latency_ms, constraints.latency_ms, _why_untimed(variant)),
        )
        requirements = tuple(one for one in met if one is not None)
        auc = own.auc.value if own.auc else None
        found.append(Candidate(variant.name, requirements, size_mib, latency_ms, auc, beaten_by=None))
    return tuple(_with_beater(one, found) for one in found)


def _with_beater(candidate: Candidate, others: Sequence[Candidate]) -> Candidate:
    beaters = [other for other in others if beats(_point(other), _point(candidate))]
    # The better of two that beat it is the better answer to "and why not this one?".
    named = min(
        beaters,
        key=lambda one: (not one.qualifies, any(beats(_point(other), _point(one)) for other in beaters)),
        default=None,
    )
    return replace(candidate, beaten_by=named.name if named else None)


def _point(one: Candidate) -> Point:
    return one.size_mib, one.latency_ms, _less(one.auc)


def _less(auc: float | None) -> float | None:
    return None if auc is None else -auc


def _why_untimed(variant: VariantResult) -> str:
    if variant.executed is None:
        return "it was not timed here"
    if is_simulated(variant.executed):
        return "its int8 was simulated, and the time of that is not the time of int8"
    if is_throttled(variant):
        return "a CPU quota stopped it again and again while it was timed"
    return "it was not timed"


def _auc_drop(judged: VariantEvaluation, is_baseline: bool, limit: float | None) -> Requirement | None:
    """Met where the far end of the interval of the drop is below the limit: the lower bound of a stable verdict."""
    if limit is None:
        return None
    if is_baseline:
        return Requirement("auc_drop", limit, 0.0, 0.0, limit, met=True)
    if judged.comparison is None:
        return Requirement("auc_drop", limit, None, None, None, met=False, reason="its AUC is not known")
    delta = judged.comparison.delta
    # Subtracted from 0 rather than negated: there is no -0 to print.
    value, estimate = 0.0 - delta.interval.low, 0.0 - delta.value
    return Requirement("auc_drop", limit, value, estimate, limit - value, met=value < limit)


def _at_most(
    constraint: Literal["size_mib", "latency_ms"], value: float | None, limit: float | None, unknown: str
) -> Requirement | None:
    if limit is None:
        return None
    if value is None:
        return Requirement(constraint, limit, None, None, None, met=False, reason=unknown)
    return Requirement(constraint, limit, value, value, limit - value, met=value <= limit)


def _standing(candidate: Candidate, judged: VariantEvaluation, speed: Speed, is_baseline: bool) -> _Standing:
    """An AUC that may be the baseline's counts as the baseline's."""
    ratio = Ratio(1.0, 1.0, 1.0) if is_baseline else speed.speedup
    drop = 0.0
    if judged.comparison is not None:
        delta = judged.comparison.delta
        drop = 0.0 if delta.interval.low <= 0 <= delta.interval.high else -delta.value
    return _Standing(
        by={
            "size": candidate.size_mib,
            "latency": candidate.latency_ms,
            "auc": None if candidate.auc is None else drop,
        },
        place=(speed.single.runtime, speed.single.device) if speed.single else None,
        speedup=ratio,
    )


def _best(pool: Sequence[Candidate], standing: Mapping[str, _Standing], prefer: Criterion) -> str | None:
    """The one to pick: each criterion keeps those that are as good as its best; among equals the earlier variant.

    What another of the pool beats is out from the start. Kept is what lies near the *best*, not near
    one another: nearness alone could lead in a circle.
    """
    left = [one.name for one in pool if not any(beats(_point(other), _point(one)) for other in pool)]
    for criterion in ORDER[prefer]:
        known = {name: value for name in left if (value := standing[name].by[criterion]) is not None}
        if known:
            least = min(known, key=lambda name: known[name])
            most = known[least] if criterion == "auc" else known[least] * (1 + EQUAL)
            as_fast = criterion == "latency"
            left = [
                name
                for name, value in known.items()
                if value <= most or (as_fast and _may_be_as_fast(standing[name], standing[least]))
            ]
    return left[0] if left else None


def _may_be_as_fast(one: _Standing, other: _Standing) -> bool:
    if one.place != other.place or one.speedup is None or other.speedup is None:
        return False
    return one.speedup.low <= other.speedup.high and other.speedup.low <= one.speedup.high


def _loosenings(candidates: Iterable[Candidate]) -> tuple[Loosening, ...]:
    """What would have to give way for those that miss the fewest constraints, the nearest variant first.

    No limit helps where a value is unknown.
    """
    missed = {one.name: [need for need in one.requirements if not need.met] for one in candidates}
    ways = {
        name: [_loosening(name, need, need.value) for need in needs if need.value is not None]
        for name, needs in missed.items()
        if all(need.value is not None for need in needs)
    }
    fewest = min(map(len, ways.values()), default=0)
    near = sorted((way for way in ways.values() if len(way) == fewest), key=lambda way: sum(map(_by_how_much, way)))
    return tuple(one for way in near for one in way)


def _loosening(variant: str, need: Requirement, value: float) -> Loosening:
    """The least limit, rounded up, that the value meets; on the AUC it must be below."""
    step = STEP[need.constraint]
    rounded = round(value / step)
    limits = (round(count * step, 6) for count in (rounded, rounded + 1))
    strictly = need.constraint == "auc_drop"
    needed = next(limit for limit in limits if value < limit or (value == limit and not strictly))
    return Loosening(variant, need.constraint, need.limit, needed)


def _by_how_much(one: Loosening) -> float:
    return one.needed / one.limit - 1 if one.limit else math.inf
