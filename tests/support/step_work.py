"""Frames, and what a step may use of them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.detectors.detector import Detector
from bench.records import Frame, FrameSet, InputSpec
from bench.variants.steps import StepContext


def frames(count: int, size: int, seed: int = 0) -> Tensor:
    """Smooth random pictures, uint8 RGB [count, 3, size, size]: noise alone would look all the same."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 5, 5, generator=generator)
    return (nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 1) * 255).to(torch.uint8)


def work(folder: Path, teacher: Detector | None = None, count: int = 32, seed: int = 0) -> StepContext:
    """A step's surroundings with `count` train and calibration frames, made from their names."""
    names = tuple(Frame(str(i), Path(str(i)), None, None, "") for i in range(count))
    size = teacher.preprocessing.size if teacher else 32
    pictures = frames(count, size, seed=1).numpy()

    def read(asked: Sequence[Frame], spec: InputSpec, batch_size: int) -> Iterator[NDArray[np.uint8]]:
        for start in range(0, len(asked), batch_size):
            yield pictures[[int(frame.path) for frame in asked[start : start + batch_size]]]

    return StepContext(
        title="work", spec=InputSpec(size), read=read,
        frames={split: FrameSet("set", split, names, "", "") for split in ("train", "calibration")},
        teacher=lambda: copy.deepcopy(teacher) if teacher else pytest.fail("no teacher here"),
        device="cpu", threads=1, seed=seed, scratch=folder, on_event=lambda event: None,
    )  # fmt: skip
