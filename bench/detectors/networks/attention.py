"""Heads of attention as timm has it: how many there are, and telling a module that there are fewer."""

from __future__ import annotations

from typing import Any

from torch import nn


def heads_of(module: nn.Module) -> int | None:
    """How many heads an attention has; None of any other module."""
    heads = getattr(module, "num_heads", None)
    return heads if type(module).__name__ == "Attention" and type(heads) is int else None


def set_heads(attention: Any, heads: int) -> None:
    """Tell an attention how many heads its layers have by now. Raises `ValueError` where that is no number of heads."""
    if type(heads) is not int or heads < 1:
        raise ValueError(f"an attention cannot have {heads!r} heads")
    attention.num_heads, attention.attn_dim = heads, heads * attention.head_dim


def has_separate_heads(attention: Any) -> bool:
    """Whether nothing but `qkv` and `proj` hangs on how many heads there are."""
    return isinstance(attention.q_norm, nn.Identity) and isinstance(attention.k_norm, nn.Identity)
