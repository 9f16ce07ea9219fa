"""A detector of which there is an ONNX file alone.

It has no layers that steps could change, only a graph. [Below](#variants-made-elsewhere): how the file is read, and
what can be done to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from bench.detectors.detector import Detector
    from bench.detectors.offers import Offer
    from bench.detectors.weights.schemes import Scheme
    from bench.records import Preprocessing

ARCHITECTURES = ("onnx",)
OFFERS: frozenset[Offer] = frozenset()
KIND: Literal["onnx"] = "onnx"


def build(architecture: str, flavour: str, preprocessing: Preprocessing) -> Detector:
    """Nothing can be built without its file: `bench.artifacts.imports` reads it."""
    raise NotImplementedError("an ONNX file is read by bench.artifacts.imports, and never built")


def schemes(architecture: str) -> tuple[Scheme, ...]:
    """No checkpoint is one of these."""
    return ()
