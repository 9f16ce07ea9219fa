"""Outcomes of test frames, and how many of them are independent."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix

from bench.records import OUTCOMES, Independence, LabelledFrames
from bench.results.score.clusters import clusters
from bench.results.score.independence import independence
from bench.results.score.outcomes import outcomes

SCORES = st.sampled_from([0.0, 0.2, 0.5, 0.500001, 1.0])


@given(st.lists(st.tuples(st.booleans(), SCORES), min_size=1, max_size=30), st.sampled_from([0.0, 0.5, 1.0]))
def test_every_frame_has_one_outcome_and_counts_are_scikit_learns(
    scored: list[tuple[bool, float]], threshold: float
) -> None:
    labels, p_fake = np.array([fake for fake, _ in scored], np.int8), np.array([score for _, score in scored])
    by_outcome = outcomes(labels, p_fake, threshold)
    assert sorted(np.concatenate(list(by_outcome.values())).tolist()) == list(range(len(scored)))
    tn, fp, fn, tp = confusion_matrix(labels, p_fake >= threshold, labels=[0, 1]).ravel()
    assert tuple(len(by_outcome[outcome]) for outcome in OUTCOMES) == (tp, fn, fp, tn)


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (["a", "a", "b", "b", "c", "d"], Independence(2, "source")),
        (["a", "a", "b", "c", "d", None], Independence(2, "source")),
        (["a", "a", "a", "b", "c", "d"], Independence(1, "source", ("fakes",))),
        (["a", "a", "a", "b", "b", "b"], Independence(1, "source", ("fakes", "reals"))),
        (["a", "b", "c", "d", "e", "f"], Independence(3, "frame")),
        ([None] * 6, Independence(3, "frame")),
    ],
)
def test_independent_sources_are_those_of_the_class_with_fewer(
    sources: list[str | None], expected: Independence
) -> None:
    frames = pd.Series([f"{index}.png" for index in range(6)])
    labels = np.array([1, 1, 1, 0, 0, 0], np.int8)
    test = LabelledFrames(frames, labels, pd.Series(sources, dtype=object), pd.DataFrame(index=frames.index))
    assert independence(test, clusters(test.sources, labels)) == expected
