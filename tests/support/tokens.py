"""A small vision transformer of timm with random weights under which frames differ clearly."""

from __future__ import annotations

import torch
from torch import nn

from bench.detectors.detector import Detector
from bench.detectors.families import timm_models
from bench.records import Preprocessing

ARCHITECTURE = "timm:test_vit"
PREPROCESSING = Preprocessing(size=64, mean=(0.5,) * 3, std=(0.25,) * 3)


def lively(architecture: str = ARCHITECTURE, preprocessing: Preprocessing = PREPROCESSING, seed: int = 0) -> Detector:
    """Blocks that do more than pass tokens on."""
    torch.manual_seed(seed)
    detector = timm_models.build(architecture, "", preprocessing)
    with torch.no_grad():
        for name, module in detector.named_modules():
            if isinstance(module, nn.Linear) and name != "head":
                module.weight.normal_(std=0.15)
        detector.head.weight.normal_()
    return detector
