"""All scores of an experiment, from its predictions alone: the order of the work, on one screen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bench.records import (
    Comparison,
    ConfirmedSlice,
    Drift,
    Evaluation,
    Exemplars,
    GroupGap,
    LabelledFrames,
    Predictions,
    Resolution,
    RunRecord,
    Timing,
    VariantEvaluation,
)
from bench.results.score import (
    ablation,
    auc,
    calibration,
    choice,
    clusters,
    discovery,
    drift,
    exemplars,
    flips,
    groups,
    independence,
    noise,
    noninferiority,
    outcomes,
    placements,
    points,
    resolution,
    scaling,
    slices,
    thresholds,
    video_scaling,
    videos,
)
from bench.results.score.speed import comparable_latencies, size_only, speeds, summaries

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from bench.results.score.clusters import Clusters
    from bench.results.score.discovery import Search
    from bench.results.score.groups import Grouping
    from bench.results.score.placements import Placements
    from bench.results.score.slices import Slicing


@dataclass(frozen=True)
class _Shared:
    """What the variants of a run have in common while they are scored.

    `predictions` has every variant with status "ok", in the run's order. `placements` and `comparisons` are empty
    where the test frames are of one class, and `comparisons` lacks the baseline. `baseline` is None where it failed.
    All of it is without copies of frames, but for `complete`, the predictions of all, and `labels` [n] of all; `rows`
    are those of the test frames among all. `search` is None where nothing is compared.
    """

    run: RunRecord
    labels: NDArray[np.int8]
    complete: Mapping[str, Predictions]
    rows: NDArray[np.int64]
    test: LabelledFrames
    validation: LabelledFrames | None
    predictions: Mapping[str, Predictions]
    baseline: Predictions | None
    clusters: Clusters | None
    placements: Mapping[str, Placements]
    comparisons: Mapping[str, Comparison]
    slicing: Slicing
    search: Search | None
    groupings: tuple[Grouping, ...]


def evaluate(
    run: RunRecord,
    test: LabelledFrames,
    validation: LabelledFrames | None,
    predictions: Mapping[str, Predictions],
    *,
    as_a_whole: bool = False,
    further: Mapping[str, pd.Series[str]] | None = None,
) -> Evaluation:
    """Score every variant on the test frames and compare each with the baseline; not in parts of them `as_a_whole`.

    `predictions` has every variant with status "ok". Validation frames only set thresholds and calibrate
    P(fake). `further` columns [n] of the test frames are searched for slices too. Identical files weigh together as one
    frame: no row of the scores is that of a copy. Where the videos of frames are known, they are scored by the same
    code, with scores of their own.
    """
    import threadpoolctl

    # Products of vectors gain nothing by threads, which on a busy machine wait for each other.
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        return _scored(run, test, validation, predictions, further or {}, as_a_whole=as_a_whole)


def _scored(
    run: RunRecord,
    test: LabelledFrames,
    validation: LabelledFrames | None,
    predictions: Mapping[str, Predictions],
    further: Mapping[str, pd.Series[str]],
    *,
    as_a_whole: bool,
) -> Evaluation:
    """See `evaluate`."""
    run = replace(run, groups=()) if as_a_whole or not predictions else run
    searches = not as_a_whole and len(predictions) > 1
    columns = {**further, **_where_hottest(run, predictions)} if searches else {}
    uncalibrated = _evaluate(run, test, validation, predictions, searches=searches, further=columns)
    evaluation = scaling.with_calibration(uncalibrated, run.threshold)
    evaluation = replace(evaluation, noises=noise.measured(run, test, evaluation.predictions))
    of_test, of_validation = videos.of_run(run, test, validation)
    if of_test is None:
        return evaluation
    scored = {
        name: videos.predictions(of_frames, of_test, of_validation, run.video_scoring)
        for name, of_frames in evaluation.predictions.items()
    }
    labelled = videos.labelled(of_test), videos.labelled(of_validation) if of_validation else None
    of_videos = {name: videos.most_frequent(of_test, column) for name, column in columns.items()}
    by_video = _evaluate(run, *labelled, scored, searches=searches, further=of_videos)
    reasons = videos.not_sliced(by_video.not_sliced, test, labelled[0])
    evaluation = video_scaling.with_videos(evaluation, of_test, run.video_scoring)
    return replace(evaluation, videos=of_test, video=replace(by_video, unit="video", not_sliced=reasons))


def _where_hottest(run: RunRecord, predictions: Mapping[str, Predictions]) -> dict[str, pd.Series[str]]:
    """The ninth of each test frame in which the baseline's map is hottest, as a column; empty without maps."""
    baseline = predictions.get(run.baseline.name)
    if baseline is None or baseline.cam is None:
        return {}
    return {discovery.HOTTEST: discovery.hottest(baseline.cam, baseline.test >= run.threshold)}


def _evaluate(
    run: RunRecord,
    test: LabelledFrames,
    validation: LabelledFrames | None,
    predictions: Mapping[str, Predictions],
    *,
    searches: bool,
    further: Mapping[str, pd.Series[str]],
) -> Evaluation:
    """The same of frames, or of videos in place of frames."""
    shared = _shared(run, test, validation, predictions, searches=searches, further=further)
    variants: dict[str, VariantEvaluation] = {}
    for name in shared.predictions:
        variants[name] = _variant(shared, name, variants.get(run.baseline.name))
    timed = speeds(run)
    effects = ablation.effects(run, shared.placements, shared.clusters)
    return Evaluation(
        test=test,
        validation=validation,
        predictions=shared.complete,
        variants=variants,
        speeds=timed,
        choice=choice.choose(run, variants, timed),
        effects=effects,
        size_only=size_only(run, effects, timed),
        not_sliced=shared.slicing.left_out,
        timings={variant.name: summaries(variant.measurements) for variant in run.variants if variant.status == "ok"},
        elsewhere=_elsewhere(run),
        independence=independence.independence(shared.test, shared.clusters),
        latencies=comparable_latencies(run, timed),
        exemplars=_exemplars(shared),
        slice_search=shared.search.record if shared.search else None,
    )


def _shared(
    run: RunRecord,
    test: LabelledFrames,
    validation: LabelledFrames | None,
    predictions: Mapping[str, Predictions],
    *,
    searches: bool,
    further: Mapping[str, pd.Series[str]],
) -> _Shared:
    """Work out what all variants have in common, with `searches` for slices: see `_Shared`."""
    complete = {variant.name: predictions[variant.name] for variant in run.variants if variant.status == "ok"}
    counted = test.counted, validation.counted if validation else slice(None)
    by_name = {name: predicted.of(*counted) for name, predicted in complete.items()}
    distinct = test.without_copies()
    of_sources = clusters.clusters(distinct.sources, distinct.labels)
    has_both_classes = len(np.unique(distinct.labels)) == 2
    placed = (
        {name: placements.of_predictions(distinct.labels, predicted) for name, predicted in by_name.items()}
        if has_both_classes
        else {}
    )
    searched = None
    comparisons = noninferiority.compare(placed, run.baseline.name, of_sources, run.margin)
    rows = np.arange(len(test.labels))[test.counted]
    if searches and comparisons:
        of_distinct = {name: column.iloc[rows].reset_index(drop=True) for name, column in further.items()}
        measured = {} if distinct.measured is None else {str(name): of for name, of in distinct.measured.items()}
        searched = discovery.search(distinct, of_sources, {**measured, **of_distinct})
    return _Shared(
        run=run,
        labels=test.labels,
        complete=complete,
        rows=rows,
        test=distinct,
        validation=validation.without_copies() if validation else None,
        predictions=by_name,
        baseline=by_name.get(run.baseline.name),
        clusters=of_sources,
        placements=placed,
        comparisons=comparisons,
        slicing=slices.slicing(distinct, of_sources),
        search=searched,
        groupings=groups.groupings(run.groups, distinct, of_sources),
    )


def _variant(shared: _Shared, name: str, baseline: VariantEvaluation | None) -> VariantEvaluation:
    """One variant's scores, and the comparison with `baseline`: None for the baseline itself, or where it failed."""
    labels, predicted, placed = shared.test.labels, shared.predictions[name], shared.placements.get(name)
    curve = points.roc(labels, predicted.ranks) if placed else None
    by_outcome = outcomes.outcomes(labels, predicted.test, shared.run.threshold)
    scored = VariantEvaluation(
        score=points.score(labels, predicted.test, placed, curve),
        auc=auc.estimate(placed, shared.clusters) if placed else None,
        roc=points.thinned(*curve[:2]) if curve else None,
        precision_recall=_precision_recall(labels, curve) if curve else None,
        reliability=calibration.reliability(labels, predicted.test),
        thresholds=thresholds.points(shared.run.threshold, shared.test, shared.validation, predicted, shared.baseline),
        outcomes={outcome: shared.rows[rows] for outcome, rows in by_outcome.items()},
        gaps=_gaps(shared, predicted, baseline),
    )
    if placed:
        other = shared.placements[shared.run.baseline.name] if baseline else None
        scored = replace(
            scored,
            slices=slices.evaluate(shared.slicing, placed, other, shared.clusters),
            resolution=_resolution(shared, placed, predicted),
        )
    return _compared(shared, name, scored, baseline) if baseline else scored


def _resolution(shared: _Shared, placed: Placements, predicted: Predictions) -> Resolution | None:
    """What the scores that a variant gave cannot tell apart; those that are assumed are all the same."""
    if placed.assumed is not None:
        if len(np.unique(placed.is_fake[~placed.assumed])) < 2:
            return None
        placed = placements.subset(placed, ~placed.assumed)
    return resolution.resolution(placed, predicted, shared.run.margin)


def _precision_recall(labels: NDArray[np.int8], curve: points.Curve) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The points of the curve that its picture needs."""
    fakes = int((labels == 1).sum())
    return points.thinned(*points.precision_recall(curve, fakes, len(labels) - fakes))


def _compared(shared: _Shared, name: str, scored: VariantEvaluation, baseline: VariantEvaluation) -> VariantEvaluation:
    """The scores of a variant with what changed against the baseline on the same frames."""
    labels, threshold = shared.test.labels, shared.run.threshold
    before, after = shared.baseline, shared.predictions[name]
    assert before is not None
    flipped = flips.flips(labels, before.test, after.test, threshold)
    return replace(
        scored,
        comparison=shared.comparisons.get(name),
        confirmed=_confirmed(shared, name),
        shift=thresholds.shift(labels, after, before, scored.thresholds, baseline.thresholds, shared.clusters),
        flips=replace(flipped, rows=shared.rows[flipped.rows]),
        drift=_drift(shared, name),
    )


def _confirmed(shared: _Shared, name: str) -> tuple[ConfirmedSlice, ...]:
    if shared.search is None:
        return ()
    return discovery.confirmed(shared.search, shared.placements[name], shared.placements[shared.run.baseline.name])


def _gaps(shared: _Shared, predicted: Predictions, baseline: VariantEvaluation | None) -> tuple[GroupGap, ...]:
    """The gaps between groups at the fixed threshold; `baseline` is None for the baseline itself."""
    is_fake, threshold = shared.test.labels == 1, shared.run.threshold
    before = (shared.baseline.test >= threshold) != is_fake if baseline and shared.baseline else None
    return groups.gaps(shared.groupings, (predicted.test >= threshold) != is_fake, before, shared.clusters)


def _drift(shared: _Shared, name: str) -> Drift | None:
    """How far the maps moved; those of copies are read by nobody."""
    before, after = shared.complete[shared.run.baseline.name], shared.complete[name]
    return drift.drift(shared.labels, before, after, shared.run.threshold, shared.rows)


def _exemplars(shared: _Shared) -> Exemplars | None:
    """The rows that most variants lose, among all."""
    before = shared.baseline
    if before is None:
        return None
    baseline = shared.run.baseline.name
    others = {name: predicted.test for name, predicted in shared.predictions.items() if name != baseline}
    lost = exemplars.exemplars(shared.test.labels, before.test, others, shared.run.threshold)
    return replace(lost, rows=shared.rows[lost.rows]) if lost else None


def _elsewhere(run: RunRecord) -> tuple[Timing, ...]:
    """The baseline as it was timed beside other variants, each measurement once."""
    with_itself = set(run.baseline.measurements)
    beside = dict.fromkeys(
        measurement for variant in run.variants if variant.status == "ok" for measurement in variant.baseline
    )
    return summaries(measurement for measurement in beside if measurement not in with_itself)
