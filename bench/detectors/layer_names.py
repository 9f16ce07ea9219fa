"""How the layers of every detector are named, in state dicts, safetensors files and exported graphs alike."""

from __future__ import annotations

_BACKBONE = "backbone."


def is_in_backbone(name: str) -> bool:
    """Whether a layer or tensor of this name belongs to the backbone."""
    return name.startswith(_BACKBONE)


def short_name(name: str) -> str:
    """The name without what all layers of the backbone have in front."""
    return name.removeprefix(_BACKBONE)
