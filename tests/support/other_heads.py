"""Two detectors that are not a chain with global average pooling and one linear layer, in milliseconds.

`no_map` is a chain whose head has a hidden layer: it gives no class-activation map. `two_branches` reads the frame and
its edges side by side and fuses both in its head: it has a map, and no successive parts that pass one tensor on.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.detectors.detector import Detector
from bench.detectors.heads import Head
from bench.detectors.heads.gap_linear import GapLinear
from bench.detectors.offers import Offer
from bench.detectors.weights.schemes import Scheme
from bench.records import Prediction, Preprocessing

PREPROCESSING = Preprocessing(size=32)


def _block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


class HiddenLayer(Head):
    """Global average pooling, a hidden layer and a linear one: what a position adds to the logits is no constant."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.hidden, self.logits = nn.Linear(channels, 16), nn.Linear(16, 2)

    def predict(self, features: Tensor) -> Prediction[Tensor]:
        pooled = features.float().mean((2, 3))
        hidden = F.linear(pooled, self.hidden.weight.float(), self.hidden.bias.float()).relu()
        return Prediction(F.linear(hidden, self.logits.weight.float(), self.logits.bias.float()), None)

    def layers_to_logits(self) -> list[nn.Module]:
        return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), self.hidden, nn.ReLU(), self.logits]

    def logit_layers(self) -> list[nn.Module]:
        return [self.logits]

    def shift_logits(self, shift: Tensor) -> None:
        with torch.no_grad():
            self.logits.bias.add_(shift)


class Branches(nn.Module):
    """Two feature maps [N, 32, 8, 8]: of the frame, and of what differs from its blurred self."""

    def __init__(self) -> None:
        super().__init__()
        self.colours = nn.Sequential(_block(3, 16, 2), _block(16, 32, 2))
        self.edges = nn.Sequential(_block(3, 16, 2), _block(16, 32, 2))

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        edges = inputs - F.avg_pool2d(inputs, 3, stride=1, padding=1)
        return self.colours(inputs), self.edges(edges)


class Fused(GapLinear):
    """Global average pooling and one linear layer over the channels of both branches."""

    def predict(self, features: tuple[Tensor, Tensor]) -> Prediction[Tensor]:  # type: ignore[override]
        return super().predict(torch.cat([branch.float() for branch in features], dim=1))


def _family(architecture: str, offers: frozenset[Offer], parts: Any) -> Any:
    """A family of one architecture, as a module of `detectors/families/` would be."""

    def build(architecture: str, flavour: str, preprocessing: Preprocessing) -> Detector:
        return Detector(architecture, flavour, preprocessing, *parts()).eval()

    def schemes(architecture: str) -> tuple[Scheme, ...]:
        return (Scheme("tests", str, flavour="test"),)

    return SimpleNamespace(ARCHITECTURES=(architecture,), OFFERS=offers, build=build, schemes=schemes)


no_map = _family(
    "no_map",
    frozenset({"chain", "widths", "conv", "linear", "zeros"}),
    lambda: (nn.Sequential(_block(3, 16, 2), _block(16, 32, 2), _block(32, 64, 1)), HiddenLayer(64)),
)
two_branches = _family("two_branches", frozenset({"conv", "cam", "zeros"}), lambda: (Branches(), Fused(64)))


def lively(family: Any, seed: int = 0) -> Detector:
    """A detector with random weights and statistics under which outputs differ clearly from frame to frame."""
    torch.manual_seed(seed)
    detector: Detector = family.build(family.ARCHITECTURES[0], "test", PREPROCESSING)
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.randn(module.num_features) * 0.1
            module.running_var = torch.rand(module.num_features) * 0.05 + 0.02
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.5)
    return detector
