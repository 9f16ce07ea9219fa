"""Which variant to ship: which meet the constraints, which are beaten in everything, and which limits to loosen."""

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
    VariantEvaluation,
    VariantResult,
    VariantSpeed,
)
from bench.results.score.speed import is_simulated, is_throttled

Criterion: TypeAlias = Literal["size", "latency", "auc"]

ORDER: Mapping[Criterion, tuple[Criterion, ...]] = {
    "size": ("size", "latency", "auc"),
    "latency": ("latency", "size", "auc"),
    "auc": ("auc", "size", "latency"),
}
"""By what the best is picked: a criterion decides between variants that are equal by those before it."""

EQUAL = 0.01
"""Sizes and latencies that differ by no more than this share count as equal; latencies also where their speed-ups
against the baseline, in the same runtime on the same device, have intervals that overlap."""

STEP = {"auc_drop": 1e-4, "size_mib": 0.01, "latency_ms": 0.01}
"""The steps to which a loosened limit is rounded up."""

Point: TypeAlias = tuple[float | None, ...]


@dataclass(frozen=True)
class _Standing:
    """A variant by each criterion, less being better.

    `speedup` is against the baseline in the runtime and on the device of `timed_on`.
    """

    by: Mapping[Criterion, float | None]
    timed_on: tuple[str, str] | None
    speedup: Ratio | None


def choose(
    run: RunRecord, scored: Mapping[str, VariantEvaluation], speeds: Mapping[str, VariantSpeed]
) -> Choice | None:
    """Choose the variant to ship under `run.choose`, by default the smallest that loses less AUC than the margin.

    Latencies are median wall-clock times of one frame on the machine of the run, each variant in its own runtime.
    They are compared across runtimes, and left out for int8 that was simulated. None where the baseline has no AUC or
    is not significantly better than chance, or where there is no other variant.
    """
    baseline = scored.get(run.baseline.name)
    if baseline is None or baseline.auc is None or baseline.auc.interval.low <= 0.5 or len(scored) < 2:
        return None
    asked = run.choose or Constraints()
    # A limit on size or latency alone must not lead to a detector that has lost its AUC.
    constraints = asked if asked.auc_drop is not None else replace(asked, auc_drop=run.margin)
    candidates = _candidates(run, scored, speeds, constraints)
    standings = {
        name: _standing(candidate, scored[name], speeds[name], is_baseline=name == run.baseline.name)
        for name, candidate in ((candidate.name, candidate) for candidate in candidates)
    }
    qualified = [candidate for candidate in candidates if candidate.qualifies]
    chosen = _best(qualified, standings, constraints.prefer)
    others = [candidate for candidate in qualified if candidate.name != chosen]
    return Choice(
        constraints=constraints,
        asked=any(limit is not None for limit in (asked.auc_drop, asked.size_mib, asked.latency_ms)),
        candidates=candidates,
        chosen=chosen,
        runner_up=_best(others, standings, constraints.prefer),
        loosen=() if chosen else _loosenings(candidates),
        front_by_size=front({rival.name: (rival.size_mib, _negated(rival.auc)) for rival in candidates}),
        front_by_latency=front({rival.name: (rival.latency_ms, _negated(rival.auc)) for rival in candidates}),
    )


def beats(point: Point, other: Point) -> bool:
    """Whether a point is at least as good in every coordinate and better in one; less is better.

    An unknown coordinate of `point` is worse than any known one of `other`, and a known one is not better than an
    unknown one. So no points can beat each other in a circle.
    """
    pairs = list(zip(point, other, strict=True))
    at_least = all(second is None or (first is not None and first <= second) for first, second in pairs)
    return at_least and any(first is not None and second is not None and first < second for first, second in pairs)


def front(points: Mapping[str, Point]) -> tuple[str, ...]:
    """The names of the points that none beats (the Pareto front), the least first coordinate first.

    Less is better in every coordinate; points of which one is unknown are left out.
    """
    complete = {name: point for name, point in points.items() if None not in point}
    unbeaten = [name for name, point in complete.items() if not any(beats(other, point) for other in complete.values())]
    return tuple(sorted(unbeaten, key=lambda name: [value for value in complete[name] if value is not None]))


def _candidates(
    run: RunRecord,
    scored: Mapping[str, VariantEvaluation],
    speeds: Mapping[str, VariantSpeed],
    constraints: Constraints,
) -> tuple[Candidate, ...]:
    """Every scored variant in the run's order, and which variant beats it: one that qualifies if there is one."""
    candidates = []
    for variant in run.variants:
        if variant.name not in scored:
            continue
        scores = scored[variant.name]
        size_mib = variant.footprint.size_bytes / 2**20 if variant.footprint else None
        latency_ms = speeds[variant.name].latency_ms
        met = (
            _auc_drop(scores, variant is run.baseline, constraints.auc_drop),
            _at_most("size_mib", size_mib, constraints.size_mib, "the size of its file is not known"),
            _at_most("latency_ms", latency_ms, constraints.latency_ms, _why_untimed(variant)),
        )
        requirements = tuple(requirement for requirement in met if requirement is not None)
        auc = scores.auc.value if scores.auc else None
        candidates.append(Candidate(variant.name, requirements, size_mib, latency_ms, auc, beaten_by=None))
    return tuple(_with_beater(candidate, candidates) for candidate in candidates)


def _with_beater(candidate: Candidate, others: Sequence[Candidate]) -> Candidate:
    """The candidate with `beaten_by`: of several that beat it, one that qualifies and that no other of them beats."""
    beaters = [other for other in others if beats(_point(other), _point(candidate))]
    best = min(
        beaters,
        key=lambda beater: (not beater.qualifies, any(beats(_point(other), _point(beater)) for other in beaters)),
        default=None,
    )
    return replace(candidate, beaten_by=best.name if best else None)


def _point(candidate: Candidate) -> Point:
    """Size, latency and negated AUC: less is better in each."""
    return candidate.size_mib, candidate.latency_ms, _negated(candidate.auc)


def _negated(auc: float | None) -> float | None:
    return None if auc is None else -auc


def _why_untimed(variant: VariantResult) -> str:
    if variant.executed is None:
        return "it was not timed here"
    if is_simulated(variant.executed):
        return "its int8 was simulated, and the time of that is not the time of int8"
    if is_throttled(variant):
        return "a CPU quota stopped it again and again while it was timed"
    return "it was not timed"


def _auc_drop(scores: VariantEvaluation, is_baseline: bool, limit: float | None) -> Requirement | None:
    """Met where the far end of the interval of the drop is below the limit: the lower bound of a stable verdict."""
    if limit is None:
        return None
    if is_baseline:
        return Requirement("auc_drop", limit, 0.0, 0.0, limit, met=True)
    if scores.comparison is None:
        return Requirement("auc_drop", limit, None, None, None, met=False, reason="its AUC is not known")
    delta = scores.comparison.delta
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


def _standing(candidate: Candidate, scores: VariantEvaluation, speed: VariantSpeed, *, is_baseline: bool) -> _Standing:
    """A candidate by each criterion. An AUC that does not differ significantly from the baseline's counts as equal."""
    ratio = Ratio(1.0, 1.0, 1.0) if is_baseline else speed.speedup
    drop = 0.0
    if scores.comparison is not None:
        delta = scores.comparison.delta
        drop = 0.0 if delta.interval.low <= 0 <= delta.interval.high else -delta.value
    return _Standing(
        by={
            "size": candidate.size_mib,
            "latency": candidate.latency_ms,
            "auc": None if candidate.auc is None else drop,
        },
        timed_on=(speed.single.runtime, speed.single.device) if speed.single else None,
        speedup=ratio,
    )


def _best(pool: Sequence[Candidate], standings: Mapping[str, _Standing], prefer: Criterion) -> str | None:
    """Pick the best of the pool: each criterion leaves those that equal its best; of equals, the earlier variant wins.

    A candidate that another of the pool beats is out from the start. Candidates are compared with the *best* by a
    criterion, not with each other: "about equal" is not transitive.
    """
    left = [rival.name for rival in pool if not any(beats(_point(other), _point(rival)) for other in pool)]
    for criterion in ORDER[prefer]:
        values = {name: value for name in left if (value := standings[name].by[criterion]) is not None}
        if values:
            least = min(values, key=lambda name: values[name])
            most = values[least] if criterion == "auc" else values[least] * (1 + EQUAL)
            by_latency = criterion == "latency"
            left = [
                name
                for name, value in values.items()
                if value <= most or (by_latency and _may_be_as_fast(standings[name], standings[least]))
            ]
    return left[0] if left else None


def _may_be_as_fast(first: _Standing, second: _Standing) -> bool:
    """Whether the intervals of two speed-ups, taken in the same runtime on the same device, overlap."""
    if first.timed_on != second.timed_on or first.speedup is None or second.speedup is None:
        return False
    return first.speedup.low <= second.speedup.high and second.speedup.low <= first.speedup.high


def _loosenings(candidates: Iterable[Candidate]) -> tuple[Loosening, ...]:
    """The limits to loosen for the candidates that miss the fewest constraints, the nearest candidate first.

    Candidates with an unknown value are left out: no limit would make them qualify.
    """
    missed = {
        candidate.name: [requirement for requirement in candidate.requirements if not requirement.met]
        for candidate in candidates
    }
    by_candidate = {
        name: [_loosening(name, need, need.value) for need in needs if need.value is not None]
        for name, needs in missed.items()
        if all(need.value is not None for need in needs)
    }
    fewest = min(map(len, by_candidate.values()), default=0)
    nearest = sorted(
        (limits for limits in by_candidate.values() if len(limits) == fewest),
        key=lambda limits: sum(map(_excess, limits)),
    )
    return tuple(loosening for limits in nearest for loosening in limits)


def _loosening(variant: str, need: Requirement, value: float) -> Loosening:
    """The least limit, rounded up, that the value meets. A drop of AUC must be below its limit, others may equal it."""
    step = STEP[need.constraint]
    rounded = round(value / step)
    limits = (round(count * step, 6) for count in (rounded, rounded + 1))
    strictly = need.constraint == "auc_drop"
    needed = next(limit for limit in limits if value < limit or (value == limit and not strictly))
    return Loosening(variant, need.constraint, need.limit, needed)


def _excess(loosening: Loosening) -> float:
    """By what share of itself the limit would have to grow."""
    return loosening.needed / loosening.limit - 1 if loosening.limit else math.inf
