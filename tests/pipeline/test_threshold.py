"""A threshold by a rule through the commands: found once, on the first frame set, and found again when it is due."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.reports.scores_json import read_scores
from bench.results import store
from tests.conftest import quick_folder, run_quickly, write_frames
from tests.support import tiny
from tests.support.command_line import bench

EXPERIMENT = """
detectors:
  tiny: {architecture: tiny, weights: tiny.tar, classes: [fake, real], preprocessing: {preset: fsbi, size: 32}}
datasets:
  near: {path: near}
  far: {path: far}
experiments:
  first:
    detector: tiny
    frames: [near, far]
    device: cpu
    threads: 1
    threshold: {fpr: 0.3}
    timing: {seconds: 0.02}
    gallery: {top: 2}
    variants:
      baseline: []
      q16: [cast: fp16]
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Run once; the set `far` has no validation frames."""
    with quick_folder(tmp_path_factory, "threshold") as folder:
        tiny.save_weights(folder / "tiny.tar")
        for seed, split in enumerate(("test", "validation")):
            write_frames(folder / "near" / split, 10, 12, seed)
        write_frames(folder / "far" / "test", 9, 9, 7)
        (folder / "experiments.yaml").write_text(EXPERIMENT, encoding="utf-8")
        code, output = bench("run")
        assert code == 0, output
        yield folder


@pytest.fixture
def folder(ran: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    run_quickly(monkeypatch)
    monkeypatch.chdir(ran)
    return ran


def validation(folder: Path) -> tuple[Any, Any]:
    """Labels and scores of the baseline's validation frames of the first set, as they are stored."""
    table = pd.read_parquet(folder / "results/first/near/baseline/predictions.parquet")
    rows = table[table["split"] == "validation"]
    return rows["label"].to_numpy(), rows["p_fake"].to_numpy()


def test_it_is_found_on_the_first_set_and_used_on_all(folder: Path) -> None:
    labels, p_fake = validation(folder)
    near, far = (read_scores(folder / "reports/first" / name) for name in ("near", "far"))
    alarms = int((p_fake[labels == 0] >= near.threshold).sum())
    possible = {int((p_fake[labels == 0] >= at).sum()) for at in p_fake[labels == 0]}
    assert alarms == max(count for count in possible if count <= 3)
    assert near.threshold == far.threshold == near.variants["q16"].threshold == far.variants["q16"].threshold
    for scores in (near, far):
        assert scores.threshold_rule is not None
        assert scores.threshold_rule.validation is not None
        assert scores.threshold_rule.test is not None
        assert scores.threshold_rule.frame_set == "near"
        assert scores.threshold_rule.validation.fpr == pytest.approx(alarms / 10)
        confusion = scores.variants["baseline"].confusion
        assert confusion.fp is not None
        assert scores.threshold_rule.test.fpr == pytest.approx(confusion.fp / scores.threshold_rule.test.real)
    together = json.loads((folder / "reports/first/scores.json").read_text(encoding="utf-8"))
    assert together["threshold_rule"] == together["sets"]["near"]["threshold_rule"]
    assert together["sets"]["far"]["threshold_rule"]["test"]["real"] == 9
    assert "found by `fpr: 0.3`" in (folder / "reports/first/far/report.md").read_text(encoding="utf-8")


def test_a_run_that_is_whole_reads_no_predictions(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (folder / "results/first/near/run.json").read_bytes()

    def refuse(*arguments: object) -> None:
        raise AssertionError(arguments)

    monkeypatch.setattr(store, "read_predictions", refuse)
    code, output = bench("run")
    assert code == 0, output
    assert (folder / "results/first/near/run.json").read_bytes() == before
    code, output = bench("plan")
    assert (code, "threshold" in output) == (0, False), output


def test_another_rule_is_found_anew_and_the_plan_says_so(folder: Path) -> None:
    path = folder / "experiments.yaml"
    path.write_text(EXPERIMENT.replace("{fpr: 0.3}", "{best: youden}"), encoding="utf-8")
    try:
        code, output = bench("plan")
        assert code == 0, output
        assert "threshold fpr: 0.3 → best: youden" in " ".join(output.split())
        code, output = bench("report")
        assert code == 0, output
        labels, p_fake = validation(folder)
        scores = read_scores(folder / "reports/first/far")
        assert scores.threshold_rule is not None
        assert (scores.threshold_rule.criterion, scores.threshold_rule.limit) == ("youden", None)

        def balanced(at: float) -> float:
            return float((p_fake[labels == 1] >= at).mean() - (p_fake[labels == 0] >= at).mean())

        assert balanced(scores.threshold) == pytest.approx(max(balanced(at) for at in p_fake))
    finally:
        path.write_text(EXPERIMENT, encoding="utf-8")
        assert bench("report")[0] == 0


def test_accepted_scores_are_judged_at_it(folder: Path) -> None:
    code, output = bench("accept", "--anyway")
    assert code == 0, output
    accepted = json.loads((folder / "accepted.json").read_text(encoding="utf-8"))
    assert accepted["threshold"] == read_scores(folder / "reports/first/near").threshold
    code, output = bench("check", "--against", "accepted.json")
    assert "The threshold was" not in output, output
