"""Files of a real B5's variants: what the field's sizes promise (random weights weigh as much as trained ones)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from bench import datasets
from bench.datasets import FrameSetSettings
from bench.detectors import efficientnet
from bench.records import Preprocessing, silent
from bench.variants import build, steps
from tests.conftest import write_frames

MIB = 2**20


def test_sizes_and_counts_of_all_b5_variants(tmp_path: Path) -> None:
    torch.manual_seed(0)
    preprocessing = Preprocessing(size=64)
    state = efficientnet.build("efficientnet_b5", "static", preprocessing).state_dict()
    torch.save({"model": efficientnet.to_efficientnet_pytorch(state, "efficientnet_b5")}, tmp_path / "b5.tar")
    for split in ("test", "calibration", "train"):
        write_frames(tmp_path / "faces" / split, 2, 2, len(split))
    frames = datasets.load("faces", FrameSetSettings(path="faces"), tmp_path, tmp_path / "cache")
    shop = build.Workshop(
        tmp_path / "variants", frames, partial(datasets.read_batches, threads=1), {}, "cpu", 2, 0, silent
    )
    source = build.Source("efficientnet_b5", tmp_path / "b5.tar", "0" * 64, preprocessing)

    def made(*entries: object) -> tuple[float, int, int]:
        built = build.build("x", source, [steps.parse(one) for one in entries], shop)
        assert built.parameters is not None
        assert built.macs is not None
        return built.size_bytes / MIB, built.parameters, built.macs

    size, parameters, macs = made()
    half, half_parameters, half_macs = made({"prune": 0.5})
    assert size <= 109.1
    assert made({"cast": "fp16"})[0] <= 54.7
    # A trained network takes 28.2; of random weights more stays in float.
    assert made({"quantize": "int8"})[0] <= 29.4
    assert half <= size / 2
    assert half_parameters <= parameters / 2
    assert half_macs <= macs / 2
    assert half_macs > 0.35 * macs, "half was asked for, not much more"
    assert made({"prune": 0.5}, {"cast": "fp16"})[0] <= 27.6
    assert made({"prune": 0.5}, {"quantize": "int8"})[0] <= 15.5
