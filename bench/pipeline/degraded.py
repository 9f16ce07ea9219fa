"""Predictions for re-compressed test frames: where they lie, under which keys, and adding them to the scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from bench import datasets
from bench.errors import UserError
from bench.experiment import ExperimentSettings
from bench.pipeline.prepared import Setup
from bench.provenance import digest
from bench.records import (
    Degradation,
    DegradationKind,
    DegradedPredictions,
    Evaluation,
    Predictions,
    RunRecord,
    VariantResult,
)
from bench.results import predict, store
from bench.results.score.robustness import with_robustness

NOT_JUDGED = "Not judged under re-compression"


def of_experiment(setup: Setup) -> tuple[Degradation, ...]:
    """Under which re-compression every variant is judged again."""
    asked = setup.settings.robustness
    return asked.degradations if asked else ()


def folder_of(folder: Path, degradation: Degradation) -> Path:
    """Where predictions for re-compressed frames lie, below the folder of a variant's others."""
    return folder / predict.DEGRADED / degradation.folder


def undoable(settings: ExperimentSettings, results: Path) -> dict[DegradationKind, str]:
    """Why kinds of re-compression that are asked for can't be done with what is installed here, by kind.

    A kind under which everything was judged already needs nothing: what it takes is not even loaded.
    """
    asked = settings.robustness.degradations if settings.robustness else ()
    titles = settings.titles.values()
    folders = [
        settings.folder(detector, name) / variant for detector, variant in titles for name in settings.frame_sets
    ]
    due = dict.fromkeys(
        degradation.kind
        for degradation in asked
        for folder in folders
        if not (folder_of(results / folder, degradation) / predict.PREDICTIONS).exists()
    )
    troubles = {kind: datasets.degradations.unavailable(kind) for kind in due}
    return {kind: trouble for kind, trouble in troubles.items() if trouble}


def key_of(predictions_key: str, degradation: Degradation) -> str:
    """Their key: that of the predictions for the frames as they are, the level, and what determines its pixels."""
    pixels = datasets.degradations.versions_of(degradation.kind)
    return digest({"predictions": predictions_key, "degradation": asdict(degradation), "pixels": pixels})


def frames_left(setup: Setup, folder: Path, predictions_key: str) -> dict[Degradation, int]:
    """How many re-compressed frames have no results, at each level that lacks some; finished shards count as done."""
    left = {}
    for degradation in of_experiment(setup):
        key, of_level = key_of(predictions_key, degradation), folder_of(folder, degradation)
        if count := predict.rows_left(of_level, key, len(setup.frames["test"].frames)):
            left[degradation] = count
    return left


def stored_predictions(setup: Setup, folder: Path, predictions_key: str) -> tuple[DegradedPredictions, ...]:
    """The levels of a variant that have all their predictions, with the keys of these."""
    keys = {degradation: key_of(predictions_key, degradation) for degradation in of_experiment(setup)}
    return tuple(
        DegradedPredictions(degradation, key)
        for degradation, key in keys.items()
        if predict.is_done(folder_of(folder, degradation), key)
    )


def remarks(setup: Setup, rows: Sequence[VariantResult]) -> list[str]:
    """Which variants lack predictions for re-compressed frames that were asked for."""
    asked = of_experiment(setup)
    lacking = []
    for row in rows:
        done = {level.degradation for level in row.degraded}
        missing = [degradation.title for degradation in asked if degradation not in done]
        if missing and row.status == "ok":
            lacking.append(f"{row.name} ({', '.join(missing)})")
    if not lacking:
        return []
    return [f"{NOT_JUDGED}: {'; '.join(lacking)}. `bench run` judges what it is asked for; its log says what failed."]


def with_degraded(run: RunRecord, evaluation: Evaluation, results: Path) -> Evaluation:
    """The scores with those on re-compressed frames, as far as such predictions are stored."""
    by_variant = {variant.name: _read(variant.degraded, results / variant.name, run) for variant in run.variants}
    degraded = {name: by_variant[name] for name in evaluation.variants if by_variant[name]}
    if not degraded:
        return evaluation
    return with_robustness(evaluation, degraded, run)


def _read(levels: tuple[DegradedPredictions, ...], folder: Path, run: RunRecord) -> Mapping[Degradation, Predictions]:
    """The predictions of a variant at each level. `UserError` where they are gone or damaged."""
    count = run.frames["test"].count
    predictions = {}
    for level in levels:
        of_level = folder_of(folder, level.degradation)
        if not predict.is_done(of_level, level.key):
            raise UserError(f"{of_level}: has changed since the last whole run; `bench run` completes it")
        predictions[level.degradation] = store.read_predictions(of_level, count, count)
    return predictions
