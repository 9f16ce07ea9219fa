"""Preprocessing that does not fit the weights: what `bench run` and `bench plan --fit` say, and what they remember."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn

from bench.detectors.preprocessing import Preprocess
from bench.detectors.presets import PRESETS
from tests.support.command_line import bench

SIZE = 64
EXPERIMENTS = f"""
detectors:
  wrong: {{architecture: "timm:test_resnet", weights: resnet.pth, classes: [real, fake],
           preprocessing: {{preset: deepfakebench, size: {SIZE}}}}}
  right: {{architecture: "timm:test_resnet", weights: resnet.pth, classes: [real, fake],
           preprocessing: {{preset: imagenet, size: {SIZE}}}}}
  without: {{architecture: "timm:test_vit", weights: vit.pth, classes: [real, fake], preprocessing: {{preset: imagenet,
             size: 160}}}}
datasets:
  faces: {{path: faces}}
experiments:
  wrong: {{detector: wrong, frames: faces, device: cpu, threads: 1, variants: {{baseline: []}}}}
  right: {{detector: right, frames: faces, device: cpu, threads: 1, variants: {{baseline: []}}}}
  without: {{detector: without, frames: faces, device: cpu, threads: 1, variants: {{baseline: []}}}}
"""
WARNING = "These weights look trained with another preprocessing: mean and std of imagenet, RGB (misfit "
GIVEN = "instead of mean and std of deepfakebench, RGB (misfit "


def reddish(count: int, seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Frames [n, 64, 64, 3] of coarse noise: of grey ones, nothing would tell the order of channels."""
    noise = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3))
    frames = noise.repeat(16, 1).repeat(16, 2) * np.array([1.0, 0.75, 0.5])
    return np.asarray(frames, np.uint8)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames, a small ResNet whose batch norms saw such frames under ImageNet's statistics, and a small ViT."""
    folder = tmp_path_factory.mktemp("fit")
    for seed, part in enumerate(("test/real", "test/fake", "calibration/real", "calibration/fake")):
        (folder / "faces" / part).mkdir(parents=True)
        for index, frame in enumerate(reddish(12, seed)):
            Image.fromarray(frame).save(folder / "faces" / part / f"{index:03}.png")
    torch.manual_seed(0)
    network: Any = timm.create_model("test_resnet", num_classes=2)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        network.train()(Preprocess(PRESETS["imagenet"])(torch.from_numpy(reddish(48, 9)).permute(0, 3, 1, 2)))
    torch.save(network.state_dict(), folder / "resnet.pth")
    torch.save(timm.create_model("test_vit", num_classes=2).state_dict(), folder / "vit.pth")
    (folder / "experiments.yaml").write_text(EXPERIMENTS, encoding="utf-8")
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(name: str) -> str:
    code, output = bench("run", name, "--no-timing")
    assert code == 0, output
    return " ".join(output.split())


@pytest.mark.slow
def test_a_run_warns_on_the_terminal_and_in_the_report_and_remembers_why(folder: Path) -> None:
    """A second run, in a process of its own, asks nothing of PyTorch."""
    output = run("wrong")
    report = (folder / "reports/wrong/report.md").read_text(encoding="utf-8")
    for text in (output, report):
        assert WARNING in text
        assert GIVEN in text
    assert WARNING in (folder / "reports/wrong/report.html").read_text(encoding="utf-8")
    again = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "bench", "run", "wrong", "--no-timing"],
        capture_output=True, text=True, encoding="utf-8", check=True, env=os.environ | {"PYTHONUTF8": "1"},
    )  # fmt: skip
    assert WARNING in " ".join(again.stdout.split())
    imports = {line.rpartition("|")[2].strip() for line in again.stderr.splitlines() if line.startswith("import time:")}
    assert "bench.pipeline.readings" in imports
    assert not imports & {"torch", "timm"}


@pytest.mark.slow
def test_a_run_under_the_right_preprocessing_warns_of_nothing(folder: Path) -> None:
    assert "look trained" not in run("right")
    assert "look trained" not in (folder / "reports/right/report.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_a_plan_shows_every_preprocessing_and_says_where_it_cannot_be_told() -> None:
    code, output = bench("plan", "wrong", "--fit")
    assert code == 0, output
    words = " ".join(output.split())
    assert "wrong: 1 variant of timm:test_resnet at 64 px; " in words
    assert "; on cpu, 1 thread variant step" in words
    table = output[output.index("misfit ") :].splitlines()
    assert table[0].split() == ["misfit", "preprocessing", "of", "wrong"]
    assert table[1].endswith("mean and std of imagenet, RGB")
    assert [line for line in table if line.endswith("given")] == [
        line for line in table if "mean and std of deepfakebench, RGB" in line
    ]
    code, output = bench("plan", "without", "--fit")
    assert code == 0, output
    assert "without: which preprocessing fits can't be told: there are no batch norms to ask" in output
