"""Convolutions that standardise their weights at every call, as NFNets and BiT's ResNets have them."""

from __future__ import annotations

from timm.layers.std_conv import ScaledStdConv2d, ScaledStdConv2dSame, StdConv2d, StdConv2dSame
from torch import nn


def is_standardised(layer: nn.Module) -> bool:
    """Whether the weights that a layer holds are not those that it computes with."""
    return isinstance(layer, (StdConv2d, StdConv2dSame, ScaledStdConv2d, ScaledStdConv2dSame))
