"""The script that trains the demo's detector comes to weights that the program takes, and goes on where it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import train_demo
from safetensors.torch import load_file

from bench import detectors
from bench.records import Conventions


def test_it_draws_trains_and_writes_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_demo, "HELD_OUT", 8)
    monkeypatch.setattr(train_demo, "TESTED", 4)
    out = tmp_path / "demo.safetensors"
    settings = train_demo.Settings(
        architecture="efficientnet_b0", seed=1, steps=2, pairs=2, peak=1e-3, map_weight=0.5, map_peak=0.1, shift=0.2,
        start=None, test_every=1, work=tmp_path / "work", out=out,
    )  # fmt: skip
    train_demo.run(settings)
    conventions = Conventions(flavour="static")
    detector = detectors.load("efficientnet_b0", out, train_demo.PREPROCESSING, conventions)
    assert detector.architecture == "efficientnet_b0"
    written = load_file(out)
    train_demo.run(settings)
    assert all(torch.equal(tensor, written[name]) for name, tensor in load_file(out).items())
