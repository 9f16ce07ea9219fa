"""Verdicts follow from scores.json alone, by the rules of docs/verdicts.md: a reader of the file can check them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from tests.support import ROOT
from tests.support.command_line import bench
from tests.support.published_rules import check_verdicts, parts

GOLDEN = ROOT / "tests" / "reports" / "golden"
STORED = {
    "sample report": ROOT / "docs" / "sample-report" / "demo",
    "one detector": GOLDEN,
    "detectors": GOLDEN / "side_by_side",
    "frame sets": GOLDEN / "frame_sets",
}
Scores = NDArray[np.float64]


def content_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    return content


@pytest.mark.parametrize("folder", STORED.values(), ids=STORED)
def test_verdicts_follow_from_the_file(folder: Path) -> None:
    assert check_verdicts(content_of(folder)) > 2


CHANGES: dict[str, Callable[[Any], object]] = {
    "verdict": lambda each: each.update(verdict="degraded"),
    "interval": lambda each: each.update(auc_delta_ci=[-0.02, 0.02]),
    "margin passed by what is hidden": lambda each: each.update(auc_delta_unresolved=-1.0),
    "difference": lambda each: each.update(auc_delta=each["auc_delta"] / 2),
    "Holm": lambda each: each.update(auc_delta_p_holm=0.5 * each["auc_delta_p_holm"]),
    "flips": lambda each: each["flips"].update(worse=each["flips"]["worse"] + 1),
    "p of flips": lambda each: each["flips"].update(p=0.04),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_number_that_leads_elsewhere_is_noticed(change: Callable[[Any], object]) -> None:
    content = copy.deepcopy(content_of(STORED["sample report"]))
    change(content["variants"]["q8"])
    with pytest.raises(AssertionError):
        check_verdicts(content)


def drawn(seed: int, frames: int, sources: int) -> tuple[NDArray[np.int64], NDArray[np.int64], dict[str, Scores]]:
    """Labels, sources and P(fake) of a baseline and variants that move little, far, up and into one class."""
    rng = np.random.default_rng(seed)
    source = np.arange(frames) * sources // frames
    labels = source % 2
    logits = 3 * labels - 1.5 + 0.6 * rng.normal(size=sources)[source] + rng.normal(size=frames)
    noise = rng.normal(size=frames)
    moved = {
        "baseline": logits,
        "close": logits + 0.002 * noise,
        "far": logits + 0.5 * noise,
        "lost": 0.3 * logits + noise,
        "gained": logits + labels,
        "shifted": logits - 0.7,
        "equal": np.zeros(frames),
    }
    return labels, source, {name: 1 / (1 + np.exp(-each)) for name, each in moved.items()}


COARSER: dict[str, Callable[[Scores], Scores]] = {
    "whole": lambda p: p,
    "two decimals": lambda p: p.round(2),
    "one decimal": lambda p: p.round(1),
    "decisions": np.round,
    "saturated": lambda p: np.where(p > 0.9, 1, np.where(p < 0.1, 0, p)),
}


@pytest.mark.parametrize("judge", ["video", pytest.param("frame", marks=pytest.mark.slow)])
@pytest.mark.parametrize("coarser", COARSER.values(), ids=COARSER)
def test_verdicts_on_scores_from_elsewhere_follow_from_the_file(
    coarser: Callable[[Scores], Scores], judge: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole and coarse scores, by frame and by video, with sources: whatever the verdict, its numbers lead there."""
    monkeypatch.chdir(tmp_path)
    labels, source, scores = drawn(len(judge), 360, 90)
    for name, p_fake in scores.items():
        columns = {"frame": [f"{row}.png" for row in range(len(labels))], "label": labels, "p_fake": coarser(p_fake)}
        columns |= {"video": source, "frame_index": np.arange(len(labels)), "source": source // 2 * 2 + source % 2}
        pd.DataFrame(columns).to_csv(f"{name}.csv", index=False)
    code, output = bench("score", "--name", "s", "--judge", judge, "--margin", "0.02", *(f"{x}.csv" for x in scores))
    assert code in (0, 1), output
    content = content_of(Path("reports/s"))
    assert content["judge"] == judge
    assert [title for title, *_ in parts(content)] == ["frames", "videos"]
    assert check_verdicts(content) == 2 * (len(scores) - 1)
    key = "video" if judge == "video" else None
    verdicts = {(each[key] if key else each)["verdict"] for each in content["variants"].values()}
    assert len(verdicts) >= 3, verdicts
