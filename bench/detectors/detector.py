"""The detector contract: uint8 RGB frames in, two logits and the signed CAM out; and its building blocks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.detectors.preprocessing import Preprocess
from bench.records import Preprocessing


class StaticPadConv2d(nn.Conv2d):
    """A convolution that pads by fixed amounts, which may differ between the two ends.

    `pad` is (left, right, top, bottom) in pixels.
    """

    pad: tuple[int, int, int, int] = (0, 0, 0, 0)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(F.pad(input, self.pad))


class Detector(nn.Module):
    """A network whose head is global average pooling and one linear layer, with its preprocessing.

    `backbone` maps float [N, 3, H, W] to the last feature map [N, C, h, w], *after* its
    activation. `head` is `nn.Linear(C, 2)`: class 0 is real, class 1 is fake.

    `forward`: uint8 RGB [N, 3, H, W] to `(logits [N, 2], cam [N, h, w])`, both float32. The CAM
    is that of the margin `logit_fake - logit_real` (Zhou et al., CVPR 2016), so that
    `cam.mean((1, 2)) + bias_fake - bias_real` equals the margin.
    """

    def __init__(
        self, architecture: str, flavour: str, preprocessing: Preprocessing, backbone: nn.Module, head: nn.Linear
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.flavour = flavour
        self.preprocessing = preprocessing
        self.preprocess = Preprocess(preprocessing)
        self.backbone = backbone
        self.head = head

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        inputs: Tensor = self.preprocess(frames)
        return self.classify(self.backbone(inputs.to(self.head.weight.dtype)))

    def classify(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Pool and head over features [N, C, h, w], in float32 whatever the features are."""
        features = features.float()
        weight, bias = self.head.weight.float(), self.head.bias.float()
        logits = F.linear(features.mean((2, 3)), weight, bias)
        margin = (weight[1] - weight[0]).reshape(1, -1, 1, 1)
        return logits, F.conv2d(features, margin).squeeze(1)

    def weighted_layers(self) -> dict[str, nn.Conv2d | nn.Linear]:
        """The backbone's convolutions and linear layers, by name."""
        modules = self.backbone.named_modules(prefix="backbone")
        return {name: module for name, module in modules if isinstance(module, (nn.Conv2d, nn.Linear))}

    @property
    def margin_bias(self) -> float:
        """`bias_fake - bias_real`, the part of the margin that no place in the frame speaks for."""
        with torch.no_grad():
            return float(self.head.bias[1].double() - self.head.bias[0].double())
