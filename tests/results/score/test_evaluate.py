"""The whole of scoring at once: what must hold whatever the frames."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from bench.records import Evaluation, LabelledFrames, Predictions, Preprocessing, RunRecord, SplitSummary, VariantResult
from bench.results.score import evaluate, p_fake

COUNT = 120


def run(*names: str, margin: float = 0.01) -> RunRecord:
    return RunRecord(
        experiment="made-up",
        detector="none",
        architecture="none",
        preprocessing=Preprocessing(32),
        threshold=0.5,
        gallery_top=5,
        gallery_heatmaps="gallery",
        frames={"test": SplitSummary("faces", COUNT, COUNT // 2, COUNT // 2, 0, "0")},
        variants=tuple(VariantResult(name, name, (), "ok", None) for name in names),
        provenance={},
        margin=margin,
    )


def frames(order: NDArray[np.int64]) -> LabelledFrames:
    return LabelledFrames(
        pd.Series([f"{index}.png" for index in order]),
        (order % 2).astype(np.int8),
        pd.Series([f"video {index // 4}" for index in order]),
        pd.DataFrame({"camera": np.array(["near", "far", "phone"])[order % 3]}),
    )


def answers(noise: float, order: NDArray[np.int64], scale: float = 1.0, seed: int = 0) -> Predictions:
    rng = np.random.default_rng(0)
    margin = scale * (2.0 * (np.arange(COUNT) % 2) - 1 + rng.normal(0, 1, COUNT))
    margin += noise * np.random.default_rng(seed).normal(0, 1, COUNT)
    margin = margin[order]
    cam = rng.normal(0, 1, (COUNT, 4, 4)).astype(np.float32)[order]
    scores = p_fake(-margin / 2, margin / 2)
    return Predictions(scores, scores[: COUNT // 2], cam, margin)


def judged(order: NDArray[np.int64]) -> Evaluation:
    validation = frames(np.arange(COUNT)[: COUNT // 2])
    fixed = np.arange(COUNT)
    predictions = {}
    for seed, (name, noise) in enumerate({"baseline": 0.0, "twin": 0.0, "noisy": 1.5, "lost": 9.0}.items()):
        permuted, still = answers(noise, order, seed=seed), answers(noise, fixed, seed=seed)
        predictions[name] = Predictions(permuted.test, still.validation, permuted.cam, permuted.logit_diff)
    return evaluate(run(*predictions), frames(order), validation, predictions)


def numbers_of(evaluation: Evaluation) -> list[object]:
    """All numbers that do not name a row."""
    numbers: list[object] = [evaluation.choice, evaluation.effects, evaluation.not_sliced]
    for variant in evaluation.variants.values():
        numbers += [variant.score, variant.auc, variant.thresholds, variant.shift, variant.comparison, variant.slices]
        numbers += [variant.reliability.ece, variant.reliability.counts.tolist()]
        if variant.flips and variant.drift:
            numbers += [variant.flips.worse, variant.flips.better, variant.flips.p]
            numbers += [variant.drift.rank_correlation, variant.drift.overlap]
    return numbers


def rounded(value: object) -> str:
    """Sums in another order differ in their last digits."""
    return re.sub(r"-?\d+\.\d+(e-?\d+)?", lambda number: f"{float(number[0]):.9f}", repr(value))


def test_permuting_the_frames_changes_nothing() -> None:
    in_order = judged(np.arange(COUNT))
    assert {"stable", "degraded", "inconclusive"} & {
        variant.comparison.verdict for variant in in_order.variants.values() if variant.comparison
    }
    moved = judged(np.random.default_rng(1).permutation(COUNT))
    assert rounded(numbers_of(moved)) == rounded(numbers_of(in_order))


@pytest.mark.parametrize(("margin", "verdict"), [(0.01, "stable"), (0.0, "inconclusive")])
def test_a_twin_of_the_baseline_differs_in_nothing(margin: float, verdict: str) -> None:
    order = np.arange(COUNT)
    both = {"baseline": answers(0, order), "twin": answers(0, order)}
    evaluation = evaluate(run(*both, margin=margin), frames(order), None, both).variants["twin"]
    assert evaluation.comparison is not None
    assert evaluation.flips is not None
    assert evaluation.drift is not None
    assert (evaluation.comparison.delta.value, evaluation.comparison.p) == (0.0, 1.0)
    assert evaluation.comparison.verdict == verdict
    assert (evaluation.flips.worse, evaluation.flips.better, evaluation.flips.p) == (0, 0, 1.0)
    assert (evaluation.drift.rank_correlation, evaluation.drift.overlap, len(evaluation.drift.other_reason)) == (
        1.0,
        1.0,
        0,
    )


def test_frames_are_ranked_by_the_margin_where_p_fake_says_1_for_all() -> None:
    order = np.arange(COUNT)
    sure = answers(0, order, scale=5)
    assert sure.logit_diff is not None
    far = Predictions(p_fake(0 * sure.logit_diff, sure.logit_diff + 80), None, None, sure.logit_diff + 80)
    assert len(np.unique(far.test)) == 1
    evaluation = evaluate(run("baseline"), frames(order), None, {"baseline": far}).variants["baseline"]
    assert evaluation.score.auc == pytest.approx(roc_auc_score(order % 2, sure.logit_diff))


def test_nothing_to_judge() -> None:
    record = run("baseline")
    failed = replace(record, variants=(replace(record.baseline, status="failed", reason="it overflowed"),))
    evaluation = evaluate(failed, frames(np.arange(0)), None, {})
    assert (evaluation.variants, evaluation.choice) == ({}, None)
