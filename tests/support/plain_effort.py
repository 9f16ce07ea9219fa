"""Effort written out in NumPy and double precision, from CLIP's and Effort's papers; it shares no code with bench.

Radford et al., Learning Transferable Visual Models From Natural Language Supervision (ICML 2021), and Yan et al.,
Effort (ICML 2025): a vision transformer with QuickGELU, normalised before its first block, whose class token is
normalised and goes through one linear layer. A layer of attention adds what a residual U diag(S) V makes of its input
to what its frozen part makes of it, so nothing is folded here.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
State = Mapping[str, Array]

_MEAN = np.array([0.48145466, 0.4578275, 0.40821073])
_STD = np.array([0.26862954, 0.26130258, 0.27577711])
_PATCH = 14
_EPS = 1e-5


def logits(state: State, frames: NDArray[np.uint8], heads: int, blocks: int) -> Array:
    """Logits [N, 2] of frames [N, 3, H, W], by a state dict of Effort's names in double precision."""
    pixels = (frames / 255 - _MEAN[:, None, None]) / _STD[:, None, None]
    tokens = _normalised(state, "backbone.pre_layrnorm", _embedded(state, pixels))
    for block in range(blocks):
        start = f"backbone.encoder.layers.{block}"
        normalised = _normalised(state, f"{start}.layer_norm1", tokens)
        tokens = tokens + _attention(state, f"{start}.self_attn", normalised, heads)
        hidden = _linear(state, f"{start}.mlp.fc1", _normalised(state, f"{start}.layer_norm2", tokens))
        tokens = tokens + _linear(state, f"{start}.mlp.fc2", hidden / (1 + np.exp(-1.702 * hidden)))
    return _linear(state, "head", _normalised(state, "backbone.post_layernorm", tokens[:, 0]))


def _embedded(state: State, pixels: Array) -> Array:
    """Patches as tokens behind the class token, with what stands for their positions."""
    kernel = state["backbone.embeddings.patch_embedding.weight"]
    count, _, height, width = pixels.shape
    tokens = [np.broadcast_to(state["backbone.embeddings.class_embedding"], (count, len(kernel)))]
    for top in range(0, height, _PATCH):
        for left in range(0, width, _PATCH):
            patch = pixels[:, :, top : top + _PATCH, left : left + _PATCH]
            tokens.append(np.einsum("nchw,ochw->no", patch, kernel))
    embedded: Array = np.stack(tokens, axis=1) + state["backbone.embeddings.position_embedding.weight"]
    return embedded


def _attention(state: State, layer: str, tokens: Array, heads: int) -> Array:
    """Every head by itself."""
    query, key, value = (_with_residual(state, f"{layer}.{part}_proj", tokens) for part in "qkv")
    width = tokens.shape[-1] // heads
    read = np.empty_like(value)
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        scores = np.exp(query[:, :, part] @ key[:, :, part].transpose(0, 2, 1) / np.sqrt(width))
        read[:, :, part] = scores / scores.sum(-1, keepdims=True) @ value[:, :, part]
    return _with_residual(state, f"{layer}.out_proj", read)


def _with_residual(state: State, layer: str, tokens: Array) -> Array:
    frozen = tokens @ state[f"{layer}.weight_main"].T
    inner = tokens @ state[f"{layer}.V_residual"].T * state[f"{layer}.S_residual"]
    written: Array = frozen + inner @ state[f"{layer}.U_residual"].T + state[f"{layer}.bias"]
    return written


def _linear(state: State, layer: str, inputs: Array) -> Array:
    written: Array = inputs @ state[f"{layer}.weight"].T + state[f"{layer}.bias"]
    return written


def _normalised(state: State, layer: str, tokens: Array) -> Array:
    centred = tokens - tokens.mean(-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(-1, keepdims=True) + _EPS)
    normalised: Array = centred / deviation * state[f"{layer}.weight"] + state[f"{layer}.bias"]
    return normalised
