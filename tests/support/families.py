"""Three more families of timm as detectors, for tests: a ResNet, a small ResNeXt, a MobileNetV3.

They have what EfficientNet lacks: ReLU before and after the sum, a pool in the stem, strided projections on
the residual path, grouped convolutions that are not depthwise, hard sigmoids. Their CAM is that of
`Detector`, over the last feature map after its activation. MobileNetV3's own head has another
convolution between pool and classifier, for which no map gives the margin: it is left out here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import timm
import torch
from torch import nn

from bench.detectors.detector import Detector
from bench.detectors.heads.gap_linear import GapLinear
from bench.detectors.offers import Offer
from bench.detectors.weights.schemes import Scheme
from bench.records import Preprocessing
from tests.support import b0

_SETTINGS: dict[str, dict[str, Any]] = {
    # Half as wide: a quarter of the work, and every kind of connection that there is.
    "resnet18": {"channels": (32, 64, 128, 256)},
    # One block a stage instead of up to six, with its 32 groups.
    "resnext50_32x4d": {"layers": (1, 1, 1, 1), "channels": (32, 64, 128, 256)},
    "mobilenetv3_small_100": {},
}
_RESNET = ("conv1", "bn1", "act1", "maxpool", "layer1", "layer2", "layer3", "layer4")
_MOBILENET = ("conv_stem", "bn1", "blocks")

ARCHITECTURES = tuple(_SETTINGS)
IN_TESTS = (
    "resnext50_32x4d", *(pytest.param(name, marks=pytest.mark.slow) for name in ("resnet18", "mobilenetv3_small_100")),
)  # fmt: skip
"""What the ResNet has and the ResNeXt lacks, sums without a projection, is tried with timm's small ResNet too
(tests/detectors/test_timm_models.py); the MobileNet takes half the time of all for one kind of layer."""
OFFERS: frozenset[Offer] = frozenset({"chain", "widths", "conv", "linear", "cam", "zeros"})
PREPROCESSING = Preprocessing(size=64, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def build(architecture: str, flavour: str, preprocessing: Preprocessing) -> Detector:
    network: Any = timm.create_model(architecture, pretrained=False, num_classes=2, **_SETTINGS[architecture])
    parts = _MOBILENET if architecture.startswith("mobilenet") else _RESNET
    backbone = nn.Sequential(OrderedDict((name, getattr(network, name)) for name in parts))
    width = network.feature_info[-1]["num_chs"]
    return Detector(architecture, flavour, preprocessing, backbone, GapLinear(width)).eval()


def schemes(architecture: str) -> tuple[Scheme, ...]:
    return (Scheme("tests", str, flavour="timm"),)


def drawn(architecture: str) -> Detector:
    """Random weights, and batch-norm statistics that fit them, so that outputs vary; not to be rounded."""
    torch.manual_seed(0)
    detector = build(architecture, "timm", PREPROCESSING).train()
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        detector(torch.from_numpy(b0.frames(24, seed=50)))
    return detector.eval()


@cache
def trained(architecture: str) -> Detector:
    """A detector that learned in a few seconds: random networks are too chaotic to be rounded."""

    def drawn() -> Detector:
        detector = build(architecture, "timm", PREPROCESSING)
        for module in detector.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.1
        return detector

    # The MobileNet is the cheapest and learns slowest.
    return taught(drawn, 200 if architecture.startswith("mobilenet") else 40)


def taught(drawn: Callable[[], Detector], steps: int) -> Detector:
    """A detector that is drawn by a seed, after so many steps of learning to tell red from blue."""
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums on other numbers of threads would come to be another network
    detector = drawn().train()
    optimizer = torch.optim.AdamW(detector.parameters(), 2e-3)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * (1 - step / steps)
        frames = torch.from_numpy(b0.frames(12, seed=1000 + step))
        red, _, blue = frames.float().mean((2, 3)).unbind(1)
        logits, _ = detector(frames)
        loss = nn.functional.mse_loss(logits[:, 1] - logits[:, 0], (red - blue) / 15)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    torch.set_num_threads(threads)
    return detector.eval()
