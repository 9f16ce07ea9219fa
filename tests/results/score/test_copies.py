"""Identical files weigh together as one frame, in every number."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from bench.records import Alone, Evaluation, LabelledFrames, Predictions
from bench.reports.content.plots import plots
from bench.reports.html.counts import counts
from bench.reports.html.pictures import ends
from bench.reports.pictures.gallery import galleries
from bench.results.score import evaluate, side_by_side
from tests.results.score.test_evaluate import COUNT, answers, frames, numbers_of, rounded, run

NAMES = {"baseline": 0.0, "twin": 0.0, "noisy": 1.5, "lost": 9.0}


def judged(rows: NDArray[np.int64], firsts: NDArray[np.int64] | None) -> Evaluation:
    """The frames `rows` of some, of which those of equal rows are copies, as `firsts` says."""
    test = replace(frames(rows), firsts=firsts)
    predictions = {}
    for seed, (name, noise) in enumerate(NAMES.items()):
        whole = answers(noise, np.arange(COUNT), seed=seed)
        assert whole.cam is not None
        assert whole.logit_diff is not None
        predictions[name] = Predictions(whole.test[rows], whole.test[rows], whole.cam[rows], whole.logit_diff[rows])
    return evaluate(run(*NAMES), test, test, predictions)


def with_copies() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every frame in its order, some of them up to nine times; and the rows of the first of each."""
    rng = np.random.default_rng(0)
    copies = np.repeat(np.arange(COUNT), rng.integers(0, 9, COUNT))
    rows = np.concatenate([np.arange(COUNT), rng.permutation(copies)])
    return rows, rows


def test_every_number_is_that_of_the_set_without_copies() -> None:
    once, often = judged(np.arange(COUNT), None), judged(*with_copies())
    assert [rounded(number) for number in numbers_of(often)] == [rounded(number) for number in numbers_of(once)]
    assert often.independence == once.independence
    for name, variant in often.variants.items():
        before = once.variants[name]
        for outcome, rows in variant.outcomes.items():
            assert rows.tolist() == before.outcomes[outcome].tolist()
        if variant.flips and before.flips and variant.drift and before.drift:
            assert variant.flips.rows.tolist() == before.flips.rows.tolist()
            assert variant.drift.other_reason.tolist() == before.drift.other_reason.tolist()
    different = judged(with_copies()[0], None)
    assert different.variants["noisy"].auc != once.variants["noisy"].auc, "copies that nobody knows of count"


def test_pictures_plots_and_the_threshold_slider_are_those_of_the_set_without_copies() -> None:
    once, often = judged(np.arange(COUNT), None), judged(*with_copies())
    of_run = run(*NAMES)
    assert galleries(of_run, often) == galleries(of_run, once)
    assert ends(often, "noisy", 200) == ends(once, "noisy", 200)
    assert counts(of_run, often) == counts(of_run, once)
    assert plots(of_run, often).histograms == plots(of_run, once).histograms


def test_detectors_side_by_side_count_copies_once() -> None:
    of_run = run(*NAMES)
    alone = [
        side_by_side({"a": Alone(of_run, evaluation), "b": Alone(of_run, evaluation)})
        for evaluation in (judged(np.arange(COUNT), None), judged(*with_copies()))
    ]
    compared = [[variant.comparison for variant in each.evaluation.variants.values()] for each in alone]
    assert rounded(compared[0]) == rounded(compared[1])
    assert rounded(alone[0].baselines) == rounded(alone[1].baselines)


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (["a", "b", "c", "a"], ["a", "b", "c"]),
        (["a", "b", "c", "d"], ["a;d", "b", "c"]),
        ([None, "b", "c", "b;a"], ["a;b", "b", "c"]),
        (["a", None, None, None], ["a", None, None]),
    ],
)
def test_a_frame_belongs_to_the_sources_of_all_its_copies(
    sources: list[str | None], expected: list[str | None]
) -> None:
    names = pd.Series([f"{row}.png" for row in range(4)])
    firsts = np.array([0, 1, 2, 0])
    labelled = LabelledFrames(
        names,
        np.array([0, 1, 1, 0], np.int8),
        pd.Series(sources, dtype="string"),
        pd.DataFrame(index=names.index),
        firsts,
    )
    distinct = labelled.without_copies()
    assert [None if pd.isna(source) else source for source in distinct.sources] == expected
    assert distinct.frames.tolist() == ["0.png", "1.png", "2.png"]
    assert distinct.firsts is None
