"""Searches that are judged by video, and of a detector of which there is an ONNX file alone."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from bench.commands.plan import forecast
from bench.commands.plan.text import describe
from bench.experiment import read
from bench.variants.steps import quantize
from tests.pipeline.test_imports import ONNX_DETECTOR, detector_of, sharpen, write_experiment
from tests.pipeline.test_judging import scores, write_manifest
from tests.pipeline.test_search import FASTEST, LOSES_ANYTHING, few_chains, run, set_variants, trail_of
from tests.support import foreign


def test_videos_are_the_unit_where_they_are_judged(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six validation frames of each class, four and two of a video."""
    few_chains(monkeypatch)
    write_manifest(workplace)
    path = set_variants(workplace, best=LOSES_ANYTHING)
    finished = run(path)
    assert not finished.failed
    trail = trail_of(workplace)
    assert (trail["unit"], trail["frames"]) == ("video", 4)
    taken = trail["candidates"][trail["chosen"]]
    assert taken["outcome"] == "keeps"
    assert scores(workplace)["variants"]["best"]["steps"] == taken["steps"]
    assert "4 validation videos" in finished.report.read_text()


@pytest.fixture
def graph(workplace: Path) -> Path:
    sharpen(workplace)
    onnx.save(foreign.network(detector_of(workplace)), workplace / "float.onnx")
    write_experiment(workplace, "\n      baseline: []\n", ONNX_DETECTOR)
    return workplace


def test_a_graph_is_searched(graph: Path) -> None:
    path = set_variants(graph, best=LOSES_ANYTHING)
    plan = describe(forecast(read(path), path))
    assert "find: smallest  of 3 chains" in plan
    finished = run(path)
    assert not finished.failed
    trail = trail_of(graph)
    sizes = [each["size_bytes"] for each in trail["candidates"]]
    assert trail["chains"] == 3
    taken = trail["candidates"][trail["chosen"]]
    assert taken["outcome"] == "keeps"
    assert taken["size_bytes"] == min(sizes) < trail["baseline_bytes"] / 2
    assert finished.run.variants[1].steps == tuple(taken["steps"])


def test_a_graph_is_timed(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantize, "TRIED", ("int8",))
    finished = run(set_variants(graph, best=FASTEST), timing="due")
    assert not finished.failed
    assert all(each["speedup"] > 0 for each in trail_of(graph)["candidates"])
