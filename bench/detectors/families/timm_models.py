"""Every image classifier of timm, as `timm:<name>`.

What works on one follows from what it is made of. Its parts one after another, a mean over positions and one linear
layer: everything does. A plain vision transformer has a map made of its attention, and can be pruned by hidden units
and heads. Any other network is one part: weights can be rounded, and there is a map where it ends in such a mean and
layer too (Inception, Xception41 to 71, HRNet, RepVGG, NFNet, Swin, MaxViT and more), none where it ends in a vector.
Under `quantize: int8` layers stay in float that the network shares or computes with without calling them (queries,
keys and values of BEiT and EVA-02). Networks in which several layers write the logits are refused: those made to be
distilled (LeViT, EfficientFormer, RepViT), CrossViT, VOLO.

Of networks that torchvision has too, checkpoints in its names are read as well. Where its batch norms have an eps of
1e-3 instead of timm's 1e-5, the names tell which, or `flavour:` (`timm`, `torchvision`) does.

So are those of Hugging Face's transformers of a ViT or SigLIP trained as a classifier (`model.safetensors`,
`pytorch_model.bin`). The eps of their layer norms, or their GELU, is another than timm's; names tell it, or `flavour:`
(`timm`, `transformers`) does. Which logit is which `classes:` has to say: a `config.json` beside the file does not
decide, but the message repeats what it calls them.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.detectors.families import Size
from bench.detectors.weights import huggingface_names, torchvision_names
from bench.detectors.weights.schemes import Scheme
from bench.errors import UserError, listed, nearest, quoted

if TYPE_CHECKING:
    from timm.models import PretrainedCfg
    from torch import nn

    from bench.detectors.detector import Detector
    from bench.detectors.offers import Offer
    from bench.records import Preprocessing

PREFIX = "timm:"
ARCHITECTURES = tuple(
    PREFIX + name
    for name in (
        "resnet34", "resnet50", "resnext50_32x4d", "legacy_xception", "mobilenetv3_large_100", "convnext_tiny",
        "efficientnet_lite0", "vit_small_patch16_224",
    )
)  # fmt: skip
"""Those that tests compare with timm; any other name of timm's works too."""
OFFERS: frozenset[Offer] = frozenset({"conv", "linear", "zeros"})
EXAMPLE = "backbone.conv1.weight"

PARTS: dict[str, tuple[str, ...]] = {
    "ResNet": ("conv1", "bn1", "act1", "maxpool", "layer1", "layer2", "layer3", "layer4"),
    "EfficientNet": ("conv_stem", "bn1", "blocks", "conv_head", "bn2"),
    "Xception": (
        *("conv1", "bn1", "act1", "conv2", "bn2", "act2"), *(f"block{number}" for number in range(1, 13)),
        *("conv3", "bn3", "act3", "conv4", "bn4", "act4"),
    ),
    "MobileNetV3": ("conv_stem", "bn1", "blocks"),
    "ConvNeXt": ("stem", "stages", "norm_pre"),
    "RegNet": ("stem", "s1", "s2", "s3", "s4", "final_conv"),
    "DenseNet": ("features",),
}  # fmt: skip
"""The parts that pass a feature map on, up to the mean over its positions, by the class of network."""
# What lies between that mean and the layer of the logits, where something does.
_HIDDEN: dict[str, tuple[str, ...]] = {
    "MobileNetV3": ("conv_head", "norm_head", "act2", "flatten"),
    "ConvNeXt": ("head.norm", "head.flatten", "head.pre_logits"),
}


# timm's modules that split or stack channels by numbers of their own, or hold a filter for each: not to be narrowed.
_COUNTING = frozenset({"SelectiveKernel", "SplitAttn", "MixedConv2d", "Bottle2neck", "BlurPool2d"})
# What a network's shape decides, and older code or other projects save beside its weights.
_CONSTANTS = ("relative_position_index", "attn_mask")


def refuse_unknown(architecture: str) -> None:
    """Raise `UserError` where timm has no network of this name."""
    name = architecture.removeprefix(PREFIX)
    if name in _table():
        return
    import timm

    if "." in name or not timm.is_model(name) or name in timm.models.get_deprecated_models():
        raise UserError(f"unknown architecture {quoted(architecture)}: timm {timm.__version__} {_what_it_has(name)}")


def _what_it_has(name: str) -> str:
    """What timm has in place of a name that it does not have, or has no longer."""
    import timm

    names, renamed = timm.list_models(), timm.models.get_deprecated_models()
    word = name.partition(".")[0]
    current = (renamed.get(word) or word).partition(".")[0]
    if current in names:
        behind = " (without the name of pretrained weights behind a dot)" if "." in name else ""
        return f"calls it {quoted(PREFIX + current)}{behind}"
    is_torchvisions = any(word in words.split() for words in torchvision_names.SYNONYMS.values())
    beginning = [other for other in names if word and other.startswith(word) and not is_torchvisions]
    close = nearest(name, names, torchvision_names.SYNONYMS)
    return f"has no such network{f'; names that begin so: {listed(beginning, 6)}' if beginning else close}"


def offers(architecture: str) -> frozenset[Offer]:
    """What a network offers; built, without memory, only where it is newer than the table."""
    row = _table().get(architecture.removeprefix(PREFIX))
    return frozenset(row[0]) if row else offers_of(_untrained(architecture))


def version_for(architecture: str) -> int:
    """2 of networks that are one part and end in a map: earlier, they ended in a vector."""
    offered = offers(architecture)
    return 2 if "cam" in offered and not offered & {"chain", "widths"} else 1


def size(architecture: str) -> Size | None:
    """Its size by the table."""
    row = _table().get(architecture.removeprefix(PREFIX))
    return Size(row[1], row[2]) if row else None


def build(architecture: str, flavour: str, preprocessing: Preprocessing) -> Detector:
    """An untrained two-class detector of this architecture, in evaluation mode.

    Raises `UserError` where the network does not take frames of this size.
    """
    from torch import nn

    from bench.detectors.detector import Detector
    from bench.detectors.heads.class_token import ClassToken
    from bench.detectors.heads.gap_linear import GapLinear
    from bench.detectors.heads.linear import Linear
    from bench.detectors.networks import feature_maps, vision_transformer

    network = _network(architecture, flavour, preprocessing.size)
    name, classifier = _classifier(architecture, network)
    if (head := _head_over_means(network, classifier)) is not None:
        parts = [name for name in PARTS[type(network).__name__] if hasattr(network, name)]
        backbone: nn.Module = nn.Sequential(OrderedDict((name, network.get_submodule(name)) for name in parts))
    elif vision_transformer.is_plain(network):
        head = ClassToken.of(classifier)
        backbone = vision_transformer.TokenNetwork.of(network)
    elif feature_maps.is_averaged(network, classifier):
        head, backbone = GapLinear.of(classifier), feature_maps.without_head(network, name)
    else:
        head = Linear.of(classifier)
        network.set_submodule(name, nn.Identity())
        backbone = network
    return Detector(architecture, flavour, preprocessing, backbone, head).eval()


def _classifier(architecture: str, network: Any) -> tuple[str, nn.Linear | nn.Conv2d]:
    """The layer that writes the logits, and its name.

    Raises `UserError` where several layers do, whose logits the network combines.
    """
    from torch import nn

    names = _settings(architecture).classifier or ""
    layer = network.get_classifier() if hasattr(network, "get_classifier") else None
    if not isinstance(names, str) or isinstance(layer, (tuple, nn.ModuleList)):
        listed = f" ({', '.join(names)})" if isinstance(names, tuple) else ""
        raise UserError(
            f"{architecture}: several layers write its logits{listed}, and bench needs a network in which one does; "
            "export yours to ONNX and give that file (`architecture: onnx`)"
        )
    # What timm calls the classifier may have layers before that of the logits.
    if not isinstance(layer, (nn.Linear, nn.Conv2d)) and names:
        layer = network.get_submodule(names)
    if not isinstance(layer, (nn.Linear, nn.Conv2d)):
        raise UserError(f"{architecture}: its logits do not come from one linear layer, which bench needs")
    return next(name for name, module in network.named_modules() if module is layer), layer


def _head_over_means(network: Any, classifier: nn.Module) -> Any:
    """The head of a network that averages a feature map over its positions; None where it does not, or is unknown."""
    from torch import nn

    from bench.detectors.heads.gap_linear import GapLinear
    from bench.detectors.heads.pool_mlp import PoolMlp, unknown_layers

    kind = type(network).__name__
    pool = getattr(network, "global_pool", None) or getattr(network.head, "global_pool", None)
    if kind not in PARTS or getattr(pool, "pool_type", "") != "avg" or not isinstance(classifier, nn.Linear):
        return None
    if kind not in _HIDDEN:
        return GapLinear.of(classifier)
    modules = dict(network.named_modules())
    hidden = {name.rpartition(".")[2]: modules[name] for name in _HIDDEN[kind] if name in modules}
    layers = nn.Sequential(OrderedDict(hidden | {"classifier": classifier}))
    return None if unknown_layers(layers) else PoolMlp(layers)


def schemes(architecture: str) -> tuple[Scheme, ...]:
    """timm's names, behind any prefix, and torchvision's where it has the network under others."""
    named = _settings(architecture).classifier
    classifier = named if isinstance(named, str) else next(iter(named or ()), "")
    # What lies before the classifier is called like it where both lie in one part, and stands by itself otherwise.
    before = f"{classifier.rpartition('.')[0]}." if "." in classifier else ""

    def rename(name: str) -> str:
        return name.replace("head.layers.", before).removeprefix("backbone.")

    name = architecture.removeprefix(PREFIX)
    usual = "timm" if flavours(architecture) else ""
    of_torchvision = torchvision_names.scheme(name, rename)
    apart = torchvision_names.taken_apart if torchvision_names.is_taken_apart(name) else None
    return (
        Scheme("timm", rename, classifier, flavour=usual, constants=_CONSTANTS, apart=apart),
        *((replace(of_torchvision, flavour=of_torchvision.flavour or usual),) if of_torchvision else ()),
        *huggingface_names.schemes(name, rename),
    )


def flavours(architecture: str) -> dict[str, str]:
    """What `flavour:` may be: of networks to which torchvision or transformers gave another eps or activation."""
    name = architecture.removeprefix(PREFIX)
    if eps := torchvision_names.eps(name):
        return {"timm": "batch-norm eps 1e-5, as timm's", "torchvision": f"batch-norm eps {eps}, as torchvision's"}
    return huggingface_names.flavours(name)


def alike(names: Collection[str]) -> Iterator[str]:
    """The architectures, listed or not, that tensors of such names could be of."""
    like = (*torchvision_names.alike(names), *huggingface_names.alike(names, _table()))
    return (f"{PREFIX}{name}" for name in like)


def synonyms() -> Mapping[str, str]:
    """What torchvision and timm call a network, by its architecture."""
    return {f"{PREFIX}{name}": f"{name} {other}" for name, other in torchvision_names.SYNONYMS.items()}


def offers_of(detector: Detector) -> frozenset[Offer]:
    """What a detector of this family offers, by what it is made of."""
    from torch import nn

    from bench.detectors.heads.linear import Linear
    from bench.detectors.networks.standardised import is_standardised

    layers, is_chain = detector.weighted_layers().values(), len(detector.stages()) > 1
    offered: dict[Offer, bool] = {
        "chain": is_chain,
        "widths": (is_chain and _has_cuttable_widths(detector)) or bool(detector.attentions()),
        "conv": any(isinstance(layer, nn.Conv2d) for layer in layers),
        "linear": any(isinstance(layer, nn.Linear) for layer in layers),
        "cam": type(detector.head) is not Linear,
        "zeros": not any(map(is_standardised, layers)),
    }
    return frozenset(offer for offer, is_there in offered.items() if is_there)


def _has_cuttable_widths(detector: Detector) -> bool:
    """Whether all that has numbers is a convolution or a batch norm, and none of it counts its channels itself.

    Other norms and scales can't be cut with those.
    """
    from torch import nn

    kinds = (nn.Conv2d, nn.BatchNorm2d)
    modules = [module for _, stage in detector.stages() for module in stage.modules()]
    weighted = all(isinstance(module, kinds) for module in modules if list(module.parameters(recurse=False)))
    return weighted and not any(type(module).__name__ in _COUNTING for module in modules)


# ------------------------------------------------------------------------------------ timm's networks
def _network(architecture: str, flavour: str, size: int) -> Any:
    """timm's network with two classes, for frames of this many pixels where it has to know."""
    import timm

    refuse_unknown(architecture)
    name = architecture.removeprefix(PREFIX)
    settings: dict[str, Any] = {"img_size": size} if _settings(architecture).fixed_input_size else {}
    if flavour == torchvision_names.OWNER:
        settings["bn_eps"] = float(torchvision_names.eps(name))
    elif flavour == huggingface_names.OWNER:
        settings |= huggingface_names.settings(name)
    try:
        return timm.create_model(name, pretrained=False, num_classes=2, **settings)
    except (AssertionError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"timm cannot make {name} for frames of {size} px: {error}") from error


def _settings(architecture: str) -> PretrainedCfg:
    """What timm says of a network: the name of its classifier, the size of its frames and whether that is fixed."""
    import timm

    name = architecture.removeprefix(PREFIX)
    return timm.get_pretrained_cfg(name, allow_unregistered=True) or timm.models.PretrainedCfg()


def _untrained(architecture: str) -> Detector:
    """A detector that takes no memory."""
    import torch

    from bench.records import Preprocessing

    with torch.device("meta"):
        return build(architecture, "", Preprocessing(size=native_size(architecture)))


def native_size(architecture: str) -> int:
    """The side in pixels of the frames that timm gives for a network."""
    return int(_settings(architecture).input_size[-1])


@cache
def _table() -> dict[str, tuple[list[Offer], float, float]]:
    """By timm's name: what the network offers, its `Size.macs` and its `Size.parameters`.

    `tools/timm_models.py` writes it, so that a plan needs no PyTorch.
    """
    table: dict[str, tuple[list[Offer], float, float]] = json.loads(
        (Path(__file__).parent / "timm_models.json").read_text(encoding="utf-8")
    )
    return table
