"""Files of variants: what the field's sizes promise (random weights weigh as much as trained ones)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from bench import datasets
from bench.datasets import FrameSetSettings
from bench.detectors.families import efficientnet
from bench.records import Built, Preprocessing, silent
from bench.variants import build
from bench.variants.chain import parse
from bench.variants.context import BuildContext, Source
from tests.conftest import write_frames

MIB = 2**20

Make = Callable[..., Built]


def maker(architecture: str, folder: Path) -> Make:
    """Builds a chain of steps over an EfficientNet with random weights."""
    torch.manual_seed(0)
    preprocessing = Preprocessing(size=64)
    state = efficientnet.build(architecture, "static", preprocessing).state_dict()
    torch.save({"model": efficientnet.to_fsbi(state, architecture)}, folder / "weights.tar")
    for split in ("test", "calibration", "train"):
        write_frames(folder / "faces" / split, 2, 2, len(split))
    frames = datasets.load("faces", FrameSetSettings(path="faces"), folder, folder / "cache")
    read = partial(datasets.read_batches, threads=1)
    context = BuildContext(folder / "variants", frames, read, {}, "cpu", 1, 0, silent)
    source = Source(architecture, folder / "weights.tar", "0" * 64, preprocessing)
    return lambda *entries: build.build("x", source, [parse(entry) for entry in entries], context)


@pytest.mark.slow
def test_sizes_of_a_b5_in_float(tmp_path: Path) -> None:
    make = maker("efficientnet_b5", tmp_path)
    assert make().size_bytes / MIB <= 109.1
    assert make({"cast": "fp16"}).size_bytes / MIB <= 54.7


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "size", "int8", "half_int8"),
    [
        ("efficientnet_b0", 15.7, None, 2.7),  # tests/variants/test_quantize.py has the whole one in int8
        # A trained network takes 28.2; of random weights more stays in float.
        pytest.param("efficientnet_b5", 109.1, 29.4, 15.5, marks=pytest.mark.slow),
    ],
)
def test_sizes_and_counts_of_all_variants(
    architecture: str, size: float, int8: float | None, half_int8: float, tmp_path: Path
) -> None:
    """In MiB, with what pruning by half leaves of parameters, MACs and bytes."""
    make = maker(architecture, tmp_path)
    whole, half = make(), make({"prune": 0.5})
    assert whole.parameters
    assert half.parameters
    assert whole.macs
    assert half.macs
    assert whole.size_bytes / MIB <= size
    assert make({"cast": "fp16"}).size_bytes / MIB <= 0.502 * size
    assert int8 is None or make({"quantize": "int8"}).size_bytes / MIB <= int8
    assert half.size_bytes <= whole.size_bytes / 2
    assert half.parameters <= whole.parameters / 2
    assert half.macs <= whole.macs / 2
    assert half.macs > 0.35 * whole.macs, "half was asked for, not much more"
    assert make({"prune": 0.5}, {"cast": "fp16"}).size_bytes / MIB <= 0.253 * size
    assert make({"prune": 0.5}, {"quantize": "int8"}).size_bytes / MIB <= half_int8
