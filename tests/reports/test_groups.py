"""The gap between groups in a report: what was left out is said of what is judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

import bench
from bench.records import Unit


@pytest.mark.parametrize("unit", get_args(Unit))
def test_groups_that_are_too_small_are_counted_in_what_is_judged(unit: Unit, tmp_path: Path) -> None:
    rng, rows = np.random.default_rng(0), np.arange(24)
    labels, scores = rows // 2 % 2, rng.random(24)
    tones = np.where(rows < 12, "dark", "light")
    videos = [f"v{row // 2}" for row in rows]
    both = {"baseline": scores, "q8": scores[::-1]}
    bench.score(
        labels, both, videos=videos, attributes={"tone": tones}, groups="tone", judge=unit, to=tmp_path / "report"
    )  # fmt: skip
    text = (tmp_path / "report/report.md").read_text(encoding="utf-8")
    assert f"fewer than two groups have enough {unit}s." in text
    count = 6 if unit == "frame" else 3
    assert f"too few {unit}s or sources: dark ({count} real {unit}s), light ({count} real {unit}s)." in text


def test_a_column_that_no_video_agrees_on_has_no_empty_table(tmp_path: Path) -> None:
    rng, rows = np.random.default_rng(0), np.arange(40)
    scores, tones = rng.random(40), np.where(rows % 2 == 0, "dark", "light")
    bench.score(
        rows // 2 % 2, {"baseline": scores, "q8": scores[::-1]}, videos=[f"v{row // 2}" for row in rows],
        attributes={"tone": tones}, groups="tone", to=tmp_path / "report",
    )  # fmt: skip
    text = (tmp_path / "report/report.md").read_text(encoding="utf-8")
    assert "There are no groups of `tone`: no test video has the same one on all its frames." in text
    assert "|  |" not in text
    assert "Rates of each group" not in (tmp_path / "report/report.html").read_text(encoding="utf-8")


def report_of(sources: list[str], report: Path) -> tuple[str, list[dict[str, Any]]]:
    """What is written and stored of two tones with 240 frames each; what is of one source moved together."""
    rng, rows = np.random.default_rng(0), np.arange(480)
    labels, tones = rows % 2, np.where(rows < 240, "dark", "light")
    scores = np.clip(0.5 + (2 * labels - 1) * 0.15 + rng.normal(0, 0.15, 480), 0.01, 0.99)
    numbers = np.unique(sources, return_inverse=True)[1]
    moved = np.clip(scores + rng.normal(0, 0.1, 480)[numbers], 0.01, 0.99)
    both = {"baseline": scores, "q8": moved}
    bench.score(labels, both, sources=sources, attributes={"tone": tones}, groups="tone", to=report)
    stored = json.loads((report / "scores.json").read_text(encoding="utf-8"))
    return (report / "report.md").read_text(encoding="utf-8"), stored["variants"]["q8"]["group_gaps"]


def test_few_sources_are_named_as_what_makes_intervals_wide(tmp_path: Path) -> None:
    few = [f"d{row // 40}" if row < 240 else f"l{row // 10}" for row in range(480)]
    text, gaps = report_of(few, tmp_path / "few")
    assert "intervals are wide because frames of a source change together: the fewest are the 6 sources of dark" in text
    assert "Further sources of the groups would narrow them" in text
    assert [(group["value"], group["sources"]) for group in gaps[0]["groups"]] == [("dark", 6), ("light", 24)]
    text, gaps = report_of([f"s{row}" for row in range(480)], tmp_path / "each")
    assert "change together" not in text
    assert {group["sources"] for gap in gaps for group in gap["groups"]} == {None}
