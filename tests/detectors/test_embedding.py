"""What detectors describe frames by: the vectors in front of their logits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench.detectors.detector import Detector
from bench.detectors.heads.class_token import ClassToken
from bench.detectors.heads.gap_linear import GapLinear
from bench.detectors.heads.linear import Linear
from bench.detectors.heads.pool_mlp import PoolMlp
from bench.records import Preprocessing


@pytest.mark.parametrize("kind", ["gap", "vector", "mlp", "named"])
def test_the_last_layer_leads_from_there_to_the_logits(kind: str) -> None:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4), nn.ReLU())
    layers = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2))
    if kind == "named":
        layers = nn.Sequential()
        layers.add_module("embedding", nn.Sequential(nn.Linear(8, 6), nn.ReLU()))
        layers.add_module("logits", nn.Linear(6, 2))
    head = {"gap": GapLinear(8), "vector": Linear(8)}.get(kind) or PoolMlp(layers)
    if kind == "vector":
        backbone.append(nn.AdaptiveAvgPool2d(1))
    detector = Detector("small", "", Preprocessing(size=16), backbone, head).eval()
    frames = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    with torch.inference_mode():
        vectors, logits = detector.embed(frames), detector(frames).logits
        last: Any = detector.logit_layers()[0]
        torch.testing.assert_close(F.linear(vectors, last.weight, last.bias), logits)
    assert vectors.shape == (3, 8 if kind in ("gap", "vector") else 6)


def test_of_a_transformer_it_is_the_class_token() -> None:
    assert [type(layer).__name__ for layer in ClassToken(4).layers_to_embedding()] == ["_ClassTokens"]
