"""EfficientNet B0 to B7 on timm, also with the weights and the padding of efficientnet_pytorch.

Three flavours share one set of weights and differ in how strided convolutions are padded:

- `static`: efficientnet_pytorch's: the amounts are worked out once, for the architecture's native
  size, whatever the input. This is what FSBI, SBI and DeepfakeBench checkpoints were trained with.
- `timm`: timm's own `efficientnet_b*`: symmetric padding, batch-norm eps 1e-5.
- `tf`: timm's `tf_efficientnet_b*`: dynamic "same" padding, batch-norm eps 1e-3.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bench.detectors.families import Size

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bench.detectors.detector import Detector
    from bench.detectors.offers import Offer
    from bench.records import Preprocessing

NATIVE_SIZE = {"b0": 224, "b1": 240, "b2": 260, "b3": 300, "b4": 380, "b5": 456, "b6": 528, "b7": 600}
_PREFIXES = ("", "tf_")
ARCHITECTURES = tuple(f"{prefix}efficientnet_{size}" for prefix in _PREFIXES for size in NATIVE_SIZE)
OFFERS: frozenset[Offer] = frozenset({"chain", "conv", "linear", "cam"})

# Table 2 of Tan and Le (EfficientNet, ICML 2019).
_SIZES = {
    "b0": Size(0.16, 4.0), "b1": Size(0.26, 6.5), "b2": Size(0.31, 7.7), "b3": Size(0.42, 10.7),
    "b4": Size(0.61, 17.5), "b5": Size(1.0, 28.3), "b6": Size(1.43, 40.7), "b7": Size(2.16, 63.8),
}  # fmt: skip
SIZES = {f"{prefix}efficientnet_{name}": size for prefix in _PREFIXES for name, size in _SIZES.items()}


def build(architecture: str, flavour: str, preprocessing: Preprocessing) -> Detector:
    """An untrained two-class detector of this architecture, in evaluation mode."""
    import timm
    from torch import nn

    from bench.detectors.detector import Detector
    from bench.detectors.heads.gap_linear import GapLinear

    size = architecture.rpartition("_")[2]
    native = architecture if flavour == "timm" else f"tf_efficientnet_{size}"
    network = timm.create_model(native, pretrained=False, num_classes=2)
    if flavour == "static":
        _pad_statically(network, NATIVE_SIZE[size])
    stages = ("conv_stem", "bn1", "blocks", "conv_head", "bn2")
    backbone = nn.Sequential(OrderedDict((name, getattr(network, name)) for name in stages))
    classifier = network.get_submodule("classifier")
    assert isinstance(classifier, nn.Linear)
    return Detector(architecture, flavour, preprocessing, backbone, GapLinear.of(classifier)).eval()


def adapt(state: Mapping[str, Tensor], architecture: str) -> tuple[dict[str, Tensor], str]:
    """Rename a checkpoint's tensors to those of `build`, and tell which flavour its names imply.

    Understands efficientnet_pytorch's names (flavour `static`) and timm's. Names that belong to
    neither are kept, so that the caller's comparison can list them.
    """
    from_efficientnet_pytorch = any(name.startswith(("_conv_stem.", "_fc.", "_blocks.")) for name in state)
    if from_efficientnet_pytorch:
        blocks = _block_indices(architecture)
        state = {_timm_name(name, blocks): tensor for name, tensor in state.items()}
        flavour = "static"
    else:
        flavour = "tf" if architecture.startswith("tf_") else "timm"
    return {_detector_name(name): tensor for name, tensor in state.items()}, flavour


def to_efficientnet_pytorch(state: Mapping[str, Tensor], architecture: str) -> dict[str, Tensor]:
    """The inverse of `adapt`: a detector's tensors under efficientnet_pytorch's names."""
    inverse = {_detector_name(f"{timm}."): f"{original}." for original, timm in _TOP.items()}
    for number, (stage, index) in enumerate(_block_indices(architecture)):
        for original, timm in (_LATER_STAGES if stage else _FIRST_STAGE).items():
            inverse[_detector_name(f"blocks.{stage}.{index}.{timm}.")] = f"_blocks.{number}.{original}."
    renamed = {}
    for name, tensor in state.items():
        module, _, leaf = name.rpartition(".")
        renamed[f"{inverse[f'{module}.']}{leaf}"] = tensor
    return renamed


def recognise(state: Mapping[str, Tensor]) -> str | None:
    """The architecture with this many blocks and this wide a head, from a checkpoint under either names."""
    matches = (re.match(r"_blocks\.(\d{1,3})\.|blocks\.(\d{1,3}\.\d{1,3})\.", name) for name in state)
    blocks = len({match[0] for match in matches if match})
    head = state.get("_fc.weight", state.get("classifier.weight"))
    for size, (_, width) in _DEPTH_AND_HEAD.items():
        if head is not None and head.ndim == 2 and len(_block_indices(size)) == blocks and head.shape[-1] == width:
            return f"efficientnet_{size}"
    return None


# -------------------------------------------------------------------------------------- the names
# Depth multiplier and channels of the last feature map (Tan & Le, ICML 2019).
_DEPTH_AND_HEAD = {
    "b0": (1.0, 1280), "b1": (1.1, 1280), "b2": (1.2, 1408), "b3": (1.4, 1536),
    "b4": (1.8, 1792), "b5": (2.2, 2048), "b6": (2.6, 2304), "b7": (3.1, 2560),
}  # fmt: skip
_TOP = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_SQUEEZE = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}
# The first stage has no expansion, so its convolutions and norms are numbered one lower.
_FIRST_STAGE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"} | _SQUEEZE
_LATER_STAGES = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
    "_project_conv": "conv_pwl", "_bn2": "bn3",
} | _SQUEEZE  # fmt: skip


def _block_indices(architecture: str) -> list[tuple[int, int]]:
    """Per block of efficientnet_pytorch, in order: (stage, index in the stage) in timm."""
    size = architecture.rpartition("_")[2]
    depth, _ = _DEPTH_AND_HEAD[size]
    repeats = (math.ceil(depth * n) for n in (1, 2, 2, 3, 3, 4, 1))
    return [(stage, index) for stage, count in enumerate(repeats) for index in range(count)]


def _timm_name(name: str, blocks: list[tuple[int, int]]) -> str:
    match = re.fullmatch(r"_blocks\.(\d{1,3})\.(\w+)\.(.*)", name)
    if match and int(match[1]) < len(blocks):
        stage, index = blocks[int(match[1])]
        part = (_LATER_STAGES if stage else _FIRST_STAGE).get(match[2], match[2])
        return f"blocks.{stage}.{index}.{part}.{match[3]}"
    top, _, leaf = name.partition(".")
    return f"{_TOP[top]}.{leaf}" if top in _TOP else name


def _detector_name(name: str) -> str:
    return f"head.{name[len('classifier.') :]}" if name.startswith("classifier.") else f"backbone.{name}"


# ------------------------------------------------------------------------------------ the padding
def _pad_statically(network: nn.Module, size: int) -> None:
    """Give every strided convolution the padding of its place in a network fed `size` pixels."""
    from torch import nn

    for name, module in list(network.named_modules()):
        if not isinstance(module, nn.Conv2d) or module.stride[0] == 1:
            continue
        halved = math.ceil(size / module.stride[0])
        total = max((halved - 1) * module.stride[0] + module.kernel_size[0] - size, 0)
        network.set_submodule(name, _with_padding(module, total // 2, total - total // 2))
        size = halved


def _with_padding(conv: nn.Conv2d, before: int, after: int) -> nn.Conv2d:
    """A convolution with the weights and geometry of `conv`, padded `before` and `after` on both axes."""
    from torch import nn

    from bench.detectors.detector import StaticPadConv2d

    kind = nn.Conv2d if before == after else StaticPadConv2d
    padded = kind(
        conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride,  # type: ignore[arg-type]
        padding=before if before == after else 0, groups=conv.groups, bias=conv.bias is not None,
    )  # fmt: skip
    padded.weight, padded.bias = conv.weight, conv.bias
    if isinstance(padded, StaticPadConv2d):
        padded.pad = (before, after, before, after)
    return padded
