"""When a training stops before its last epoch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bench.records.trainings import EpochRow
from bench.training.loop import Progress, _Training
from bench.training.settings import StopSettings


def worse_after(scores: list[float], **stop: Any) -> list[int]:
    """The epochs in a row without a better score, after each of those with such scores."""
    progress = Progress()
    recipe = SimpleNamespace(stop=StopSettings(**stop), keep_every=None)
    training: Any = SimpleNamespace(
        progress=progress, job=SimpleNamespace(recipe=recipe), _write_answers=lambda answers: None,
        _write_checkpoint=lambda name, row: None,
    )  # fmt: skip
    worse = []
    for epoch, score in enumerate(scores, start=1):
        row = EpochRow(epoch, epoch, 0.1, 1.0, 1.0, {}, score, 0.0)
        _Training._keep(training, row, np.zeros(1))
        worse.append(progress.worse)
    return worse


@pytest.mark.parametrize(
    ("scores", "stop", "expected"),
    [
        ([0.5, 0.6, 0.6, 0.55], {"patience": 5}, [0, 0, 1, 2]),
        # Small gains add up: each is compared with the last that counted, not with the epoch before.
        ([0.5, 0.508, 0.516, 0.524, 0.532], {"patience": 5, "least": 0.01}, [0, 1, 0, 1, 0]),
        ([0.5, 0.505, 0.509, 0.5], {"patience": 5, "least": 0.01}, [0, 1, 2, 3]),
        ([0.5, 0.4, 0.4, 0.4], {"patience": 5, "after": 2}, [0, 0, 1, 2]),
    ],
)
def test_what_counts_as_better(scores: list[float], stop: dict[str, Any], expected: list[int]) -> None:
    assert worse_after(scores, **stop) == expected


def test_how_far_it_is_survives_json() -> None:
    progress = Progress(epoch=3, better_score=0.7)
    assert Progress.of_json(progress.as_json()) == progress
    assert Progress.of_json(Progress().as_json()) == Progress()
