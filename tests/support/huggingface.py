"""What Hugging Face's transformers saves of small vision transformers: names, shapes, and weights from a seed."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tests.support import upstream

SIZE, WIDTH, DEPTH, HEADS = 64, 64, 2, 4
OF_TIMM: dict[str, Any] = {"embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS}
OF_TRANSFORMERS: dict[str, Any] = {
    "hidden_size": WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": HEADS, "intermediate_size": 4 * WIDTH,
    "image_size": SIZE, "patch_size": 16,
}  # fmt: skip

_VIT_BLOCK = {
    "layernorm_before": (), "layernorm_after": (), "attention.attention.query": (1, 1),
    "attention.attention.key": (1, 1), "attention.attention.value": (1, 1), "attention.output.dense": (1, 1),
    "intermediate.dense": (4, 1), "output.dense": (1, 4),
}  # fmt: skip
_SIGLIP_BLOCK = {
    "layer_norm1": (), "layer_norm2": (), "self_attn.q_proj": (1, 1), "self_attn.k_proj": (1, 1),
    "self_attn.v_proj": (1, 1), "self_attn.out_proj": (1, 1), "mlp.fc1": (4, 1), "mlp.fc2": (1, 4),
}  # fmt: skip


def _layer(name: str, widths: tuple[int, ...], width: int) -> dict[str, tuple[int, ...]]:
    """A linear layer by its widths in units of `width`; a norm where it has none."""
    outputs = widths[0] * width if widths else width
    shape = (outputs, widths[1] * width) if widths else (outputs,)
    return {f"{name}.weight": shape, f"{name}.bias": (outputs,)}


def vit_shapes(width: int = WIDTH, depth: int = DEPTH, positions: int = (SIZE // 16) ** 2) -> upstream.Shapes:
    """Of `ViTForImageClassification`, as `save_pretrained` writes it."""
    held: dict[str, tuple[int, ...]] = {
        "vit.embeddings.cls_token": (1, 1, width),
        "vit.embeddings.position_embeddings": (1, positions + 1, width),
        "vit.embeddings.patch_embeddings.projection.weight": (width, 3, 16, 16),
        "vit.embeddings.patch_embeddings.projection.bias": (width,),
        **_layer("vit.layernorm", (), width),
        "classifier.weight": (2, width),
        "classifier.bias": (2,),
    }
    for block in range(depth):
        for name, widths in _VIT_BLOCK.items():
            held |= _layer(f"vit.encoder.layer.{block}.{name}", widths, width)
    return held


def siglip_shapes() -> upstream.Shapes:
    """Of `SiglipForImageClassification`, with the pooling by attention that it does not use."""
    vision, head = "vision_model.embeddings", "vision_model.head"
    held: dict[str, tuple[int, ...]] = {
        f"{vision}.patch_embedding.weight": (WIDTH, 3, 16, 16),
        f"{vision}.patch_embedding.bias": (WIDTH,),
        f"{vision}.position_embedding.weight": ((SIZE // 16) ** 2, WIDTH),
        **_layer("vision_model.post_layernorm", (), WIDTH),
        f"{head}.probe": (1, 1, WIDTH),
        f"{head}.attention.in_proj_weight": (3 * WIDTH, WIDTH),
        f"{head}.attention.in_proj_bias": (3 * WIDTH,),
        **_layer(f"{head}.attention.out_proj", (1, 1), WIDTH),
        **_layer(f"{head}.layernorm", (), WIDTH),
        **_layer(f"{head}.mlp.fc1", (4, 1), WIDTH),
        **_layer(f"{head}.mlp.fc2", (1, 4), WIDTH),
        "classifier.weight": (2, WIDTH),
        "classifier.bias": (2,),
    }
    for block in range(DEPTH):
        for name, widths in _SIGLIP_BLOCK.items():
            held |= _layer(f"vision_model.encoder.layers.{block}.{name}", widths, WIDTH)
    return held


def weights(shapes: upstream.Shapes) -> dict[str, Tensor]:
    """Embeddings so small that a layer norm's eps counts."""
    state = upstream.weights(shapes, seed=4, gain=1.0)
    small = {name for name in state if "embedding" in name}
    return {name: tensor * 1e-3 if name in small else tensor for name, tensor in state.items()}
