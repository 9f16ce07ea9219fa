"""Networks of timm that end in a feature map whose mean one linear layer reads, though their parts are no chain.

Without their last two layers they give that map, and with it a class-activation map.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from torch import Tensor, nn

CHANNELS_FIRST = frozenset(
    {
        "ByobNet", "ConvMixer", "CspNet", "CspNext", "FastVit", "FocalNet", "GlobalContextVit", "HighResolutionNet",
        "InceptionResnetV2", "InceptionV3", "InceptionV4", "MaxxVit", "NextViT", "NormFreeNet",
        "RexNet", "SENet", "SwinTransformerV2Cr", "TResNet", "Visformer",
        "VovNet", "XceptionAligned",
    }
)  # fmt: skip
"""timm's classes of which `forward_features` gives [N, C, h, w], and most heads are its mean and one linear layer."""

CHANNELS_LAST = frozenset({"SwinTransformer", "SwinTransformerV2"})
"""Those of which it gives [N, h, w, C]."""

# timm's names for the mean over positions.
_MEANS = ("avg", "fast")


def is_averaged(network: Any, classifier: nn.Module) -> bool:
    """Whether a network of timm is of these classes, and has nothing but a mean between its map and this layer."""
    head = getattr(network, "head", None)
    # Beside the module that averages, timm's networks may name its kind in words.
    pools: list[Any] = [getattr(part, "global_pool", None) for part in (head, network)]
    pooling = next((getattr(pool, "pool_type", "") for pool in pools if isinstance(pool, nn.Module)), "")
    weights = {id(parameter) for parameter in classifier.parameters()}
    between = isinstance(head, nn.Module) and any(id(parameter) not in weights for parameter in head.parameters())
    return (
        type(network).__name__ in CHANNELS_FIRST | CHANNELS_LAST
        and pooling in _MEANS
        and isinstance(classifier, nn.Linear)
        and not between
    )


def without_head(network: nn.Module, classifier: str) -> nn.Module:
    """The same network, weights included, giving its feature map [N, C, h, w]; the given one is changed.

    `classifier` is the name of the layer that writes the logits.
    """
    network.set_submodule(classifier, nn.Identity())
    kind: Any = type(network)
    ending_in_map: Any = _ending_in_map(kind)
    network.__class__ = ending_in_map
    return network


@cache
def _ending_in_map(kind: Any) -> type[nn.Module]:
    """timm's class with its feature map in place of the logits."""

    def forward(self: Any, inputs: Tensor) -> Tensor:
        features: Tensor = self.forward_features(inputs)
        return features.permute(0, 3, 1, 2) if kind.__name__ in CHANNELS_LAST else features

    made: type[nn.Module] = type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})
    return made
