"""Hugging Face's names of the tensors of vision transformers that timm has too, from timm's names.

What its package transformers trains as `ViTForImageClassification` and `SiglipForImageClassification`, and the vision
tower of its CLIP. Version 5 has other names for a ViT in memory than it writes with `save_pretrained`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from bench.detectors.weights.attention_parts import joined, shapes_apart
from bench.detectors.weights.schemes import Scheme, Shapes

if TYPE_CHECKING:
    from torch import Tensor

Rename: TypeAlias = Callable[[str], str]

OWNER = "transformers"
_IN_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)\.(\w+)")


@dataclass(frozen=True)
class Names:
    """What layers and tensors are called: around the blocks, in front of a block's number, and in a block."""

    around: Mapping[str, str]
    blocks: str
    in_block: Mapping[str, str]

    def rename(self, name: str) -> str:
        """timm's name of a tensor, as such files have it."""
        if match := _IN_BLOCK.fullmatch(name):
            return f"{self.blocks}.{match[1]}.{self.in_block.get(match[2], match[2])}.{match[3]}"
        layer, dot, leaf = name.rpartition(".")
        return self.around.get(name) or f"{self.around.get(layer, layer)}{dot}{leaf}"


_VIT_AROUND = {
    "cls_token": "vit.embeddings.cls_token",
    "pos_embed": "vit.embeddings.position_embeddings",
    "patch_embed.proj": "vit.embeddings.patch_embeddings.projection",
    "norm": "vit.layernorm",
}
_VIT_NORMS = {"norm1": "layernorm_before", "norm2": "layernorm_after"}
_VIT = Names(
    _VIT_AROUND,
    "vit.encoder.layer",
    _VIT_NORMS
    | {f"attn.{word[0]}": f"attention.attention.{word}" for word in ("query", "key", "value")}
    | {"attn.proj": "attention.output.dense", "mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense"},
)
_VIT_IN_MEMORY = Names(
    _VIT_AROUND, "vit.layers", _VIT_NORMS | {f"attn.{part[0]}": f"attention.{part[0]}_proj" for part in "qkv"}
    | {"attn.proj": "attention.o_proj"},
)  # fmt: skip
_IN_TOWER = {
    "norm1": "layer_norm1", "norm2": "layer_norm2", "attn.proj": "self_attn.out_proj",
} | {f"attn.{part}": f"self_attn.{part}_proj" for part in "qkv"}  # fmt: skip
_SIGLIP = Names(
    {
        "pos_embed": "vision_model.embeddings.position_embedding.weight",
        "patch_embed.proj": "vision_model.embeddings.patch_embedding",
        "norm": "vision_model.post_layernorm",
    },
    "vision_model.encoder.layers",
    _IN_TOWER,
)
CLIP = Names(
    {
        "cls_token": "embeddings.class_embedding",
        "pos_embed": "embeddings.position_embedding.weight",
        "patch_embed.proj": "embeddings.patch_embedding",
        "norm_pre": "pre_layrnorm",
        "norm": "post_layernorm",
    },
    "encoder.layers",
    _IN_TOWER,
)
"""Of the vision tower alone."""


@dataclass(frozen=True)
class Kind:
    """A class of transformers, and the networks of timm that compute the same but for what `flavours` name.

    `names` are those in files by whose they are, `networks` what timm's names match; `unused` as of `Scheme`.
    """

    title: str
    names: Mapping[str, Names]
    networks: re.Pattern[str]
    example: str
    flavours: Mapping[str, str]
    unused: tuple[str, ...] = ()


KINDS = (
    Kind(
        "ViTForImageClassification",
        {OWNER: _VIT, f"{OWNER} 5 in memory": _VIT_IN_MEMORY},
        re.compile(r"(vit_(tiny|small|base|large|huge|giant|gigantic)|deit_(tiny|small|base))_patch\d+_\d+"),
        "vit_base_patch16_224",
        {"timm": "layer-norm eps 1e-6, as timm's and torchvision's", OWNER: "layer-norm eps 1e-12, as transformers'"},
    ),
    Kind(
        "SiglipForImageClassification",
        {OWNER: _SIGLIP},
        re.compile(r"vit_(base|large|so400m|giantopt)_patch\d+_siglip_gap_\d+"),
        "vit_base_patch16_siglip_gap_224",
        {"timm": "GELU as timm has it", OWNER: "GELU approximated by tanh, as transformers'"},
        # Its pooling by attention, which the classifier does not read.
        unused=("vision_model.head.",),
    ),
)


# What is in front of the parts of other networks that transformers has, and what these are called.
_OTHERS = {
    "convnext": "ConvNeXt", "convnextv2": "ConvNeXt V2", "swin": "Swin", "swinv2": "Swin V2", "beit": "BEiT",
    "deit": "a distilled DeiT", "dinov2": "DINOv2", "dinov2_with_registers": "DINOv2", "dinov3_vit": "DINOv3",
    "efficientnet": "EfficientNet", "resnet": "ResNet", "regnet": "RegNet", "mobilenet_v1": "MobileNet",
    "mobilenet_v2": "MobileNetV2", "mobilevit": "MobileViT", "mobilevitv2": "MobileViT V2", "cvt": "CvT",
    "focalnet": "FocalNet", "poolformer": "PoolFormer", "pvt": "PVT", "levit": "LeViT", "data2vec_vision": "Data2Vec",
}  # fmt: skip
_OTHER = re.compile(rf"(?:^|\.)({'|'.join(_OTHERS)})\.(?:embeddings|embedder|encoder)\.")
_OF_CLIP = re.compile(r"(?:^|\.)vision_model\.pre_layrnorm\.")


def other_network(names: Collection[str]) -> str:
    """What transformers calls a network of its own that `bench` does not read, by its tensors' names; else empty."""
    if any(_OF_CLIP.search(name) for name in names):
        return "CLIP"
    matches = (_OTHER.search(name) for name in names)
    return next((_OTHERS[match[1]] for match in matches if match), "")


def kind_of(name: str) -> Kind | None:
    """The class of transformers that timm's network `name` is; None where it is none."""
    return next((kind for kind in KINDS if kind.networks.fullmatch(name)), None)


def flavours(name: str) -> dict[str, str]:
    """What `flavour:` may be of timm's network `name`, and what each is; empty where all compute the same."""
    kind = kind_of(name)
    return dict(kind.flavours) if kind else {}


def schemes(name: str, to_timm: Rename) -> tuple[Scheme, ...]:
    """How transformers names what timm's network `name` holds.

    `to_timm` turns a tensor's name in the detector into timm's.
    """
    kind = kind_of(name)
    return tuple(
        Scheme(
            owner, partial(_renamed, names=names, to_timm=to_timm), head="classifier", flavour=OWNER,
            asks_classes=True, unused=kind.unused if kind else (), stored=_stored, made=_made,
        )
        for owner, names in (kind.names.items() if kind else ())
    )  # fmt: skip


def settings(name: str) -> dict[str, Any]:
    """What timm is to be told of its network `name`, so that it computes as transformers does."""
    kind = kind_of(name)
    if kind is None:
        return {}
    if kind.unused:
        return {"act_layer": "gelu_tanh"}
    from timm.layers.norm import LayerNorm

    return {"norm_layer": partial(LayerNorm, eps=1e-12)}


def alike(names: Collection[str], networks: Collection[str]) -> Iterator[str]:
    """Of timm's networks those that tensors of such names could be of, in transformers' naming."""
    for kind in KINDS:
        examples = [other.rename("blocks.0.attn.q.weight") for other in kind.names.values()]
        if any(f".{name}".endswith(f".{example}") for name in names for example in examples):
            ordered = sorted(networks, key=lambda name: (name != kind.example, not name.startswith("vit"), name))
            yield from (name for name in ordered if kind.networks.fullmatch(name))


def _renamed(name: str, names: Names, to_timm: Rename) -> str:
    return names.rename(to_timm(name))


# ------------------------------------------------------------------------------------------- axes
_POSITIONS = "pos_embed"


def _stored(shapes: Shapes) -> Shapes:
    """A SigLIP's positions are an embedding's weights, without an axis for the frame."""
    apart = dict(shapes_apart(shapes))
    if not any(name.endswith("cls_token") for name in apart):
        apart |= {name: shape[1:] for name, shape in apart.items() if name.endswith(_POSITIONS)}
    return apart


def _made(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    whole = joined(tensors)
    for name, tensor in whole.items():
        if name.endswith(_POSITIONS) and tensor.dim() == 2:
            whole[name] = tensor[None]
    return whole
