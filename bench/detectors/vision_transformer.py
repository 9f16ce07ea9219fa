"""Vision transformers: what their class token is made of, gathered in the forward pass, so that a map can be drawn."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn


class Tokens(NamedTuple):
    """What a vision transformer makes of N frames, with T tokens of C numbers each.

    `class_token` [N, C] is normalised. `read` [N, T, V] is what the class token reads of each token in the last
    attention, and `passage` [V, C] what becomes of that until behind the last norm, up to `deviation` [N, 1], by which
    the norm divides. `mixture` [N, T, T] says which tokens of the input each token that the last block reads is made
    of; its rows add up to 1. `grid` are rows and columns of patches; the tokens before the patches stand first.
    """

    class_token: Tensor
    read: Tensor
    passage: Tensor
    deviation: Tensor
    mixture: Tensor
    grid: tuple[int, int]


class TokenNetwork(VisionTransformer):
    """A plain vision transformer of timm without its head; its blocks and their names stay what they are."""

    @classmethod
    def of(cls, network: VisionTransformer) -> TokenNetwork:
        """The same network, weights included; the given one is changed."""
        network.reset_classifier(0, "token")
        network.__class__ = cls
        assert isinstance(network, cls)
        return network

    def forward(self, inputs: Tensor) -> Tokens:  # type: ignore[override]  # more than a tensor
        """Frames [N, 3, H, W] to `Tokens`.

        Attention is written out, since the map needs its weights. What a token is made of is followed as in attention
        roll-out (Abnar and Zuidema, ACL 2020), attention weighted by the size of the values that it moves.
        """
        network: Any = self
        x = network.norm_pre(network.patch_drop(network._pos_embed(network.patch_embed(inputs))))
        *earlier, last = network.blocks
        mixture = torch.eye(x.shape[1], device=x.device, dtype=x.dtype).expand(x.shape[0], -1, -1)
        for block in earlier:
            weights, values = _weights_and_values(block.attn, block.norm1(x))
            mixture = _mixed(weights.detach(), values.detach()) @ mixture
            x = _passed(block, x, weights @ values)
        weights, values = _weights_and_values(last.attn, last.norm1(x))
        x = _passed(last, x, weights @ values)
        token = x[:, 0]
        deviation = (token.var(-1, correction=0, keepdim=True) + network.norm.eps).sqrt()
        read = _joined(weights[:, :, :1].transpose(2, 3) * values)
        grid = network.patch_embed.grid_size
        return Tokens(network.norm(token), read, _passage(last, network.norm), deviation, mixture, (grid[0], grid[1]))


def is_plain(network: nn.Module) -> bool:
    """Whether `TokenNetwork` computes what a network of timm does: a class token, and attention without extras."""
    if type(network) is not VisionTransformer:
        return False
    plain: Any = network
    return (
        plain.global_pool == "token"
        and plain.cls_token is not None
        and getattr(plain, "attn_pool", None) is None
        and isinstance(plain.fc_norm, nn.Identity)
        and isinstance(plain.norm, nn.LayerNorm)
        and all(_is_plain_block(block) for block in plain.blocks)
    )


def _is_plain_block(block: Any) -> bool:
    if type(block).__name__ != "Block":
        return False
    attention = block.attn
    return (
        type(attention).__name__ == "Attention"
        and getattr(attention, "gate", None) is None
        and isinstance(getattr(attention, "norm", nn.Identity()), nn.Identity)
    )


def _weights_and_values(attention: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Attention's weights [N, heads, T, T] and values [N, heads, T, head width] of normalised tokens [N, T, C]."""
    count, tokens, _ = x.shape
    width = attention.qkv.out_features // (3 * attention.num_heads)
    heads = attention.qkv(x).reshape(count, tokens, 3, attention.num_heads, width)
    query, key, values = heads.permute(2, 0, 3, 1, 4).unbind(0)
    scores = attention.q_norm(query) * attention.scale @ attention.k_norm(key).transpose(2, 3)
    return scores.softmax(-1), values


def _joined(heads: Tensor) -> Tensor:
    """Heads [N, heads, T, head width] side by side: [N, T, heads * head width]."""
    return heads.transpose(1, 2).flatten(2)


def _passed(block: Any, x: Tensor, heads: Tensor) -> Tensor:
    """What a block makes of its input [N, T, C] and of what its attention's heads gave."""
    attended = block.attn.proj_drop(block.attn.proj(_joined(heads)))
    x = x + block.drop_path1(block.ls1(attended))
    passed: Tensor = x + block.drop_path2(block.ls2(block.mlp(block.norm2(x))))
    return passed


def _mixed(read: Tensor, values: Tensor) -> Tensor:
    """What each token of a block's output is made of [N, T, T]: half of itself, half of what it read."""
    moved = (read * values.norm(dim=-1)[:, :, None]).mean(1)
    identity = torch.eye(moved.shape[-1], device=moved.device, dtype=moved.dtype)
    mixed: Tensor = (moved / moved.sum(-1, keepdim=True) + identity) / 2
    return mixed


def _passage(block: Any, norm: Any) -> Tensor:
    """What becomes of what an attention's heads give [V], past the block's later parts: [V, C].

    The norm's division is left out, which differs from frame to frame.
    """
    projected = block.ls1(block.attn.proj.weight.T)
    passage: Tensor = (projected - projected.mean(-1, keepdim=True)) * norm.weight
    return passage
