"""Made-up runs on three frame sets: what keeps its AUC at home, what loses it abroad, what cannot be told."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from bench.records import Alone, Constraints, LabelledFrames, OnSets, Predictions, SideBySideOnSets, SplitSummary
from bench.reports import plain_warnings, render_on_sets, render_side_by_side_on_sets
from bench.reports.scores_json import scores
from bench.results.score import evaluate, on_sets, p_fake, side_by_side_on_sets
from tests.support.side_by_side import SPECS, Spec, alone

COUNTS = {"celeb": 900, "ffpp_c40": 600, "mine": 240}
HARD = {"celeb": 0.7, "ffpp_c40": 1.0, "mine": 0.8}
"""How hard the frames of each set are for every network."""

LOST: dict[tuple[str, str], float] = {("q8", "ffpp_c40"): 0.55, ("q16", "mine"): 0.02}
"""How much noise a variant adds on a set, beside what it has everywhere."""


def on_set(
    detector: str, spec: Spec, frame_set: str, lost: Mapping[tuple[str, str], float], choose: Constraints | None
) -> Alone:
    """A detector on one of the sets, with its scores."""
    of_all, count = alone(detector, spec, choose=choose).run, COUNTS[frame_set]
    labels = (np.arange(count) % 2).astype(np.int8)
    digest = str(list(COUNTS).index(frame_set)) * 64
    summary = SplitSummary(f"{frame_set}/test", count, count // 2, count // 2, 0, digest)
    run = dataclasses.replace(of_all, frame_set=frame_set, frames={"test": summary})
    frames = pd.Series([f"{index:04}.png" for index in range(count)], dtype=object)
    test = LabelledFrames(frames, labels, pd.Series([None] * count, dtype=object), pd.DataFrame(index=frames.index))
    rng = np.random.default_rng(len(frame_set))
    hard = rng.normal(0, HARD[frame_set], count)
    answers = {}
    for number, (name, (*_, noise)) in enumerate(spec.items()):
        of_variant = np.random.default_rng(round(1000 * noise) + number).normal(0, 1, count)
        added = lost.get((name, frame_set), 0.0) + 0.02 * number + 0.25 * (noise - 1)
        margin = np.array([-1.0, 1.0])[labels] + hard + added * of_variant
        scored = p_fake(-margin.astype(np.float32), margin.astype(np.float32))
        answers[name] = Predictions(scored, scored[:0], None, 2 * margin)
    return Alone(run, evaluate(run, test, None, answers))


def three(
    *,
    lost: Mapping[tuple[str, str], float] = LOST,
    choose: Constraints | None = None,
    pool: bool = False,
    built_with: str = "celeb",
) -> OnSets:
    """One detector on three sets."""
    return on_sets({name: on_set("b5", SPECS["b5"], name, lost, choose) for name in COUNTS}, built_with, pool=pool)


def detectors_on_three(choose: Constraints | None = None) -> SideBySideOnSets:
    """Three detectors on three sets."""
    sets = {
        name: {detector: on_set(detector, spec, name, LOST, choose) for detector, spec in SPECS.items()}
        for name in COUNTS
    }
    return side_by_side_on_sets(sets, "celeb")


def _warnings(alone: Alone) -> list[str]:
    return plain_warnings(alone.run, scores(alone.run, alone.evaluation))


def rendered(across: OnSets, report: Path) -> Path:
    """The report of several sets in a folder."""
    warnings = {name: _warnings(each) for name, each in across.sets.items()}
    render_on_sets(across, warnings, {name: Path(name) for name in across.sets}, report)
    return report


def rendered_detectors(together: SideBySideOnSets, report: Path) -> Path:
    """The report of several detectors on several sets in a folder."""
    warnings = {
        f"{detector} on {name}": _warnings(each)
        for detector, across in together.detectors.items()
        for name, each in across.sets.items()
    }
    below = {name: {detector: Path(detector, name) for detector in together.detectors} for name in together.compared}
    render_side_by_side_on_sets(together, warnings, below, report)
    return report
