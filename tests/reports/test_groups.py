"""The gap between groups in a report: what was left out is said of what is judged."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

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
