"""Ablation: what each step cost and gained, by comparing a variant with its nearest ancestor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from bench.records import Effect, Footprint, Ratio, RunRecord, VariantResult
from bench.results.score.differences import difference
from bench.results.score.speed import is_simulated, is_throttled, ratio, taken

if TYPE_CHECKING:
    from bench.results.score.clusters import Clusters
    from bench.results.score.placements import Placements


def effects(run: RunRecord, placed: Mapping[str, Placements], clusters: Clusters | None) -> tuple[Effect, ...]:
    """The effect of the steps between every variant but the baseline and its nearest ancestor in the experiment.

    The nearest ancestor is the variant whose steps are the longest proper prefix of the variant's; of two with the
    same steps, the first. A variant whose ancestors all failed has no effect. `placed` lacks variants without AUC.
    """
    evaluated = [variant for variant in run.variants if variant.status == "ok"]
    by_variant = []
    for variant in evaluated:
        ancestor = _ancestor(variant, evaluated)
        if ancestor is not None and variant is not run.baseline:
            by_variant.append(_effect(variant, ancestor, placed, clusters))
    return tuple(by_variant)


def _ancestor(variant: VariantResult, others: Iterable[VariantResult]) -> VariantResult | None:
    steps = variant.steps
    before = [other for other in others if len(other.steps) < len(steps) and other.steps == steps[: len(other.steps)]]
    return max(before, key=lambda ancestor: len(ancestor.steps), default=None)


def _effect(
    variant: VariantResult,
    ancestor: VariantResult,
    placed: Mapping[str, Placements],
    clusters: Clusters | None,
) -> Effect:
    """The effect of the steps from `ancestor` to `variant`; what either lacks is None."""
    delta, p = None, None
    if variant.name in placed and ancestor.name in placed:
        delta, p = difference(placed[variant.name], placed[ancestor.name], clusters)
    before, after = ancestor.footprint, variant.footprint
    return Effect(
        variant=variant.name,
        ancestor=ancestor.name,
        steps=variant.steps[len(ancestor.steps) :],
        delta=delta,
        p=p,
        size_bytes=_both(before, after, "size_bytes"),
        parameters=_both(before, after, "parameters"),
        macs=_both(before, after, "macs"),
        speed=_speed(variant, ancestor),
    )


def _both(before: Footprint | None, after: Footprint | None, what: str) -> tuple[int, int] | None:
    first, second = getattr(before, what, None), getattr(after, what, None)
    return None if first is None or second is None else (first, second)


def _speed(variant: VariantResult, ancestor: VariantResult) -> Ratio | None:
    """Speed-up against the ancestor with one frame; None unless both were timed in one session, runtime and device."""
    after, before = variant.executed, ancestor.executed
    if after is None or before is None or (after.runtime, after.device) != (before.runtime, before.device):
        return None
    if variant.conditions is None or variant.conditions != ancestor.conditions:
        return None
    if is_simulated(after) or is_simulated(before) or is_throttled(variant):
        return None
    faster, reference = taken(variant), taken(ancestor)
    return ratio(faster[0], reference[0]) if faster and reference else None
