"""Everything that is judged of an experiment, from its answers alone: the order of the work, on one screen."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.records import Evidence, Judged, Judgement, Labelled, Run, Timing
from bench.results.score import (
    ablation,
    auc,
    calibration,
    choice,
    drift,
    flips,
    independence,
    outcomes,
    placements,
    points,
    slices,
    thresholds,
    verdict,
)
from bench.results.score.speed import comparable_latencies, size_only, speeds, summaries


def judge(run: Run, test: Labelled, validation: Labelled | None, evidence: Mapping[str, Evidence]) -> Judgement:
    """Score every variant on the test frames and compare each with the baseline.

    `evidence` has every variant with status "ok". Validation frames only set thresholds.
    """
    ordered = {variant.name: evidence[variant.name] for variant in run.variants if variant.status == "ok"}
    baseline = ordered.get(run.variants[0].name)
    clusters = placements.clusters(test.sources)
    both = len(np.unique(test.labels)) == 2
    placed = {name: placements.placements(test.labels, one.ranks) for name, one in ordered.items()} if both else {}
    comparisons = verdict.compare(placed, run.variants[0].name, clusters, run.margin)
    slicing = slices.slicing(test, clusters)
    judged: dict[str, Judged] = {}
    for name, own in ordered.items():
        other = baseline if own is not baseline else None
        at = thresholds.points(run.threshold, test, validation, own, baseline)
        curve = points.roc(test.labels, own.ranks) if both else None
        judged[name] = Judged(
            score=points.score(test.labels, own.test, placed.get(name), curve),
            auc=auc.estimate(placed[name], clusters) if both else None,
            roc=points.thinned(*curve[:2]) if curve else None,
            reliability=calibration.reliability(test.labels, own.test),
            thresholds=at,
            shift=thresholds.shift(test.labels, own, other, at, judged[run.variants[0].name].thresholds, clusters)
            if other
            else None,
            comparison=comparisons.get(name),
            flips=flips.flips(test.labels, other.test, own.test, run.threshold) if other else None,
            drift=drift.drift(test.labels, other, own, run.threshold) if other else None,
            slices=slices.judge(slicing, placed[name], placed[run.variants[0].name] if other else None, clusters)
            if both
            else (),
            outcomes=outcomes.outcomes(test.labels, own.test, run.threshold),
        )
    timed = speeds(run)
    effects = ablation.effects(run, placed, clusters)
    return Judgement(
        test=test,
        validation=validation,
        evidence=ordered,
        variants=judged,
        speeds=timed,
        choice=choice.choose(run, judged, timed),
        effects=effects,
        size_only=size_only(run, effects, timed),
        not_sliced=slicing.left_out,
        timings={variant.name: summaries(variant.measurements) for variant in run.variants if variant.status == "ok"},
        elsewhere=_elsewhere(run),
        independence=independence.independence(test),
        latencies=comparable_latencies(run, timed),
    )


def _elsewhere(run: Run) -> tuple[Timing, ...]:
    """The baseline as it was timed beside other variants, each measurement once."""
    own = set(run.variants[0].measurements)
    beside = dict.fromkeys(one for variant in run.variants if variant.status == "ok" for one in variant.baseline)
    return summaries(one for one in beside if one not in own)
