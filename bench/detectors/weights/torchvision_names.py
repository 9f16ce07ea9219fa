"""torchvision's names of the tensors of networks that timm has too, from timm's names.

ResNets and DenseNets have the same names in both; EfficientNets are a family of `bench`'s.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, TypeAlias

from bench.detectors.weights.schemes import Scheme, Shapes

if TYPE_CHECKING:
    from torch import Tensor

Rename: TypeAlias = Callable[[str], str]
_Axes: TypeAlias = Mapping[str, int]

OWNER = "torchvision"


@dataclass(frozen=True)
class Kind:
    """How torchvision calls what a kind of network holds.

    `rename` turns timm's name of a tensor into torchvision's, None where these are the same; `head` is torchvision's
    layer of the logits. `example` is a tensor that all of the kind hold, as timm calls it. `eps` is that of
    torchvision's batch norms, where timm's differ. `constants` are last parts of names of tensors that follow from a
    network's shape. `axes` tells of tensors, by an end of timm's name, how many axes of length 1 torchvision has
    behind timm's; below zero, how many less. `side_step` is that of `Scheme`.
    """

    rename: Rename | None
    head: str
    example: str
    eps: str = ""
    constants: tuple[str, ...] = ()
    axes: _Axes = field(default_factory=dict)
    side_step: int = 1


def scheme(name: str, to_timm: Rename) -> Scheme | None:
    """How torchvision names what timm's network `name` holds; None where it has no such network, or the same names.

    `to_timm` turns a tensor's name in the detector into timm's.
    """
    kind = NETWORKS[name][1] if name in NETWORKS else None
    if kind is None or (rename := kind.rename) is None:
        return None
    return Scheme(
        OWNER,
        lambda tensor: rename(to_timm(tensor)),
        kind.head,
        flavour=OWNER if kind.eps else "",
        constants=kind.constants,
        side_step=kind.side_step,
        apart=taken_apart,
        stored=partial(_stored, axes=kind.axes),
        made=partial(_made, axes=kind.axes),
    )


def taken_apart(name: str) -> str:
    """A tensor's name where the part that reads frames, or a ResNet's children, were taken out of the network."""
    first, _, rest = name.partition(".")
    return rest if first == "features" else f"{_CHILDREN.get(first, first)}.{rest}"


def is_taken_apart(name: str) -> bool:
    """Whether timm's names of network `name` are torchvision's, of which people take parts."""
    return name in NETWORKS and NETWORKS[name][1].rename is None


def eps(name: str) -> str:
    """That of torchvision's batch norms, as people write it; empty where timm's network `name` has the same."""
    return NETWORKS[name][1].eps if name in NETWORKS else ""


def alike(names: Collection[str]) -> Iterator[str]:
    """timm's names of the networks that tensors of such names could be of, in timm's naming or in torchvision's."""
    kinds = list({id(kind): kind for _, kind in NETWORKS.values()}.values())
    examples = {id(kind): (kind.example, kind.rename(kind.example) if kind.rename else "") for kind in kinds}
    in_file = {id(kind) for kind in kinds if any(_ends_in(name, examples[id(kind)]) for name in names)}
    return (name for name, (_, kind) in NETWORKS.items() if id(kind) in in_file)


def _ends_in(name: str, ends: Sequence[str]) -> bool:
    return any(end and f".{name}".endswith(f".{end}") for end in ends)


# Of a ResNet in a sequence; between them lie parts without weights.
_CHILDREN = {"conv1": "0", "bn1": "1", **{f"layer{stage}": str(stage + 3) for stage in (1, 2, 3, 4)}}


# ------------------------------------------------------------------------------------------- axes
def _stored(shapes: Shapes, axes: _Axes) -> Shapes:
    return {name: _shape(shape, _more(name, axes)) for name, shape in shapes.items()}


def _made(tensors: Mapping[str, Tensor], axes: _Axes) -> Mapping[str, Tensor]:
    return {name: tensor.reshape(_shape(tuple(tensor.shape), -_more(name, axes))) for name, tensor in tensors.items()}


def _more(name: str, axes: _Axes) -> int:
    return next((more for end, more in axes.items() if name.endswith(end)), 0)


def _shape(shape: tuple[int, ...], more: int) -> tuple[int, ...]:
    return shape[:more] if more < 0 else (*shape, *(1,) * more)


# ------------------------------------------------------------------------------------------ names
_IN_BLOCK = re.compile(r"(?:blocks|stages|layers|s)\.?(\d+)\.(?:blocks\.|b)?(\d+)\.(.+)\.(\w+)")
_BETWEEN = re.compile(r"(?:stages|layers)\.(\d+)\.downsample\.(.+)")


def _renamed(name: str, layers: Mapping[str, str]) -> str:
    """A tensor's name with that of its layer, where it is among these, in the place of timm's."""
    layer, dot, leaf = name.rpartition(".")
    return f"{layers.get(layer, layer)}{dot}{leaf}" if layer else layers.get(leaf, leaf)


def _of_stages(name: str, *, top: Mapping[str, str], in_block: Mapping[str, str]) -> str:
    """Of networks whose stages and what lies between them are numbered in turn."""
    if match := _BETWEEN.fullmatch(name):
        return f"features.{2 * int(match[1])}.{match[2]}"
    if match := _IN_BLOCK.fullmatch(name):
        return f"features.{2 * int(match[1]) + 1}.{match[2]}.{_renamed(f'{match[3]}.{match[4]}', in_block)}"
    if match := re.fullmatch(r"stages\.(\d+)\.blocks\.(\d+)\.gamma", name):
        return f"features.{2 * int(match[1]) + 1}.{match[2]}.layer_scale"
    return _renamed(name, top)


_CONVNEXT = Kind(
    partial(
        _of_stages,
        top={"stem.0": "features.0.0", "stem.1": "features.0.1", "head.norm": "classifier.0"},
        in_block={"conv_dw": "block.0", "norm": "block.2", "mlp.fc1": "block.3", "mlp.fc2": "block.5"},
    ),
    head="classifier.2",
    example="stages.0.blocks.0.gamma",
    axes={".gamma": 2},
)
_SWIN = Kind(
    partial(
        _of_stages,
        top={"patch_embed.proj": "features.0.0", "patch_embed.norm": "features.0.2"},
        in_block={"mlp.fc1": "mlp.0", "mlp.fc2": "mlp.3"},
    ),
    head="head",
    example="layers.0.blocks.0.attn.relative_position_bias_table",
    constants=("relative_position_index",),
    # Where windows of 7 x 7 do not divide every map, torchvision fills these up before it shifts them, timm after.
    side_step=224,
)


def _of_encoder(name: str) -> str:
    if match := re.fullmatch(r"blocks\.(\d+)\.(.+)", name):
        inner = _renamed(match[2], _IN_ENCODER).replace("self_attention.in_proj.", "self_attention.in_proj_")
        return f"encoder.layers.encoder_layer_{match[1]}.{inner}"
    return _renamed(name, _AROUND_ENCODER)


_AROUND_ENCODER = {
    "cls_token": "class_token", "pos_embed": "encoder.pos_embedding", "patch_embed.proj": "conv_proj",
    "norm": "encoder.ln",
}  # fmt: skip
_IN_ENCODER = {
    "norm1": "ln_1", "attn.qkv": "self_attention.in_proj", "attn.proj": "self_attention.out_proj", "norm2": "ln_2",
    "mlp.fc1": "mlp.0", "mlp.fc2": "mlp.3",
}  # fmt: skip
_VIT = Kind(_of_encoder, head="heads.head", example="blocks.0.attn.qkv.weight")


def _of_regnet(name: str) -> str:
    if match := _IN_BLOCK.fullmatch(name):
        inner = _renamed(f"{match[3]}.{match[4]}", _IN_REGNET)
        return f"trunk_output.block{match[1]}.block{match[1]}-{int(match[2]) - 1}.{inner}"
    return _renamed(name, {"stem.conv": "stem.0", "stem.bn": "stem.1"})


_IN_REGNET = {
    "downsample.conv": "proj.0", "downsample.bn": "proj.1", "se.fc1": "f.se.fc1", "se.fc2": "f.se.fc2",
} | {
    f"conv{number}.{part}": f"f.{letter}.{index}"
    for number, letter in enumerate("abc", 1)
    for index, part in enumerate(("conv", "bn"))
}  # fmt: skip
_REGNET = Kind(_of_regnet, head="fc", example="s1.b1.conv1.conv.weight")

_SQUEEZE = {"se.conv_reduce": "fc1", "se.conv_expand": "fc2"}


def _of_mobilenetv3(name: str, repeats: Sequence[int], squeezed: frozenset[int]) -> str:
    """`repeats` are blocks a stage, the last of which is a convolution; `squeezed` the stages with squeeze-excite."""
    last = len(repeats)
    match = _IN_BLOCK.fullmatch(name)
    if match is None:
        return _renamed(name, {"conv_stem": "features.0.0", "bn1": "features.0.1", "conv_head": "classifier.0"})
    stage = int(match[1])
    number = f"features.{_numbers(repeats)[stage] + int(match[2])}"
    if stage == last:
        return f"{number}.{_renamed(f'{match[3]}.{match[4]}', {'conv': '0', 'bn1': '1'})}"
    layers = [] if stage == 0 else [("conv_pw", "bn1")]
    layers += [("conv_dw", f"bn{len(layers) + 1}")]
    squeeze = len(layers)
    layers += [("se", "se")] * (stage in squeezed) + [("conv_pwl" if stage else "conv_pw", f"bn{len(layers) + 1}")]
    parts = {
        part: f"{index}.{leaf}" for index, layer in enumerate(layers) for leaf, part in enumerate(layer) if part != "se"
    } | {part: f"{squeeze}.{inner}" for part, inner in _SQUEEZE.items()}
    return f"{number}.block.{_renamed(f'{match[3]}.{match[4]}', parts)}"


def _of_mobilenetv2(name: str) -> str:
    match = _IN_BLOCK.fullmatch(name)
    if match is None:
        top = {"conv_stem": "features.0.0", "bn1": "features.0.1", "conv_head": "features.18.0", "bn2": "features.18.1"}
        return _renamed(name, top)
    inner = _renamed(f"{match[3]}.{match[4]}", _IN_MOBILENETV2 if int(match[1]) else _FIRST_OF_MOBILENETV2)
    return f"features.{_numbers((1, 2, 3, 4, 3, 3, 1))[int(match[1])] + int(match[2])}.conv.{inner}"


_FIRST_OF_MOBILENETV2 = {"conv_dw": "0.0", "bn1": "0.1", "conv_pw": "1", "bn2": "2"}
_IN_MOBILENETV2 = {"conv_pw": "0.0", "bn1": "0.1", "conv_dw": "1.0", "bn2": "1.1", "conv_pwl": "2", "bn3": "3"}


def _numbers(repeats: Sequence[int]) -> list[int]:
    """The number of each stage's first block; the stem is 0."""
    return [1, *accumulate(repeats, initial=1)][1:]


def _of_efficientnetv2(name: str, stages: int) -> str:
    match = _IN_BLOCK.fullmatch(name)
    if match is None:
        last = f"features.{stages + 1}"
        top = {"conv_stem": "features.0.0", "bn1": "features.0.1", "conv_head": f"{last}.0", "bn2": f"{last}.1"}
        return _renamed(name, top)
    stage = int(match[1])
    parts = _IN_EFFICIENTNETV2 if stage > _FUSED else _IN_FUSED
    return f"features.{stage + 1}.{match[2]}.block.{_renamed(f'{match[3]}.{match[4]}', parts)}"


# The last stage whose blocks begin with one convolution in the place of two.
_FUSED = 2
_IN_FUSED = {"conv": "0.0", "conv_exp": "0.0", "bn1": "0.1", "conv_pwl": "1.0", "bn2": "1.1"}
_IN_EFFICIENTNETV2 = {
    "conv_pw": "0.0", "bn1": "0.1", "conv_dw": "1.0", "bn2": "1.1", "conv_pwl": "3.0", "bn3": "3.1",
} | {part: f"2.{inner}" for part, inner in _SQUEEZE.items()}  # fmt: skip


# --------------------------------------------------------------------------------------- networks
def _mobilenetv3(repeats: Sequence[int], squeezed: Sequence[int]) -> Kind:
    rename = partial(_of_mobilenetv3, repeats=tuple(repeats), squeezed=frozenset(squeezed))
    return Kind(
        rename, head="classifier.3", example="blocks.1.0.conv_pw.weight", eps="1e-3", axes={".conv_head.weight": -2}
    )


def _efficientnetv2(stages: int) -> Kind:
    rename = partial(_of_efficientnetv2, stages=stages)
    return Kind(rename, head="classifier.1", example="blocks.1.0.conv_exp.weight", eps="1e-3")


_MOBILENETV2 = Kind(_of_mobilenetv2, head="classifier.1", example="blocks.1.0.conv_pw.weight")
_DENSENET = Kind(None, head="classifier", example="features.denseblock1.denselayer1.conv1.weight")
_RESNET = Kind(None, head="fc", example="layer1.0.conv1.weight")


_SIZES = ("tiny", "small", "base", "large")
# By torchvision's size: timm's number, and where its network of this number has other widths, what is behind it.
_REGNETS = {
    "x": {
        "400mf": "004_tv", "800mf": "008", "1_6gf": "016", "3_2gf": "032", "8gf": "080", "16gf": "160", "32gf": "320",
    },
    "y": {
        "400mf": "004", "800mf": "008_tv", "1_6gf": "016", "3_2gf": "032", "8gf": "080_tv", "16gf": "160",
        "32gf": "320", "128gf": "1280",
    },
}  # fmt: skip
_RESNETS = (
    "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "resnext101_32x8d",
    "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2",
)  # fmt: skip

NETWORKS: dict[str, tuple[str, Kind]] = {
    **{f"convnext_{size}": (f"convnext_{size}", _CONVNEXT) for size in _SIZES},
    "efficientnetv2_s": ("efficientnet_v2_s", _efficientnetv2(6)),
    "efficientnetv2_m": ("efficientnet_v2_m", _efficientnetv2(7)),
    "efficientnetv2_l": ("efficientnet_v2_l", _efficientnetv2(7)),
    "mobilenetv2_100": ("mobilenet_v2", _MOBILENETV2),
    "mobilenetv3_small_100": ("mobilenet_v3_small", _mobilenetv3((1, 2, 3, 2, 3), (0, 2, 3, 4))),
    "mobilenetv3_large_100": ("mobilenet_v3_large", _mobilenetv3((1, 2, 3, 4, 2, 3), (2, 4, 5))),
    **{
        f"regnet{axis}_{number}": (f"regnet_{axis}_{size}", _REGNET)
        for axis, numbers in _REGNETS.items()
        for size, number in numbers.items()
    },
    **{f"swin_{size}_patch4_window7_224": (f"swin_{size[0]}", _SWIN) for size in _SIZES[:3]},
    "vit_base_patch16_224": ("vit_b_16", _VIT),
    "vit_base_patch32_224": ("vit_b_32", _VIT),
    "vit_large_patch16_224": ("vit_l_16", _VIT),
    "vit_large_patch32_224": ("vit_l_32", _VIT),
    "vit_huge_patch14_224": ("vit_h_14", _VIT),
    **{f"densenet{layers}": (f"densenet{layers}", _DENSENET) for layers in (121, 161, 169, 201)},
    **{name: (name, _RESNET) for name in _RESNETS},
}
"""torchvision's name of a network by timm's, and how its tensors are called."""

SYNONYMS = {name: other for name, (other, _) in NETWORKS.items()}
"""torchvision's names alone."""
