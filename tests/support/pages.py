"""Hostile names and long runs, for the page."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from bench.records import Evaluation, Predictions, RunRecord
from tests.support.reports import FRAMES, NASTY, Answers, judged, labelled, made_up

HOSTILE = [
    "<script>alert(1)</script>", "](javascript:alert(1))", "\"quoted\" 'twice'", "`back` ``ticks``", "pi|pe",
    "new\nline", "\u202egnp.exe", "</script><img src=x onerror=alert(1)>", "{{ 7 * 7 }}", "&amp;<b>", "\u2028x\u2029",
    NASTY,
]  # fmt: skip


def many(count: int) -> tuple[RunRecord, Evaluation]:
    """Four variants that answered alike but not the same on so many frames."""
    run, answers = made_up(FRAMES)
    rng = np.random.default_rng(0)
    labels = (np.arange(count) % 2).astype(np.int8)
    test = labelled([f"{index}.png" for index in range(count)], labels)
    test = dataclasses.replace(test, attributes=pd.DataFrame(index=test.frames.index))
    predictions = {
        name: Predictions(1 / (1 + np.exp(-rng.normal(2.0 * labels - 1, 1))), None, None)
        for name in answers.predictions
    }
    return run, judged(run, Answers(test, None, predictions))
