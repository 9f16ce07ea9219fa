"""The made-up run of reports, whose frames are those of videos."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from bench.records import MissingVideo, RunRecord, VideoCounts
from tests.support.reports import TEST, Answers

EACH, STEP = 4, 7
"""Frames of a video, and how far apart their numbers are."""


def of_videos(
    run: RunRecord, answers: Answers, name: str = "{label}/person {number:02}.mp4"
) -> tuple[RunRecord, Answers]:
    """Test frames in videos of one class, of which the baseline is wrong about two; q8's scores moved far."""
    labels = answers.test.labels
    videos, numbers = np.empty(TEST, dtype=object), np.zeros(TEST, np.int64)
    first = np.zeros(TEST, dtype=bool)
    for label in (0, 1):
        for index, row in enumerate(np.flatnonzero(labels == label)):
            videos[row] = name.format(label=("real", "fake")[label], number=index // EACH)
            numbers[row] = index % EACH * STEP
            first[row] = index < EACH
    test = dataclasses.replace(
        answers.test,
        videos=pd.Series([str(video) for video in videos]),
        frame_indices=pd.Series(numbers, dtype="Int64"),
    )
    fake, real = (len(set(videos[labels == label])) for label in (1, 0))
    missing = MissingVideo("real/empty.mp4", 0, None, "no face")
    run = dataclasses.replace(run, videos={"test": VideoCounts(fake + real, fake, real, (missing,))})
    answers = dataclasses.replace(answers, test=test)
    before = answers.predictions["baseline"].test
    moved = np.clip(before + np.random.default_rng(1).normal(0, 0.3, TEST), 0, 1)
    answers = answers.answering("q8", dict(enumerate(np.where(first, before, moved).tolist())))
    return run, answers.answering("baseline", dict(enumerate(np.where(first, 1 - before, before).tolist())))
