"""A detector with two cues that are known: how red a frame is, and how much fine structure it has."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from bench.detectors.detector import Detector
from bench.detectors.heads.gap_linear import GapLinear
from bench.detectors.offers import Offer
from bench.detectors.weights.schemes import Scheme
from bench.records import Preprocessing

PREPROCESSING = Preprocessing(size=32)
OFFERS: frozenset[Offer] = frozenset({"chain", "conv", "linear", "cam", "zeros"})


def _build(architecture: str, flavour: str, preprocessing: Preprocessing) -> Detector:
    backbone = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()))
    return Detector(architecture, flavour, preprocessing, backbone, GapLinear(4)).eval()


def detector(red: float, fine: float) -> Detector:
    """Logits by redness times `red` and by fine structure times `fine`."""
    made: Detector = _build("cues", "test", PREPROCESSING)
    edges = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])
    convolution = made.backbone[0][0]  # type: ignore[index]  # a Sequential of Sequentials, typed as any Module
    with torch.no_grad():
        weight = torch.zeros(4, 3, 3, 3)
        weight[0, :, 1, 1] = torch.tensor([1.0, -0.5, -0.5])
        weight[1, 1], weight[2, 1] = edges, -edges
        convolution.weight.copy_(weight)
        convolution.bias.copy_(torch.tensor([0.5, 0, 0, 0]))
        made.head.weight.copy_(torch.tensor([[0.0, 0, 0, 0], [red, fine, fine, 0]]))
        made.head.bias.copy_(torch.tensor([0.0, -0.5 * red]))
    return made


cues: Any = SimpleNamespace(
    ARCHITECTURES=("cues",),
    OFFERS=OFFERS,
    build=_build,
    schemes=lambda architecture: (Scheme("tests", str, flavour="test"),),
)


def frame(*, fake: bool, rng: np.random.Generator) -> Image.Image:
    """Smooth colours with fine noise; a fake is a little redder, and its noise a little stronger."""
    coarse = rng.integers(80, 150, (5, 5, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((32, 32), Image.Resampling.BICUBIC), np.float64)
    smooth[..., 0] += rng.normal(12 * fake, 8)
    noisy: NDArray[np.float64] = smooth + rng.normal(0, rng.normal(4 + 2 * fake, 0.7), smooth.shape)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
