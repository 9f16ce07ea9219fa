"""EfficientNet B0 to B7.

Built on timm, with the names and the arithmetic of every code that trains them for this.

Flavours share one set of weights and differ in how strided convolutions are padded and in batch norms' eps. With
`tf_` before the architecture, that of names of timm and of the DFDC winner is `tf`.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.detectors.families import Size
from bench.detectors.weights.schemes import Scheme
from bench.detectors.weights.torchvision_names import taken_apart

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bench.detectors.detector import Detector
    from bench.detectors.offers import Offer
    from bench.records import Preprocessing

NATIVE_SIZE = {"b0": 224, "b1": 240, "b2": 260, "b3": 300, "b4": 380, "b5": 456, "b6": 528, "b7": 600}
_PREFIXES = ("", "tf_")
ARCHITECTURES = tuple(f"{prefix}efficientnet_{size}" for prefix in _PREFIXES for size in NATIVE_SIZE)
OFFERS: frozenset[Offer] = frozenset({"chain", "widths", "conv", "linear", "cam", "zeros"})
EXAMPLE, TYPICAL = "backbone.conv_stem.weight", "efficientnet_b4"
_OF_DFDC_WINNER = ("b2", "b3", "b4", "b5", "b6", "b7")

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
    symmetric = flavour in ("timm", "torchvision")
    settings: dict[str, Any] = {"bn_eps": float(_torchvision_eps(size))} if flavour == "torchvision" else {}
    network = timm.create_model(
        f"efficientnet_{size}" if symmetric else f"tf_efficientnet_{size}", pretrained=False, num_classes=2, **settings
    )
    if flavour.startswith(("static", "deepfakebench")):
        _pad_statically(network, _static_size(size, flavour), pads_stem=flavour != "deepfakebench")
    stages = ("conv_stem", "bn1", "blocks", "conv_head", "bn2")
    backbone = nn.Sequential(OrderedDict((name, getattr(network, name)) for name in stages))
    classifier = network.get_submodule("classifier")
    assert isinstance(classifier, nn.Linear)
    return Detector(architecture, flavour, preprocessing, backbone, GapLinear.of(classifier)).eval()


def flavours(architecture: str) -> dict[str, str]:
    """What `flavour:` may be, and what each means."""
    size = architecture.rpartition("_")[2]
    return {
        "timm": "symmetric padding, batch-norm eps 1e-5, as timm's efficientnet_b0 … b7 without tf_ before it",
        "tf": "padding worked out from the input, batch-norm eps 1e-3, as timm's tf_efficientnet_b0 … b7 (those "
        "of the DFDC winner) and efficientnet_pytorch with image_size=None",
        "torchvision": f"symmetric padding, batch-norm eps {_torchvision_eps(size)}, as torchvision's",
        "static": f"padding worked out once, for {NATIVE_SIZE[size]} px, batch-norm eps 1e-3, as efficientnet_pytorch "
        "does unless it is given an image_size",
        "static-<size>": "padding worked out once, for <size> px, batch-norm eps 1e-3, as "
        "efficientnet_pytorch does with image_size=<size>",
        "deepfakebench": "as static, but the first convolution without padding, as DeepfakeBench's",
    }


def schemes(architecture: str) -> tuple[Scheme, ...]:
    """The names of all code that trains EfficientNets for this."""

    def original(name: str) -> str:
        return _efficientnet_pytorch_name(name, blocks)

    blocks = _numbers(architecture)
    of_timm, by_name = ("tf" if architecture.startswith("tf_") else "timm"), "`architecture:`"
    # Whose B2 to B7 are timm's tf_efficientnet_b2 to b7, but people who take over the code take other networks too.
    is_told = architecture.startswith("tf_") or not architecture.endswith(_OF_DFDC_WINNER)
    # `self.encoder` and `self.efficientnet` are anybody's names: of networks that these two never published, nothing
    # tells what the logit speaks for.
    of_winner, of_icpr = architecture.endswith(("b5", "b7")), architecture.endswith("b4")
    return (
        Scheme("timm", _timm_name, head="classifier", flavour=of_timm, flavour_by=by_name),
        Scheme("torchvision", _torchvision_name, head="classifier.1", flavour="torchvision", apart=taken_apart),
        Scheme("FSBI and SBI", lambda name: f"net.{original(name)}", head="net._fc", flavour="static"),
        Scheme("efficientnet_pytorch", original, head="_fc"),
        Scheme(
            "DeepfakeBench", lambda name: f"efficientnet.{original(name)}", head="last_layer", flavour="deepfakebench"
        ),
        Scheme(
            "the DFDC winner (selimsef)", lambda name: f"encoder.{_timm_name(name)}", head="fc",
            flavour=of_timm if is_told else None, flavour_by=by_name, positive="fake", published=of_winner,
            unused=("encoder.classifier.",),
            unknown=(("srm_conv.", "a filter before the network"), ("avg_pool.", "a weighted pooling")),
        ),
        Scheme(
            "ICPR 2020 (polimi-ispl)", lambda name: f"efficientnet.{original(name)}", head="classifier",
            flavour="static" if of_icpr else None, positive="fake", published=of_icpr,
            unknown=(("efficientnet.attconv.", "a layer of attention"),),
        ),
        Scheme("bench", str),
    )  # fmt: skip


def to_fsbi(state: Mapping[str, Tensor], architecture: str) -> dict[str, Tensor]:
    """A detector's tensors under the names of FSBI's and SBI's checkpoints, which tell the flavour `static`."""
    blocks = _numbers(architecture)
    return {
        f"net._fc.{name.removeprefix('head.')}"
        if name.startswith("head.")
        else f"net.{_efficientnet_pytorch_name(name, blocks)}": tensor
        for name, tensor in state.items()
    }


# -------------------------------------------------------------------------------------- the names
# Depth multipliers (Tan & Le, ICML 2019).
_DEPTH = {"b0": 1.0, "b1": 1.1, "b2": 1.2, "b3": 1.4, "b4": 1.8, "b5": 2.2, "b6": 2.6, "b7": 3.1}
_TOP = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}
_SQUEEZE = {"se.conv_reduce": "_se_reduce", "se.conv_expand": "_se_expand"}
# The first stage has no expansion, so its convolutions and norms are numbered one lower.
_FIRST_STAGE = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"} | _SQUEEZE
_LATER_STAGES = {
    "conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1",
    "conv_pwl": "_project_conv", "bn3": "_bn2",
} | _SQUEEZE  # fmt: skip
_TORCHVISION_TOP = {"conv_stem": "0.0", "bn1": "0.1", "conv_head": "8.0", "bn2": "8.1"}
_TORCHVISION_FIRST = {
    "conv_dw": "0.0", "bn1": "0.1", "se.conv_reduce": "1.fc1", "se.conv_expand": "1.fc2", "conv_pw": "2.0",
    "bn2": "2.1",
}  # fmt: skip
_TORCHVISION_LATER = {
    "conv_pw": "0.0", "bn1": "0.1", "conv_dw": "1.0", "bn2": "1.1", "se.conv_reduce": "2.fc1",
    "se.conv_expand": "2.fc2", "conv_pwl": "3.0", "bn3": "3.1",
}  # fmt: skip
_IN_BLOCK = re.compile(r"blocks\.(\d+)\.(\d+)\.(.+)\.(\w+)")


def _numbers(architecture: str) -> dict[tuple[int, int], int]:
    """The number of efficientnet_pytorch's block by (stage, index in the stage)."""
    repeats = [math.ceil(_DEPTH[architecture.rpartition("_")[2]] * n) for n in (1, 2, 2, 3, 3, 4, 1)]
    blocks = [(stage, index) for stage, count in enumerate(repeats) for index in range(count)]
    return {block: number for number, block in enumerate(blocks)}


def _timm_name(name: str) -> str:
    return name.removeprefix("backbone.")


def _efficientnet_pytorch_name(name: str, blocks: Mapping[tuple[int, int], int]) -> str:
    name = _timm_name(name)
    if match := _IN_BLOCK.fullmatch(name):
        stage, index = int(match[1]), int(match[2])
        return f"_blocks.{blocks[stage, index]}.{_part(match, _FIRST_STAGE, _LATER_STAGES)}"
    return _at_top(name, _TOP)


def _torchvision_name(name: str) -> str:
    name = _timm_name(name)
    if match := _IN_BLOCK.fullmatch(name):
        part = _part(match, _TORCHVISION_FIRST, _TORCHVISION_LATER)
        return f"features.{int(match[1]) + 1}.{match[2]}.block.{part}"
    return f"features.{_at_top(name, _TORCHVISION_TOP)}"


def _part(match: re.Match[str], first: Mapping[str, str], later: Mapping[str, str]) -> str:
    """What a tensor in a block is called there, by the names of the first stage's parts and of later ones'."""
    return f"{(later if int(match[1]) else first)[match[3]]}.{match[4]}"


def _at_top(name: str, layers: Mapping[str, str]) -> str:
    layer, _, leaf = name.rpartition(".")
    return f"{layers.get(layer, layer)}.{leaf}"


def stage_name(architecture: str, name: str) -> str:
    """What efficientnet_pytorch calls a part of the network, with the number of its block in two digits."""
    if match := re.fullmatch(r"backbone\.blocks\.(\d+)\.(\d+)", name):
        return f"block_{_numbers(architecture)[int(match[1]), int(match[2])]:02d}"
    if name.startswith("head."):
        return {"flatten": "dropout", "logits": "fc"}.get(name.removeprefix("head."), name.removeprefix("head."))
    return _TOP.get(_timm_name(name), name).removeprefix("_")


# ------------------------------------------------------------------------------------ the arithmetic
def _torchvision_eps(size: str) -> str:
    """As people write it."""
    return "1e-3" if size in ("b5", "b6", "b7") else "1e-5"


def _static_size(size: str, flavour: str) -> int:
    """The pixels that pads are worked out for."""
    return int(flavour.removeprefix("static-")) if flavour.startswith("static-") else NATIVE_SIZE[size]


def _pad_statically(network: nn.Module, size: int, *, pads_stem: bool = True) -> None:
    """Give every strided convolution the padding of its place in a network fed `size` pixels."""
    from torch import nn

    for name, module in list(network.named_modules()):
        if not isinstance(module, nn.Conv2d) or module.stride[0] == 1:
            continue
        halved = math.ceil(size / module.stride[0])
        total = max((halved - 1) * module.stride[0] + module.kernel_size[0] - size, 0)
        if name == "conv_stem" and not pads_stem:
            total = 0
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
