"""An ensemble in a run with all that there is: frame sets, videos, fitted weights, masks, degradations."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from bench.experiment import read
from bench.inference.serving import serve
from bench.records import silent
from bench.results import store
from tests.conftest import quick_folder, run_quickly, write_frames
from tests.support import tiny
from tests.support.command_line import bench
from tests.support.portraits import picture
from tests.support.service import application, post

EXPERIMENT = """
detectors:
  small: {architecture: tiny, weights: small.tar, preprocessing: {preset: fsbi, size: 32}}
  again: {architecture: tiny, weights: small.tar, preprocessing: {preset: imagenet, size: 48}}
  pair: {ensemble: [small, again], weights: fit, combine: logits}
datasets:
  faces: {path: faces, masks: masks}
  others: {path: others}
experiments:
  first:
    detector: pair
    frames: [faces, others]
    device: cpu
    runtime: onnxruntime
    threads: 1
    judge: video
    regions: true
    robustness: {jpeg: [30]}
    gallery: {top: 1}
    variants:
      baseline: []
      q16: [cast: fp16]
"""
SETS = ("faces", "others")
pytestmark = pytest.mark.slow


def write_set(folder: Path, seed: int) -> None:
    """Frames of two labelled splits, two of one video; of the test frames, one real and one fake are portraits."""
    rows = []
    for index, (split, count) in enumerate([("test", 12), ("validation", 8)]):
        write_frames(folder / split, count, count, seed + index)
        for number, label in enumerate(("real", "fake") if split == "test" else ()):
            Image.fromarray(picture(seed + number, 160)).save(folder / split / label / "000.png")
        for path in sorted((folder / split).glob("*/*.png")):
            label, number = path.parent.name, int(path.stem)
            rows.append([f"{split}/{label}/{path.name}", label, split, f"{split}/{label}/{number // 2}", number % 2])
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path", "label", "split", "video", "frame_index"], *rows])


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with quick_folder(tmp_path_factory, "everything") as folder:
        tiny.save_weights(folder / "small.tar")
        for seed, name in enumerate(SETS):
            write_set(folder / name, 10 * seed)
        (folder / "masks/test/fake").mkdir(parents=True)
        for number in range(1, 6):
            mask = np.zeros((40, 40), np.uint8)
            mask[8:28, 10:30] = 255
            Image.fromarray(mask).save(folder / f"masks/test/fake/{number:03d}.png")
        (folder / "experiments.yaml").write_text(EXPERIMENT, encoding="utf-8")
        code, output = bench("run", "--no-timing")
        assert code == 0, output
    return folder


def table(folder: Path, *below: str) -> pd.DataFrame:
    return pd.read_parquet(Path(folder, "results/first", *below, "predictions.parquet"))


def difference(rows: pd.DataFrame) -> NDArray[np.float64]:
    return (rows["logit_fake"] - rows["logit_real"]).to_numpy(np.float64)


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-x)), np.float64)


def weights_of(folder: Path, frame_set: str) -> NDArray[np.float64]:
    ensemble = store.read_run(folder / "results/first/pair" / frame_set).ensemble
    assert ensemble is not None
    return np.array([ensemble.rule.weights[name] for name in ("small", "again")])


def scores(folder: Path, *below: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(folder, "reports/first", *below, "scores.json").read_text("utf-8"))
    return content


def test_weights_are_those_with_the_least_log_loss_on_the_first_sets_validation_frames(ran: Path) -> None:
    rows = [table(ran, name, "faces", "baseline") for name in ("small", "again")]
    rows = [each[each["split"] == "validation"] for each in rows]
    labels, given = rows[0]["label"].to_numpy(), np.array([difference(each) for each in rows])

    def loss(share: float) -> float:
        p_fake = np.clip(sigmoid(share * given[0] + (1 - share) * given[1]), 1e-12, 1 - 1e-12)
        return float(-np.mean(labels * np.log(p_fake) + (1 - labels) * np.log(1 - p_fake)))

    weights = weights_of(ran, "faces")
    grid = np.linspace(0, 1, 401)
    assert loss(weights[0] / weights.sum()) <= min(map(loss, grid)) + 1e-4
    assert weights_of(ran, "others") == pytest.approx(weights)
    fitted = scores(ran, "pair", "faces")["ensemble"]["fitted"]
    assert fitted["frames"] == len(labels)


@pytest.mark.parametrize("frame_set", SETS)
@pytest.mark.parametrize("below", ["", "jpeg30"])
def test_each_set_and_each_degradation_is_joined_by_these_weights(ran: Path, frame_set: str, below: str) -> None:
    degraded = [path.parent for path in (ran / "results/first/pair" / frame_set / "q16").rglob("predictions.parquet")]
    assert len(degraded) == 2, degraded
    (folder,) = [path for path in degraded if (path.name == "q16") == (below == "")]
    inside = folder.relative_to(ran / "results/first/pair" / frame_set)
    members = [difference(table(ran, name, frame_set, str(inside))) for name in ("small", "again")]
    joined = np.average(members, axis=0, weights=weights_of(ran, frame_set))
    assert table(ran, "pair", frame_set, str(inside))["p_fake"].to_numpy() == pytest.approx(sigmoid(joined), abs=1e-6)


def test_it_is_judged_by_video_on_each_set_and_together(ran: Path) -> None:
    from sklearn.metrics import roc_auc_score

    for frame_set in SETS:
        content = scores(ran, "pair", frame_set)
        assert content["judge"] == "video"
        rows = table(ran, "pair", frame_set, "q16")
        rows = rows[rows["split"] == "test"]
        video = rows["frame"].str.rpartition("/")[0] + (rows["frame"].str[-7:-4].astype(int) // 2).astype(str)
        by_video = rows.groupby(video).agg({"label": "first", "p_fake": "mean"})
        area = roc_auc_score(by_video["label"], by_video["p_fake"])
        assert content["variants"]["q16"]["video"]["auc"] == pytest.approx(area)
        assert content["ensemble"]["unit"] == "video"
        assert content["variants"]["q16"]["robustness"]
    assert "pair/q16" in json.dumps(scores(ran))


def test_masks_and_parts_of_the_face_are_in_the_members_reports_and_the_ensembles_says_so(ran: Path) -> None:
    text = " ".join((ran / "reports/first/pair/faces/report.md").read_text("utf-8").split())
    assert (
        "Masks of forgeries and parts of the face are held beside the maps of members, in the report of each." in text
    )
    assert scores(ran, "pair", "faces")["masks"] is None
    assert scores(ran, "small", "faces")["masks"] is not None
    assert scores(ran, "small", "faces")["faces"] is not None


def test_it_is_served_with_the_fitted_weights_and_the_verdict_over_all_sets(
    ran: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_quickly(monkeypatch)
    settings = read(ran / "experiments.yaml").experiments["first"]
    (whole,) = serve(ran, "first", settings, ["q16"], silent, "pair")
    weights = weights_of(ran, "faces")
    shares = [whole.weights()[name] for name in ("small", "again")]
    assert shares == pytest.approx((weights / weights.sum()).tolist())
    name = "fake/003.png"
    rows = table(ran, "pair", "faces", "q16")
    expected = rows[(rows["split"] == "test") & rows["frame"].str.endswith(name)]["p_fake"].iloc[0]
    data = (ran / "faces/test" / name).read_bytes()
    answer = post(application((whole,)), "/api/detect/image", files={"file": ("x.png", data)}).json()
    assert answer["fake_probability"] == pytest.approx(expected, abs=1e-5)
    assert "AUC" in answer["shipped_with"]
