"""Global average pooling and one linear layer: the head of most convolutional networks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.detectors.heads import Head
from bench.records import Prediction


class GapLinear(Head, nn.Linear):
    """A linear layer [2, C] over the means of a feature map [N, C, h, w], taken after its activation.

    The CAM is that of `logit_fake - logit_real` (Zhou et al., CVPR 2016): each channel times its weight for fake minus
    that for real, summed. So `cam.mean((1, 2)) + margin_bias` equals `logit_fake - logit_real`.
    """

    def __init__(self, in_features: int, out_features: int = 2) -> None:
        nn.Linear.__init__(self, in_features, out_features)

    @classmethod
    def of(cls, layer: nn.Linear) -> GapLinear:
        """A head with the weights of a linear layer."""
        with torch.device("meta"):  # neither memory nor random numbers for weights that are not used
            head = cls(layer.in_features, layer.out_features)
        head.weight, head.bias = layer.weight, layer.bias
        return head

    def predict(self, features: Tensor) -> Prediction[Tensor]:
        """Logits [N, 2] and CAMs [N, h, w]."""
        features = features.float()
        weight, bias = self.weight.float(), self.bias.float()
        logits = F.linear(features.mean((2, 3)), weight, bias)
        difference = (weight[1] - weight[0]).reshape(1, -1, 1, 1)
        return Prediction(logits, F.conv2d(features, difference).squeeze(1))

    @property
    def margin_bias(self) -> float:
        """`bias_fake - bias_real`: the part of the logits' difference that no position of the frame speaks for."""
        with torch.no_grad():
            return float(self.bias[1].double() - self.bias[0].double())

    def layers_to_logits(self) -> list[nn.Module]:
        return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), self]

    def logit_layers(self) -> list[nn.Module]:
        return [self]

    def shift_logits(self, shift: Tensor) -> None:
        with torch.no_grad():
            self.bias.add_(shift)
