"""What is compressed: a trained detector, loaded from its weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.detectors import families
from bench.errors import UserError
from bench.records import Conventions, Preprocessing, Reading

if TYPE_CHECKING:
    from bench.detectors.detector import Detector

VERSION = 1
"""Raised whenever the same weights would give another detector."""

LIBRARIES = ("torch", "timm")

DEMO_WEIGHTS = Path(__file__).parent / "demo.safetensors"
DEMO_ARCHITECTURE = "efficientnet_b5"
# How tools/train_demo.py built it; the names in the file do not tell.
_DEMO_FLAVOUR = "static"


def version_for(architecture: str) -> int:
    """The version of what reads weights, or the last one that gave networks of this architecture another form."""
    return families.version_for(architecture) or VERSION


def load(
    architecture: str, weights: Path, preprocessing: Preprocessing, conventions: Conventions | None = None
) -> Detector:
    """A trained detector in float32, in evaluation mode; see `read`."""
    return read(architecture, weights, preprocessing, conventions)[0]


def read(
    architecture: str, weights: Path, preprocessing: Preprocessing, conventions: Conventions | None = None
) -> tuple[Detector, Reading]:
    """A trained detector in float32, in evaluation mode, and how its weights were read.

    Raises `UserError` where the file cannot be read safely, does not hold all tensors of this architecture, finite and
    in their shapes, or holds several sets of them; and where names tell neither what logits mean nor with which
    arithmetic the network was trained, and `conventions` say nothing of it.
    """
    from bench.detectors.weights import checkpoint, conversion, matching

    family, conventions = families.find(architecture), conventions or Conventions()
    if weights == DEMO_WEIGHTS and conventions.flavour is None:
        conventions = replace(conventions, flavour=_DEMO_FLAVOUR)
    with checkpoint.opened(weights) as opened:
        network = conversion.network_of(family, architecture, preprocessing, conventions.flavour, must_run=True)
        try:
            match = matching.match(
                opened.file, network, family.schemes(architecture), conventions, architecture,
                lambda: conversion.other_architecture(opened.file, architecture, preprocessing, conventions.flavour),
            )  # fmt: skip
        except UserError:
            # A quantised or sparse network has other names too: then that is what is wrong.
            opened.refuse_odd()
            raise
        conversion.refuse_side(match, preprocessing, weights)
        logits = conversion.logits_of(match, conventions, weights, opened.file.stated)
        flavour, known_by = conversion.flavour_of(match, conventions, family, architecture, weights)
        tensors = opened.load({*match.names.values(), match.weight, *([match.bias] if match.bias else [])})
    detector = family.build(architecture, flavour, preprocessing)
    state = conversion.state_of(match, tensors, network, logits.rows, weights)
    detector.load_state_dict(state, strict=False)
    arithmetic = ""
    if families.flavours(family, architecture):
        arithmetic = f"arithmetic {flavour}, {known_by}: {families.meaning(architecture, flavour)}"
    return detector, conversion.reading_of(match, logits, arithmetic, detector)
