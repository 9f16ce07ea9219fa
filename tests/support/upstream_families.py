"""Small networks of the classes that DeepfakeBench's Xception and F3Net and GANFingerprint are, as detectors.

They are built of the same parts as the real ones, with fewer and narrower blocks.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import cache
from typing import Any

import timm
from timm.models.xception import Block, SeparableConv2d
from torch import nn

from bench.detectors.detector import Detector
from bench.detectors.families import ganfingerprint
from bench.detectors.heads.gap_linear import GapLinear
from bench.detectors.networks.frequencies import Edges, FrequencyBands
from bench.detectors.networks.ganfingerprint import Widths
from bench.detectors.offers import Offer
from bench.detectors.weights.schemes import Scheme
from bench.records import Preprocessing
from tests.support import families

_FIRST: dict[str, Any] = {
    "small_xception": None,
    "small_f3net": lambda: FrequencyBands(64),
    "small_f3net_edges": Edges,
}
PREPROCESSING = Preprocessing(size=64, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
GAN = "small_ganfingerprint"
CHAINED = tuple(_FIRST)


class chains:  # noqa: N801  (stands for a module)
    """Xception's kinds of stages: a stem, blocks with and without a projection, separable convolutions."""

    ARCHITECTURES = CHAINED
    OFFERS: frozenset[Offer] = frozenset({"chain", "widths", "conv", "linear", "cam", "zeros"})

    @staticmethod
    def build(architecture: str, flavour: str, preprocessing: Preprocessing) -> Detector:
        first = _FIRST[architecture]
        stages: OrderedDict[str, nn.Module] = OrderedDict() if first is None else OrderedDict(first=first())
        stages |= {
            "conv1": nn.Conv2d(3 if first is None else 12, 16, 3, 2, bias=False),
            "bn1": nn.BatchNorm2d(16),
            "act1": nn.ReLU(inplace=True),
            "block1": Block(16, 32, 2, 2, start_with_relu=False),
            "block2": Block(32, 48, 2, 2),
            "block3": Block(48, 48, 3, 1),
            "block4": Block(48, 64, 2, 1, grow_first=False),
            "conv3": SeparableConv2d(64, 96, 3, 1, 1),
            "bn3": nn.BatchNorm2d(96),
            "act3": nn.ReLU(inplace=True),
        }
        return Detector(architecture, flavour, preprocessing, nn.Sequential(stages), GapLinear(96)).eval()

    @staticmethod
    def schemes(architecture: str) -> tuple[Scheme, ...]:
        return (Scheme("tests", str, flavour="test"),)


class branches:  # noqa: N801  (stands for a module)
    """GANFingerprint on a ResNet of one block a layer."""

    ARCHITECTURES = (GAN,)
    OFFERS = ganfingerprint.OFFERS

    @staticmethod
    def build(architecture: str, flavour: str, preprocessing: Preprocessing) -> Detector:
        network: Any = timm.create_model(
            "resnet18", pretrained=False, num_classes=0, layers=(1, 1, 1, 1), channels=(16, 24, 32, 48)
        )
        widths = Widths((16, 24, 48), 16, (8, 16, 24), 32, 32, (32, 24, 16))
        parts = ganfingerprint.parts(network, widths, preprocessing.size)
        return Detector(architecture, flavour, preprocessing, *parts).eval()

    @staticmethod
    def schemes(architecture: str) -> tuple[Scheme, ...]:
        return (Scheme("tests", str, flavour="test"),)


FAMILIES: tuple[Any, ...] = (chains, branches)


def build(architecture: str, flavour: str = "test", preprocessing: Preprocessing = PREPROCESSING) -> Detector:
    """An untrained one."""
    family = next(family for family in FAMILIES if architecture in family.ARCHITECTURES)
    detector: Detector = family.build(architecture, flavour, preprocessing)
    return detector


@cache
def trained(architecture: str) -> Detector:
    """A detector that learned in seconds: random networks are too chaotic to be rounded."""
    return families.taught(lambda: build(architecture), 40)
