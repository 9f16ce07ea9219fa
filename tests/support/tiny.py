"""A detector family for tests: four convolutions with the parts that make real ones hard, in milliseconds.

It has what steps and runtimes must cope with: an asymmetrically padded stride, a depthwise
convolution, a squeeze-and-excitation gate, a residual, SiLU, batch norm.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from bench.detectors.detector import Detector, StaticPadConv2d
from bench.detectors.heads.gap_linear import GapLinear
from bench.detectors.offers import Offer
from bench.detectors.weights.schemes import Scheme
from bench.records import Preprocessing

ARCHITECTURES = ("tiny",)
OFFERS: frozenset[Offer] = frozenset({"chain", "widths", "conv", "linear", "cam", "zeros"})
PREPROCESSING = Preprocessing(size=32, channels="bgr", wavelet="sym2")


class Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(width, 8, 1)
        self.expand = nn.Conv2d(8, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        squeezed = nn.functional.silu(self.reduce(x.mean((2, 3), keepdim=True)))
        gated: Tensor = x * self.expand(squeezed).sigmoid()
        return gated


class Block(nn.Module):
    """Inverted residual: expand, depthwise, gate, project."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.expand = nn.Sequential(nn.Conv2d(width, 2 * width, 1, bias=False), nn.BatchNorm2d(2 * width), nn.SiLU())
        self.depthwise = nn.Sequential(
            nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.SiLU(),
        )
        self.gate = Gate(2 * width)
        self.project = nn.Sequential(nn.Conv2d(2 * width, width, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.project(self.gate(self.depthwise(self.expand(x))))
        return out


def build(architecture: str, flavour: str, preprocessing: Preprocessing) -> Detector:
    stem = StaticPadConv2d(3, 32, 3, stride=2, bias=False)
    stem.pad = (0, 1, 0, 1)
    backbone = nn.Sequential(
        nn.Sequential(stem, nn.BatchNorm2d(32), nn.SiLU()),
        Block(32),
        nn.Sequential(nn.Conv2d(32, 64, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(64), nn.SiLU()),
    )
    return Detector(architecture, flavour, preprocessing, backbone, GapLinear(64)).eval()


def schemes(architecture: str) -> tuple[Scheme, ...]:
    return (Scheme("tests", str, flavour="tiny"),)


def lively(detector: Detector, seed: int = 0) -> Detector:
    """Random weights and statistics under which outputs differ clearly from frame to frame."""
    generator = torch.Generator().manual_seed(seed)
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.randn(module.num_features, generator=generator) * 0.1
            module.running_var = torch.rand(module.num_features, generator=generator) * 0.5 + 0.2
    with torch.no_grad():
        detector.head.weight.copy_(torch.randn(detector.head.weight.shape, generator=generator))
    return detector


def save_weights(path: Path, seed: int = 0) -> Path:
    """A checkpoint of a tiny detector as training scripts write them."""
    torch.manual_seed(seed)
    detector = lively(build("tiny", "tiny", PREPROCESSING), seed)
    torch.save({"model": detector.state_dict(), "optimizer": {"lr": 0.1}, "epoch": 3}, path)
    return path
