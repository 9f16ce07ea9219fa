"""Effort: CLIP's vision transformer ViT-L/14, most of it frozen, with a residual of low rank on its attention.

Built on timm's CLIP with QuickGELU, which computes the same. Every weight of the attention lies in a file as a frozen
part and a residual U diag(S) V; they are added up when it is read (Yan et al., Effort, ICML 2025).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.detectors.families import Size
from bench.detectors.weights.attention_parts import joined, parts
from bench.detectors.weights.huggingface_names import CLIP
from bench.detectors.weights.schemes import Scheme, Shapes
from bench.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from bench.detectors.detector import Detector
    from bench.detectors.offers import Offer
    from bench.records import Preprocessing

ARCHITECTURES = ("effort",)
OFFERS: frozenset[Offer] = frozenset({"widths", "conv", "linear", "cam", "zeros"})
EXAMPLE = "backbone.blocks.0.mlp.fc1.weight"
SIZES = {"effort": Size(32.6, 303.2)}

_NETWORK = "vit_large_patch14_clip_quickgelu_224"
_SIZE, _PATCH = 224, 14

_BACKBONE = "backbone."
_PARTS = ("weight_main", "U_residual", "S_residual", "V_residual")


def build(architecture: str, flavour: str, preprocessing: Preprocessing) -> Detector:
    """An untrained two-class detector, in evaluation mode."""
    import timm

    from bench.detectors.detector import Detector
    from bench.detectors.heads.class_token import ClassToken
    from bench.detectors.networks.vision_transformer import TokenNetwork

    network: Any = timm.create_model(_NETWORK, pretrained=False, num_classes=2)
    head = ClassToken.of(network.get_classifier())
    return Detector(architecture, flavour, preprocessing, TokenNetwork.of(network), head).eval()


def check(flavour: str | None, preprocessing: Preprocessing) -> None:
    """Refuse frames of another size than CLIP's, with a `UserError`."""
    if preprocessing.size != _SIZE:
        raise UserError(
            f"preprocessing: size {preprocessing.size} does not fit effort, whose positions are of "
            f"{_SIZE} px: use `preprocessing: effort`, or `size: {_SIZE}`"
        )


def schemes(architecture: str) -> tuple[Scheme, ...]:
    """The names of Effort's code, and those of the network in timm."""
    return (
        Scheme(
            "Effort", _effort_name, head="head", flavour="", unused=("backbone.embeddings.position_ids",),
            stored=_stored, made=_made,
        ),
        Scheme("timm", lambda name: name.removeprefix(_BACKBONE), head="head", flavour=""),
    )  # fmt: skip


def _effort_name(name: str) -> str:
    return _BACKBONE + CLIP.rename(name.removeprefix(_BACKBONE))


# -------------------------------------------------------------------------------- tensors that lie in parts
def _stored(shapes: Shapes) -> Shapes:
    """The shapes of what a file holds instead of a network's tensors, of rank 1 where there is a residual."""
    stored: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        layer, _, leaf = name.rpartition(".")
        if layer.endswith((".attn.qkv", ".attn.proj")):
            for part in parts(layer):
                outputs = shape[0] // len(parts(layer))
                stored |= {f"{part}.bias": (outputs,)} if leaf == "bias" else _in_parts(part, outputs, shape[1])
        elif name == "backbone.cls_token":
            stored[name] = shape[-1:]
        elif name == "backbone.pos_embed":
            stored[name] = shape[1:]
        else:
            stored[name] = shape
    return stored


def _in_parts(layer: str, outputs: int, inputs: int) -> Shapes:
    shapes = ((outputs, inputs), (outputs, 1), (1,), (1, inputs))
    return {f"{layer}.{part}": shape for part, shape in zip(_PARTS, shapes, strict=True)}


def _made(given: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """A network's tensors: residuals added, query, key and value one after another."""
    tensors = joined(_with_residuals(given))
    tensors["backbone.cls_token"] = tensors["backbone.cls_token"][None, None]
    tensors["backbone.pos_embed"] = tensors["backbone.pos_embed"][None]
    return tensors


def _with_residuals(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file, those of frozen layers with their residuals U diag(S) V added."""
    main, *residual = _PARTS
    whole: dict[str, Tensor] = {}
    for name, tensor in given.items():
        layer, _, leaf = name.rpartition(".")
        if leaf == main:
            u, s, v = (given[f"{layer}.{part}"].double() for part in residual)
            whole[f"{layer}.weight"] = (tensor.double() + u * s @ v).to(tensor.dtype)
        elif leaf not in residual:
            whole[name] = tensor
    return whole
