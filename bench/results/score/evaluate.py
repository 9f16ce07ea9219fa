"""Everything that is judged of an experiment, from its answers alone: the order of the work, on one screen."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.records import Evaluation, LabelledFrames, Predictions, RunRecord, Timing, VariantEvaluation
from bench.results.score import (
    ablation,
    auc,
    calibration,
    choice,
    drift,
    flips,
    noninferiority,
    placements,
    points,
    slices,
    thresholds,
)
from bench.results.score.speed import size_only, speeds, summaries


def evaluate(
    run: RunRecord, test: LabelledFrames, validation: LabelledFrames | None, predictions: Mapping[str, Predictions]
) -> Evaluation:
    """Score every variant on the test frames and compare each with the baseline.

    `predictions` has every variant with status "ok". Validation frames only set thresholds.
    """
    ordered = {variant.name: predictions[variant.name] for variant in run.variants if variant.status == "ok"}
    baseline = ordered.get(run.baseline.name)
    clusters = placements.clusters(test.sources)
    both = len(np.unique(test.labels)) == 2
    placed = {name: placements.placements(test.labels, one.ranks) for name, one in ordered.items()} if both else {}
    comparisons = noninferiority.compare(placed, run.baseline.name, clusters, run.margin)
    slicing = slices.slicing(test, clusters)
    judged: dict[str, VariantEvaluation] = {}
    for name, own in ordered.items():
        other = baseline if own is not baseline else None
        at = thresholds.points(run.threshold, test, validation, own, baseline)
        curve = points.roc(test.labels, own.ranks) if both else None
        judged[name] = VariantEvaluation(
            score=points.score(test.labels, own.test, placed.get(name), curve),
            auc=auc.estimate(placed[name], clusters) if both else None,
            roc=points.thinned(*curve[:2]) if curve else None,
            reliability=calibration.reliability(test.labels, own.test),
            thresholds=at,
            shift=thresholds.shift(test.labels, own, other, at, judged[run.baseline.name].thresholds, clusters)
            if other
            else None,
            comparison=comparisons.get(name),
            flips=flips.flips(test.labels, other.test, own.test, run.threshold) if other else None,
            drift=drift.drift(test.labels, other, own, run.threshold) if other else None,
            slices=slices.evaluate(slicing, placed[name], placed[run.baseline.name] if other else None, clusters)
            if both
            else (),
        )
    timed = speeds(run)
    effects = ablation.effects(run, placed, clusters)
    return Evaluation(
        test=test,
        validation=validation,
        predictions=ordered,
        variants=judged,
        speeds=timed,
        choice=choice.choose(run, judged, timed),
        effects=effects,
        size_only=size_only(run, effects, timed),
        not_sliced=slicing.left_out,
        timings={variant.name: summaries(variant.measurements) for variant in run.variants if variant.status == "ok"},
        elsewhere=_elsewhere(run),
    )


def _elsewhere(run: RunRecord) -> tuple[Timing, ...]:
    """The baseline as it was timed beside other variants, each measurement once."""
    own = set(run.baseline.measurements)
    beside = dict.fromkeys(one for variant in run.variants if variant.status == "ok" for one in variant.baseline)
    return summaries(one for one in beside if one not in own)
