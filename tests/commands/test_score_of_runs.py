"""`bench score` on the predictions of a run gives what the run gave, number for number."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.support.command_line import bench

OF_SCORES = (
    "auc", "average_precision", "eer", "brier", "tpr_at_fpr_1", "tpr_at_fpr_5", "ece", "auc_standard_error", "auc_ci",
    "threshold", "confusion", "precision", "recall", "specificity", "f1", "accuracy", "balanced_accuracy", "mcc",
    "precision_ci", "recall_ci", "specificity_ci", "thresholds", "slices", "auc_delta", "auc_delta_ci", "auc_delta_p",
    "auc_delta_p_holm", "auc_interval", "verdict", "small_but_real", "further_frames", "all_equal", "shift", "flips",
    "worst_slice", "video", "resolution",
)  # fmt: skip
"""The keys of scores.json that are made of predictions alone."""


def numbers(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(f"reports/{name}/scores.json").read_text(encoding="utf-8"))
    return content


def same_as_the_run(name: str) -> None:
    of_run, of_files = numbers("first"), numbers(name)
    assert list(of_files["variants"]) == list(of_run["variants"])
    for variant, scored in of_run["variants"].items():
        for key in OF_SCORES:
            assert of_files["variants"][variant][key] == scored[key], (variant, key)
    for split, frames in of_run["frames"].items():
        if split in of_files["frames"]:
            assert of_files["frames"][split] | {"digest": frames["digest"]} == frames


def test_predictions_of_a_run_are_judged_as_the_run_judged_them(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With copies, attributes and sources, and scores that are as good as certain."""
    monkeypatch.chdir(workplace)
    for file in sorted(Path("faces/test/fake").glob("*.png")):
        folder = file.parent / ("swap" if int(file.stem) % 2 else "blend")
        folder.mkdir(exist_ok=True)
        file.rename(folder / file.name)
    for number in range(5):
        shutil.copy("faces/test/real/003.png", f"faces/test/real/003 ({number}).png")
    code, output = bench("run", "--only", "q16", "--no-timing")
    assert code == 0, output
    files = [f"{name}=results/first/{name}/predictions.parquet" for name in ("baseline", "q16")]
    code, output = bench("score", "--name", "same", *files)
    assert code == 0, output
    assert numbers("first")["frames"]["test"]["copies"] == 5
    assert numbers("first")["variants"]["q16"]["slices"]
    same_as_the_run("same")
    ranked_by_logits()
    elsewhere(files)


def ranked_by_logits() -> None:
    """A detector that is ever so sure: P(fake) ties, and its logits do not."""
    for name in ("baseline", "q16"):
        table = pd.read_parquet(f"results/first/{name}/predictions.parquet")
        sure = 400 + 100 * (table["logit_fake"] - table["logit_real"]).astype(np.float64)
        table = table.assign(logit_real=np.float32(0), logit_fake=sure.astype(np.float32), p_fake=1.0)
        table.to_parquet(f"{name}.parquet", index=False)
        table.drop(columns="p_fake").to_parquet(f"{name}-logits.parquet", index=False)
    assert bench("score", "--name", "sure", "baseline.parquet", "q16.parquet")[0] == 0
    alone = ("baseline=baseline-logits.parquet", "q16=q16-logits.parquet")
    assert bench("score", "--name", "alone", *alone)[0] == 0
    for key in ("auc", "auc_delta", "auc_delta_ci", "verdict"):
        assert numbers("sure")["variants"]["q16"][key] == numbers("alone")["variants"]["q16"][key]
    assert numbers("sure")["variants"]["q16"]["resolution"] is None
    assert numbers("sure")["variants"]["baseline"]["auc"] == numbers("first")["variants"]["baseline"]["auc"]


def elsewhere(files: list[str]) -> None:
    """Logits of other scores are not taken for theirs; predictions of other frames are told."""
    table = pd.read_parquet("results/first/q16/predictions.parquet")
    table.assign(p_fake=table["p_fake"].to_numpy()[::-1]).to_parquet("other.parquet")
    code, output = bench("score", "--name", "other", "baseline.parquet", "other.parquet")
    assert code == 0, output
    assert "'logit_real' and 'logit_fake' do not give 'p_fake', by which frames are ranked" in " ".join(output.split())
    for file in files:
        path = file.split("=")[1]
        pd.read_parquet(path).iloc[:-1].to_parquet(path)
    code, output = bench("score", "--name", "less", *files)
    assert code == 0, output
    assert "has other frames than results/first/run.json" in " ".join(output.split())
