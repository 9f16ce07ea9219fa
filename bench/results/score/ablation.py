"""What each step cost and gained, read off the variants' lineage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from bench.records import Effect, Footprint, Ratio, RunRecord, VariantResult
from bench.results.score.auc import difference
from bench.results.score.speed import is_simulated, is_throttled, ratio, taken

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.results.score.placements import Placements


def effects(run: RunRecord, placed: Mapping[str, Placements], clusters: NDArray[np.int64] | None) -> tuple[Effect, ...]:
    """For every variant but the baseline, what the steps since its nearest ancestor in the experiment did.

    That is the variant whose steps are the longest proper prefix of its own; of two with the same
    steps the first. What has no ancestor, since that failed, has no effect. `placed` lacks variants without AUC.
    """
    answered = [variant for variant in run.variants if variant.status == "ok"]
    found = []
    for variant in answered:
        ancestor = _ancestor(variant, answered)
        if ancestor is not None and variant is not run.baseline:
            found.append(_effect(variant, ancestor, placed, clusters))
    return tuple(found)


def _ancestor(variant: VariantResult, others: Iterable[VariantResult]) -> VariantResult | None:
    steps = variant.steps
    before = [one for one in others if len(one.steps) < len(steps) and one.steps == steps[: len(one.steps)]]
    return max(before, key=lambda one: len(one.steps), default=None)


def _effect(
    variant: VariantResult,
    ancestor: VariantResult,
    placed: Mapping[str, Placements],
    clusters: NDArray[np.int64] | None,
) -> Effect:
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
    """How many times as fast as the ancestor with one frame; None unless both were timed side by side, and as such."""
    own, before = variant.executed, ancestor.executed
    if own is None or before is None or (own.runtime, own.device) != (before.runtime, before.device):
        return None
    if variant.conditions is None or variant.conditions != ancestor.conditions:
        return None
    if is_simulated(own) or is_simulated(before) or is_throttled(variant):
        return None
    mine, theirs = taken(variant), taken(ancestor)
    return ratio(mine[0], theirs[0]) if mine and theirs else None
