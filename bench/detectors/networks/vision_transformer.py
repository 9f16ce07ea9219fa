"""Vision transformers: what their class token is made of, gathered in the forward pass, so that a map can be drawn.

Hidden units and whole heads may go; how many numbers a token has stays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from bench.detectors.networks.attention import has_separate_heads

_TINY = 1e-12


class Tokens(NamedTuple):
    """What a vision transformer makes of N frames, with T tokens of C numbers each.

    `class_token` [N, C] is normalised. `carried` has for each block what the class token reads there, by the tokens of
    the input that it is made of [N, T, V]; `passages` [V, C] what that adds to the token. `gain` [C] is the last norm's
    weight, `deviation` [N, 1] what it divides by. `grid` are rows and columns of patches; other tokens stand before
    these.
    """

    class_token: Tensor
    carried: tuple[Tensor, ...]
    passages: tuple[Tensor, ...]
    gain: Tensor
    deviation: Tensor
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

        Attention is written out, since the map needs its weights. Which tokens of the input a token is made of is
        followed from block to block as in attention roll-out (Abnar and Zuidema, ACL 2020).
        """
        network: Any = self
        x = self.embed(inputs)
        mixture = torch.eye(x.shape[1], device=x.device).expand(x.shape[0], -1, -1)
        carried = []
        for block in network.blocks:
            weights, values = _weights_and_values(block.attn, block.norm1(x))
            heads = weights @ values
            attended = _attended(block, x, heads)
            read = _joined(weights[:, :, :1].transpose(2, 3) * values)
            carried.append(mixture.transpose(1, 2) @ read.float())
            mixture = _mixture(weights, values, heads, x, attended) @ mixture
            x = _fed(block, attended)
        token = x[:, 0]
        deviation = (token.var(-1, correction=0, keepdim=True) + network.norm.eps).sqrt()
        passages = tuple(block.ls1(block.attn.proj.weight.T) for block in network.blocks)
        rows, columns = network.patch_embed.grid_size
        return Tokens(network.norm(token), tuple(carried), passages, network.norm.weight, deviation, (rows, columns))

    def embed(self, inputs: Tensor) -> Tensor:
        """Frames [N, 3, H, W] to the tokens [N, T, C] that the first block reads."""
        network: Any = self
        tokens: Tensor = network.norm_pre(network.patch_drop(network._pos_embed(network.patch_embed(inputs))))
        return tokens

    def units(self, name: str) -> list[tuple[str, nn.Module]]:
        """The embedding and the two halves of each block, which pass tokens on, with the names that they lie below."""
        units: list[tuple[str, nn.Module]] = [(name, _Embedding(self.patch_embed, self.norm_pre, self.embed))]
        for index, block in enumerate(self.blocks):
            units += [(f"{name}.blocks.{index}", half(block)) for half in (_Attending, _Feeding)]
        return units

    def attentions(self, name: str) -> dict[str, nn.Module]:
        """The attentions of which heads may go, by the name of the layer that writes queries, keys and values."""
        blocks: Any = self.blocks
        named = {f"{name}.blocks.{index}.attn.qkv": block.attn for index, block in enumerate(blocks)}
        return {layer: attention for layer, attention in named.items() if has_separate_heads(attention)}

    def fixed_layers(self) -> list[nn.Module]:
        """The layers of which no output may go: those that write tokens, and those whose outputs are more than units.

        Those of gates, in MLPs that have them, and of queries that are normalised.
        """
        blocks: Any = self.blocks
        fixed: list[nn.Module] = [module for module in self.patch_embed.modules() if isinstance(module, nn.Conv2d)]
        for block in blocks:
            fixed += [block.attn.proj, block.mlp.fc2]
            if not has_separate_heads(block.attn):
                fixed.append(block.attn.qkv)
            if block.mlp.fc1.out_features != block.mlp.fc2.in_features:
                fixed.append(block.mlp.fc1)
        return fixed


class _Embedding(nn.Module):
    """Frames to tokens."""

    def __init__(self, patch_embed: nn.Module, norm_pre: nn.Module, embed: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.patch_embed, self.norm_pre, self._embed = patch_embed, norm_pre, embed

    def forward(self, inputs: Tensor) -> Tensor:
        return self._embed(inputs)


class _Attending(nn.Module):
    """The half of a block that reads other tokens."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.norm1, self.attn, self.ls1, self.drop_path1 = block.norm1, block.attn, block.ls1, block.drop_path1

    def forward(self, x: Tensor) -> Tensor:
        weights, values = _weights_and_values(self.attn, self.norm1(x))
        return _attended(self, x, weights @ values)


class _Feeding(nn.Module):
    """The half of a block that works on each token by itself."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.norm2, self.mlp, self.ls2, self.drop_path2 = block.norm2, block.mlp, block.ls2, block.drop_path2

    def forward(self, x: Tensor) -> Tensor:
        return _fed(self, x)


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


def _attended(block: Any, x: Tensor, heads: Tensor) -> Tensor:
    """A block's input [N, T, C] and what its attention makes of its heads, added up."""
    projected = block.attn.proj_drop(block.attn.proj(_joined(heads)))
    attended: Tensor = x + block.drop_path1(block.ls1(projected))
    return attended


def _fed(block: Any, x: Tensor) -> Tensor:
    """Tokens [N, T, C] and what a block's MLP makes of each, added up."""
    fed: Tensor = x + block.drop_path2(block.ls2(block.mlp(block.norm2(x))))
    return fed


@torch.no_grad()
def _mixture(weights: Tensor, values: Tensor, heads: Tensor, x: Tensor, attended: Tensor) -> Tensor:
    """The shares [N, T, T] of a block's input tokens in its output tokens, by the lengths of what is added up.

    A token counts with its own length, and what it reads of another with that of the values times attention, scaled
    as the whole of what it reads is (after Kobayashi et al., EMNLP 2021).
    """
    whole = (attended - x).float().norm(dim=-1) / _joined(heads).float().norm(dim=-1).clamp_min(_TINY)
    of_heads = weights.float() * values.float().norm(dim=-1)[:, :, None]
    moved = of_heads.norm(dim=1) * whole[:, :, None]
    identity = torch.eye(x.shape[1], device=x.device)
    mixture = moved + identity * x.float().norm(dim=-1)[:, :, None]
    shares: Tensor = mixture / mixture.sum(-1, keepdim=True).clamp_min(_TINY)
    return shares
