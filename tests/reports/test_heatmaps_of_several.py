"""Where heatmaps lie, in reports of several detectors and frame sets: a table for each, as in the report of each."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

from bench.records import Alone, OnSets, SideBySide
from bench.reports.content import localisation, regions
from bench.reports.content.heatmaps_of_several import OUTCOME, heatmaps
from tests.reports.test_reports import well_formed
from tests.support import frame_sets, side_by_side
from tests.support.reports import masked, with_faces

GOLDEN = Path(__file__).parent / "golden"


def mapped(alone: Alone, seed: int) -> Alone:
    """A detector whose maps lean to one side by what it answers, with masks and faces of its test frames."""
    rng = np.random.default_rng(seed)
    predictions = {}
    for name, answered in alone.evaluation.predictions.items():
        cam = rng.normal(0, 1, (len(answered.test), 4, 4)).astype(np.float32)
        cam[..., :2] += (answered.test - 0.5)[:, None, None]
        predictions[name] = dataclasses.replace(answered, cam=cam)
    evaluation = dataclasses.replace(alone.evaluation, predictions=predictions)
    return Alone(alone.run, with_faces(alone.run, masked(alone.run, evaluation)))


def of_detectors() -> SideBySide:
    plain = side_by_side.three()
    detectors = {name: mapped(each, seed) for seed, (name, each) in enumerate(plain.detectors.items())}
    return dataclasses.replace(plain, detectors=detectors)


def of_sets() -> OnSets:
    plain = frame_sets.three()
    return dataclasses.replace(plain, sets={name: mapped(each, 9) for name, each in plain.sets.items()})


def lines_of_heatmaps(text: str) -> str:
    """From the first title of heatmaps to the last table of them."""
    start = text.index("## Does it still look at the forgery?")
    end = text.find("\nThe numbers for programs", start)
    return text[start : text.find("\n![", start) if 0 < text.find("\n![", start) < end else end]


@pytest.mark.parametrize("kind", ["side_by_side", "frame_sets"])
def test_golden(kind: str, tmp_path: Path) -> None:
    """`RENEW_GOLDEN=1` writes it anew."""
    if kind == "side_by_side":
        text = (side_by_side.rendered(of_detectors(), tmp_path) / "report.md").read_text(encoding="utf-8")
    else:
        text = (frame_sets.rendered(of_sets(), tmp_path) / "report.md").read_text(encoding="utf-8")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert well_formed(text)
    assert page.count("Does it still look at the forgery?") > 3
    golden = GOLDEN / kind / "heatmaps.md"
    if os.environ.get("RENEW_GOLDEN"):
        golden.write_text(lines_of_heatmaps(text), encoding="utf-8")
    assert lines_of_heatmaps(text) == golden.read_text(encoding="utf-8")


def test_the_numbers_are_those_of_each_report() -> None:
    together = of_detectors()
    beside_masks, on_face = heatmaps(together.detectors)
    assert [name for name, _ in beside_masks.tables] == [name for name, _ in on_face.tables] == list(together.detectors)
    for (name, of_masks), (_, of_parts) in zip(beside_masks.tables, on_face.tables, strict=True):
        part = together.detectors[name]
        alone = localisation.localised(part.evaluation), regions.of_outcome(part.run, part.evaluation, OUTCOME)
        for shown, expected in zip((of_masks, of_parts), alone, strict=True):
            assert expected is not None
            assert shown.columns == expected.columns
            assert [row[1:] for row in shown.rows] == [row[1:] for row in expected.rows]


def test_nothing_is_said_where_nothing_is_known() -> None:
    assert heatmaps(side_by_side.three().detectors) == []
