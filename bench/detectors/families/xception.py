"""Xception, as FaceForensics++ and DeepfakeBench train it.

Built on timm's `legacy_xception`, whose arithmetic is theirs. DeepfakeBench's `adjust_channel` layers, which it never
uses, are left out.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from bench.detectors.families import Size
from bench.detectors.families.timm_models import PARTS
from bench.detectors.weights.schemes import Scheme

if TYPE_CHECKING:
    from torch import nn

    from bench.detectors.detector import Detector
    from bench.detectors.heads.gap_linear import GapLinear
    from bench.detectors.offers import Offer
    from bench.records import Preprocessing

ARCHITECTURES = ("xception",)
OFFERS: frozenset[Offer] = frozenset({"chain", "widths", "conv", "linear", "cam", "zeros"})
EXAMPLE = "backbone.conv1.weight"
SIZES = {"xception": Size(1.94, 20.8)}


def build(architecture: str, flavour: str, preprocessing: Preprocessing) -> Detector:
    """An untrained two-class detector, in evaluation mode."""
    from torch import nn

    from bench.detectors.detector import Detector

    stages, head = parts(channels=3)
    return Detector(architecture, flavour, preprocessing, nn.Sequential(stages), head).eval()


def parts(channels: int) -> tuple[OrderedDict[str, nn.Module], GapLinear]:
    """The stages of a network that reads so many channels, by name, and its head."""
    import timm
    from torch import nn

    from bench.detectors.heads.gap_linear import GapLinear

    network = timm.create_model("legacy_xception", pretrained=False, num_classes=2, in_chans=channels)
    classifier = network.get_submodule("fc")
    assert isinstance(classifier, nn.Linear)
    return OrderedDict((name, network.get_submodule(name)) for name in PARTS["Xception"]), GapLinear.of(classifier)


def schemes(architecture: str) -> tuple[Scheme, ...]:
    """timm's names are those of all, but for the head's."""
    return (
        Scheme("timm", name_in_timm, head="fc", flavour="timm"),
        Scheme("DeepfakeBench", name_in_timm, head="last_linear", flavour="timm", unused=("adjust_channel.",)),
        Scheme(
            "ICPR 2020 (polimi-ispl)", lambda name: f"xception.{name_in_timm(name)}", head="xception.last_linear",
            flavour="timm", positive="fake",
        ),
        Scheme("bench", str, flavour="timm"),
    )  # fmt: skip


def name_in_timm(name: str) -> str:
    """What a tensor is called there."""
    return name.removeprefix("backbone.")
