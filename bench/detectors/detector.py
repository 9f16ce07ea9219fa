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
        return self.classify(self.features(self.preprocess(frames)))

    def features(self, inputs: Tensor) -> Tensor:
        """What the backbone makes of preprocessed frames [N, 3, H, W], in the type of its weights."""
        features: Tensor = self.backbone(inputs.to(self.dtype))
        return features

    def classify(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Pool and head over features [N, C, h, w], in float32 whatever the features are."""
        features = features.float()
        weight, bias = self.head.weight.float(), self.head.bias.float()
        logits = F.linear(features.mean((2, 3)), weight, bias)
        margin = (weight[1] - weight[0]).reshape(1, -1, 1, 1)
        return logits, F.conv2d(features, margin).squeeze(1)

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights of backbone and head."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def cast(self, dtype: torch.dtype) -> None:
        """Give backbone and head another type, in place; the preprocessing stays in float32."""
        self.backbone.to(dtype)
        self.head.to(dtype)

    def stages(self) -> list[tuple[str, nn.Module]]:
        """The backbone's parts that pass one tensor on to the next, in order, by name: what nested sequences hold."""
        return _sequence("backbone", self.backbone)

    def feature_network(self) -> nn.Module:
        """`features` as a module with the same weights, for what compiles or traces modules."""
        return _Features(self)

    def logit_network(self) -> nn.Sequential:
        """Preprocessed frames to logits by plain modules with the same weights, for what looks at layers alone."""
        return nn.Sequential(self.backbone, nn.AdaptiveAvgPool2d(1), nn.Flatten(), self.head)

    def logit_layers(self) -> list[nn.Module]:
        """The layers that write the logits, and so can't lose outputs."""
        return [self.head]

    def shift_logits(self, shift: Tensor) -> None:
        """Add `shift` [2] to the logits of every frame, in place."""
        with torch.no_grad():
            self.head.bias.add_(shift)

    def drop_backbone(self) -> None:
        """Let go of the backbone's weights, where something else computes the features."""
        self.backbone = nn.Identity()

    def weighted_layers(self) -> dict[str, nn.Conv2d | nn.Linear]:
        """The backbone's convolutions and linear layers, by name."""
        modules = self.backbone.named_modules(prefix="backbone")
        return {name: module for name, module in modules if isinstance(module, (nn.Conv2d, nn.Linear))}

    def head_layers(self) -> dict[str, nn.Linear]:
        """The head's linear layers, by name."""
        modules = self.head.named_modules(prefix="head")
        return {name: module for name, module in modules if isinstance(module, nn.Linear)}

    @property
    def margin_bias(self) -> float:
        """`bias_fake - bias_real`, the part of the margin that no place in the frame speaks for."""
        with torch.no_grad():
            return float(self.head.bias[1].double() - self.head.bias[0].double())


class _Features(nn.Module):
    """A detector's backbone, in its own type."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.backbone = detector.backbone
        self.dtype = detector.dtype

    def forward(self, inputs: Tensor) -> Tensor:
        features: Tensor = self.backbone(inputs.to(self.dtype))
        return features


def _sequence(name: str, module: nn.Module) -> list[tuple[str, nn.Module]]:
    """What a module holds if it is a sequence of modules, and what these hold likewise; else the module itself."""
    if type(module) is not nn.Sequential:
        return [(name, module)]
    return [stage for child, part in module.named_children() for stage in _sequence(f"{name}.{child}", part)]
