"""Global average pooling and one linear layer: the head of most convolutional networks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.detectors.heads.linear import Linear
from bench.records import Prediction


class GapLinear(Linear):
    """A linear layer [2, C] over the means of a feature map [N, C, h, w], taken after its activation.

    The CAM is that of `logit_fake - logit_real` (Zhou et al., CVPR 2016): each channel times its weight for fake minus
    that for real, summed. So `cam.mean((1, 2)) + margin_bias` equals `logit_fake - logit_real`.
    """

    MAP = ""

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
