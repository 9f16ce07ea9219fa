"""Whole runs on a detector without a class-activation map, and on one without successive parts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
import torch

import bench as library
from bench.artifacts import safetensors
from bench.detectors import families
from bench.detectors.families import efficientnet
from bench.results import store
from bench.variants import cache
from tests.conftest import run_quickly, write_frames
from tests.support import other_heads, tiny
from tests.support.command_line import bench

pytestmark = pytest.mark.slow

FAMILIES = (other_heads.no_map, other_heads.two_branches, tiny, efficientnet)
VARIANTS = {
    "no_map": {
        "baseline": "[]",
        "q16": "[cast: fp16]",
        "q8": "[quantize: int8]",
        "q32-p50": "[prune: 0.5, recover: {steps: 2, learning_rate: 0.00001}]",
        "q8-p50": "[prune: 0.5, quantize: int8]",
    },
    "two_branches": {
        "baseline": "[]",
        "q16": "[cast: bf16]",
        "q8": "[quantize: int8]",
        "sparse": "[prune: {amount: 0.3, structure: unstructured}, recover: {steps: 2, learning_rate: 0.00001}]",
    },
}


def write_experiment(folder: Path, architecture: str, variants: dict[str, str]) -> None:
    """An experiments.yaml with these variants of a detector of this architecture."""
    lines = "\n".join(f"      {name}: {chain}" for name, chain in variants.items())
    (folder / "experiments.yaml").write_text(
        f"""
detectors:
  mine: {{architecture: {architecture}, weights: weights.pth, preprocessing: {{preset: sbi, size: 32}}}}
datasets:
  faces: {{path: faces}}
experiments:
  first:
    detector: mine
    frames: faces
    device: cpu
    timing: {{seconds: 0.02}}
    gallery: {{top: 2}}
    variants:
{lines}
""",
        encoding="utf-8",
    )


def write_workplace(folder: Path, architecture: str) -> None:
    family = families.find(architecture)
    torch.save(other_heads.lively(family).state_dict(), folder / "weights.pth")
    for seed, (split, real, fake) in enumerate(
        [("test", 14, 18), ("validation", 6, 6), ("calibration", 8, 8), ("train", 16, 16)]
    ):
        write_frames(folder / "faces" / split, real, fake, seed)
    write_experiment(folder, architecture, VARIANTS[architecture])


@pytest.fixture(scope="module")
def finished_once(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By architecture, a folder in which its experiment has run."""
    folders = {}
    with pytest.MonkeyPatch.context() as patch:
        run_quickly(patch, FAMILIES)
        for architecture in VARIANTS:
            folders[architecture] = folder = tmp_path_factory.mktemp(architecture)
            patch.chdir(folder)
            write_workplace(folder, architecture)
            code, output = bench("run")
            assert code == 0, output
    return folders


@pytest.fixture(autouse=True)
def _known_families(monkeypatch: pytest.MonkeyPatch) -> None:
    run_quickly(monkeypatch, FAMILIES)


@pytest.fixture
def finished(request: pytest.FixtureRequest, finished_once: dict[str, Path], tmp_path: Path, monkeypatch: Any) -> Path:
    """A copy of such a folder, to be changed."""
    shutil.copytree(finished_once[request.param], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def scores_of(folder: Path) -> dict[str, Any]:
    scores: dict[str, Any] = json.loads((folder / "reports/first/scores.json").read_text())
    return scores


@pytest.mark.parametrize("architecture", VARIANTS)
def test_every_variant_is_built_evaluated_and_timed(finished_once: dict[str, Path], architecture: str) -> None:
    folder = finished_once[architecture]
    variants = scores_of(folder)["variants"]
    assert list(variants) == list(VARIANTS[architecture])
    for name, variant in variants.items():
        assert (variant["status"], variant["reason"]) == ("ok", None), name
        table = pd.read_parquet(folder / "results/first" / name / "predictions.parquet")
        assert (table["logit_fake"] - table["logit_real"]).std() > 1e-3, "a constant network proves nothing"
        assert variant["latency_ms"]["p50"] > 0
    if architecture == "no_map":
        for key in ("parameters", "macs"):
            assert variants["q32-p50"][key] <= 0.5 * variants["baseline"][key]


@pytest.mark.parametrize("finished", ["no_map"], indirect=True)
def test_without_a_map_there_is_no_file_of_maps_and_nothing_measured_on_them(finished: Path) -> None:
    assert not list(finished.rglob("cam.npy"))
    variants = scores_of(finished)["variants"]
    assert [variant["drift"] for variant in variants.values()] == [None] * len(variants)
    assert store.read_predictions(finished / "results/first/q8", 32).cam is None
    built = cache.read(finished / "variants", variants["q8"]["id"])
    assert built.margin_bias is None
    assert [output.name for output in onnx.load(built.file).graph.output] == ["logits"]
    # Nothing is due: what is not there was not lost.
    before = {path: path.stat().st_mtime_ns for path in (finished / "results").rglob("predictions.*")}
    assert bench("run")[0] == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize("finished", ["no_map"], indirect=True)
def test_the_report_says_that_there_is_no_map_and_that_nothing_is_wrong(finished: Path) -> None:
    file = finished / "experiments.yaml"
    file.write_text(file.read_text().replace("gallery: {top: 2}", "gallery: {top: 2, occlusion: false}"))
    assert bench("report")[0] == 0
    sentence = "has no class-activation map"
    report = (finished / "reports/first/report.md").read_text()
    page = (finished / "reports/first/report.html").read_text()
    assert sentence in report
    assert sentence in page
    assert "nothing is wrong" in report
    assert "heatmap_colours.png" not in report
    assert list((finished / "results/first/baseline/result").rglob("*.jpg")), "galleries show the frames"


@pytest.mark.parametrize("finished", ["two_branches"], indirect=True)
def test_with_a_map_of_both_branches_the_margin_equation_holds(finished: Path) -> None:
    for name, variant in scores_of(finished)["variants"].items():
        folder = finished / "results/first" / name
        table, cams = pd.read_parquet(folder / "predictions.parquet"), np.load(folder / "cam.npy")
        bias = cache.read(finished / "variants", variant["id"]).margin_bias
        np.testing.assert_allclose(cams.mean((1, 2)) + bias, table["logit_fake"] - table["logit_real"], atol=1e-3)
    assert "has no class-activation map" not in (finished / "reports/first/report.md").read_text()


@pytest.mark.parametrize("finished", VARIANTS, indirect=True)
@pytest.mark.parametrize("variant", ["baseline", "q8"])
def test_an_export_predicts_and_says_what_comes_out(finished: Path, variant: str) -> None:
    code, output = bench("export", variant, "--to", "out")
    assert code == 0, output
    has_map = (finished / "results/first/baseline/cam.npy").exists()
    readme, record = (finished / "out/README.md").read_text(), json.loads((finished / "out/model.json").read_text())
    assert ("- Out: `cam`" in readme) == has_map
    assert (record["margin_bias"] is not None) == has_map
    table = pd.read_parquet(finished / "results/first" / variant / "predictions.parquet")
    first = table[table["split"] == "test"].iloc[0]
    model = library.load("out", device="cpu")
    from PIL import Image

    frame = np.asarray(Image.open(finished / "faces/test" / first["frame"]).convert("RGB"))
    assert model.predict(frame[None])[0] == pytest.approx(first["p_fake"], abs=2e-2 if variant == "q8" else 1e-4)


@pytest.mark.parametrize("command", [("plan",), ("run",)])
@pytest.mark.parametrize(
    ("chain", "missing"),
    [
        ("[prune: 0.5]", "widths that may shrink (`widths`)"),
        ("[cast: fp16, prune: {amount: 0.5}]", "(`widths`)"),
    ],
)
@pytest.mark.parametrize("finished", ["two_branches"], indirect=True)
def test_a_step_that_the_detector_does_not_allow_is_refused_before_any_work(
    finished: Path, chain: str, missing: str, command: tuple[str, ...]
) -> None:
    write_experiment(finished, "two_branches", {**VARIANTS["two_branches"], "half": chain})
    before = sorted((finished / "variants").iterdir())
    code, output = bench(*command)
    assert code == 2
    text = " ".join(output.split())
    assert missing in text
    assert "two_branches has none" in text
    assert "it offers convolutions that may change (`conv`) and a class-activation map (`cam`)" in text
    assert "leave prune out" in text
    assert sorted((finished / "variants").iterdir()) == before


def test_what_families_declare_is_what_their_detectors_have() -> None:
    for family in FAMILIES:
        for architecture in family.ARCHITECTURES[:1]:
            detector = family.build(architecture, "static", other_heads.PREPROCESSING)
            offers = families.offers(architecture)
            frames = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
            with torch.inference_mode():
                prediction = detector(frames)
                assert (prediction.cam is not None) == ("cam" in offers)
                assert (len(detector.stages()) > 1) == ("chain" in offers)
                assert (len(detector.units()) > 1) == ("widths" in offers)
                if "chain" in offers:
                    logits = detector.logit_network()(detector.preprocess(frames))
                    torch.testing.assert_close(logits, prediction.logits, atol=1e-5, rtol=1e-5)


def test_weights_of_a_head_with_two_layers_are_stored_and_read_back(tmp_path: Path) -> None:
    detector = other_heads.lively(other_heads.no_map)
    reread = safetensors.load_torch(safetensors.save(detector, tmp_path))
    assert list(reread.state_dict()) == list(detector.state_dict())
    frames = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(reread(frames).logits, detector(frames).logits)
