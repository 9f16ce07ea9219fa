"""Frames that most variants lose, and a threshold by a rule, in report.md, report.html and beside them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bench
from bench.records import ThresholdRule
from bench.reports import read_scores, summary
from bench.results import score
from tests.support.reports import FRAMES, made_up, rendered

LOST = (0, 1, 2, 3)


def test_frames_that_most_variants_lose_are_shown_with_everyones_pictures(tmp_path: Path) -> None:
    run, answers = made_up(FRAMES)
    right = answers.predictions["baseline"].test
    for name, rows in {"q16": LOST, "q8": LOST[:3], "q16-p50": LOST[:2]}.items():
        answers = answers.answering(name, dict(enumerate(right.tolist())))
        answers = answers.answering(name, {row: 1 - float(right[row]) for row in rows})
    results, report = rendered(tmp_path, run, answers)
    scores, ledger = read_scores(report).exemplars, pd.read_csv(report / "exemplars.csv")
    assert scores is not None
    assert (scores.variants, scores.needed, scores.lost) == (("q16", "q8", "q16-p50"), 2, 3)
    assert set(ledger["frame"]) == {FRAMES[row] for row in LOST[:3]}
    assert ledger["lost_by"].tolist() == [3, 3, 2]
    assert ledger["variants"].tolist()[-1] == "q16;q8"
    text, page = ((report / f"report.{kind}").read_text(encoding="utf-8") for kind in ("md", "html"))
    assert "**3 test frames (3.8 %)** that the baseline has right at 0.5" in text
    assert text.count("### Frames that most variants lose") == 2  # what is said of them, and their pictures
    assert page.count('<div class="strip">') == 2  # as many as a gallery has
    assert page.count(", wrong</span>") == 2 * 3
    frame = FRAMES[LOST[0]]
    assert all(list(results.glob(f"{name}/result/*/heatmap/{frame}.jpg")) for name in ("baseline", *scores.variants))


def test_nothing_is_said_where_no_more_are_lost_than_by_chance(tmp_path: Path) -> None:
    _, report = rendered(tmp_path, *made_up(FRAMES))
    assert read_scores(report).exemplars is None  # q16 decides as the baseline, and two others are left
    assert not (report / "exemplars.csv").exists()
    assert "most variants lose" not in (report / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("rule", "parts"),
    [
        (ThresholdRule("fpr", 0.1), ("found by `fpr: 0.1` on the baseline's validation frames", "on the test frames")),
        (ThresholdRule("precision"), ("`best: precision` looks at one kind of error alone", "Give a limit")),
    ],
)
def test_the_report_says_how_the_threshold_was_found(
    tmp_path: Path, rule: ThresholdRule, parts: tuple[str, ...]
) -> None:
    run, answers = made_up(FRAMES)
    asked = dataclasses.replace(run, threshold_rule=rule)
    run = score.with_threshold(asked, answers.validation, answers.predictions["baseline"])
    _, report = rendered(tmp_path, run, answers)
    text = " ".join((report / "report.md").read_text(encoding="utf-8").split())
    assert all(part in text for part in parts)
    assert f"**The threshold {run.threshold}** was found by" in text
    scores = read_scores(report)
    assert scores.threshold == run.threshold == scores.variants["q8"].threshold
    of_rule = "fpr 0.1" if rule.limit else "best precision"
    assert f"threshold: {run.threshold}, by {of_rule} on validation frames" in " ".join(summary(run, scores).split())


def test_what_the_rule_promised_and_test_frames_do_not_keep_is_a_warning() -> None:
    rng = np.random.default_rng(0)
    labels, split = np.tile([0, 1], 200), np.repeat(["validation", "test"], 200)
    scores = np.clip(0.5 * labels + rng.uniform(0, 0.45, 400) + 0.3 * (split == "test"), 0, 1)
    judged = bench.score(
        labels, {"baseline": scores, "q8": scores}, splits=split, threshold={"fpr": 0.05}
    )  # real test frames score higher than those that the threshold was found on
    assert any("above the 0.05 that the threshold was set to" in warning for warning in judged.warnings)
    saturated = np.where((labels == 0) & (np.arange(400) % 8 == 0), 1.0, scores)
    judged = bench.score(labels, {"baseline": saturated, "q8": saturated}, splits=split, threshold={"fpr": 0.05})
    assert any("No threshold keeps fpr 0.05" in warning for warning in judged.warnings)
    with pytest.raises(bench.UserError, match="unknown 'far'"):
        bench.score(labels, {"baseline": scores, "q8": scores}, splits=split, threshold={"far": 0.05})
    with pytest.raises(bench.UserError, match="there are none"):
        bench.score(labels, {"baseline": scores, "q8": scores}, threshold={"best": "f1"})
