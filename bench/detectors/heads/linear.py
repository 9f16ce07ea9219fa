"""One linear layer over the vector that a network makes of a frame: it has no map."""

from __future__ import annotations

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.detectors.heads import Head
from bench.records import Prediction


class Linear(Head, nn.Linear):
    """A linear layer [2, C] over vectors [N, C], or [N, C, 1, 1]. Without positions there is no map."""

    MAP = "there are no maps: the network ends in a vector"

    def __init__(self, in_features: int, out_features: int = 2) -> None:
        nn.Linear.__init__(self, in_features, out_features)

    @classmethod
    def of(cls, layer: nn.Linear | nn.Conv2d) -> Self:
        """A head with the weights of a linear layer or 1x1 convolution; with a bias of zeros where it has none."""
        outputs, inputs = layer.weight.shape[:2]
        with torch.device("meta"):  # neither memory nor random numbers for weights that are not used
            head = cls(inputs, outputs)
        head.weight = nn.Parameter(layer.weight.detach().flatten(1))
        bias = layer.weight.new_zeros(outputs) if layer.bias is None else layer.bias.detach()
        head.bias = nn.Parameter(bias)
        return head

    def predict(self, features: Tensor) -> Prediction[Tensor]:
        """Logits [N, 2]; no CAM."""
        return Prediction(F.linear(features.float().flatten(1), self.weight.float(), self.bias.float()), None)

    def layers_to_logits(self) -> list[nn.Module]:
        return [nn.Flatten(), self]

    def logit_layers(self) -> list[nn.Module]:
        return [self]

    def shift_logits(self, shift: Tensor) -> None:
        with torch.no_grad():
            self.bias.add_(shift)
