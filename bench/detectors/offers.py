"""What detectors offer to steps, as data: families declare it and steps say what they need, without any network."""

from __future__ import annotations

from collections.abc import Set
from typing import Literal, TypeAlias

Offer: TypeAlias = Literal["chain", "widths", "conv", "linear", "cam", "zeros"]

MEANING: dict[Offer, str] = {
    "chain": "successive parts that pass one tensor on",
    "widths": "widths that may shrink",
    "conv": "convolutions that may change",
    "linear": "linear layers that may change",
    "cam": "a class-activation map",
    "zeros": "weights that may become zero",
}


def meanings(offers: Set[Offer]) -> str:
    """These offers in words, for messages; "" where there are none."""
    return " and ".join(f"{meaning} (`{offer}`)" for offer, meaning in MEANING.items() if offer in offers)
