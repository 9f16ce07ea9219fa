"""Detector families, one file each.

A family is a module with `ARCHITECTURES`, `OFFERS`, `build(architecture, flavour, preprocessing)`,
`adapt(state, architecture)` and `recognise(state)`; where `bench plan` is to foresee how long an architecture
takes before it ever ran, `SIZES` has its `Size`. Nothing heavy is imported at its top: it is also read to check a
configuration.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from bench.detectors.offers import Offer
from bench.errors import UserError, nearest, quoted
from bench.records import Preprocessing

if TYPE_CHECKING:
    from torch import Tensor

    from bench.detectors.detector import Detector


class Size(NamedTuple):
    """A network's multiply-accumulates of a pixel over those of EfficientNet-B5, and its parameters in millions.

    The parameters are those of two classes, not of ImageNet's thousand.
    """

    macs: float
    parameters: float


class Family(Protocol):
    """The module contract, for type checkers."""

    ARCHITECTURES: tuple[str, ...]
    OFFERS: frozenset[Offer]

    def build(self, architecture: str, flavour: str, preprocessing: Preprocessing) -> Detector:
        """An untrained two-class detector in evaluation mode."""

    def adapt(self, state: Mapping[str, Tensor], architecture: str) -> tuple[dict[str, Tensor], str]:
        """A checkpoint's tensors under the names of `build`, and the flavour that its own names imply."""

    def recognise(self, state: Mapping[str, Tensor]) -> str | None:
        """The architecture that a checkpoint seems to belong to, for error messages."""


def modules() -> tuple[Family, ...]:
    """Every detector family."""
    families: list[Any] = [
        importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)
    ]
    return tuple(families)


def architectures() -> tuple[str, ...]:
    """The names that `architecture:` may take."""
    return tuple(name for family in modules() for name in family.ARCHITECTURES)


def size_of(architecture: str) -> Size | None:
    """How large an architecture is; None where its family does not say."""
    for family in modules():
        sizes: Mapping[str, Size] = getattr(family, "SIZES", {})
        if architecture in sizes:
            return sizes[architecture]
    return None


def find(architecture: str) -> Family:
    """The family of an architecture; a `UserError` names the choices."""
    for family in modules():
        if architecture in family.ARCHITECTURES:
            return family
    choices = architectures()
    raise UserError(
        f"unknown architecture {quoted(architecture)}{nearest(architecture, choices)}; "
        f"architectures are: {', '.join(choices)}. Of another network, `bench score` judges the scores that it gave "
        "elsewhere (docs/scores-from-elsewhere.md); docs/extending.md says how bench learns a network"
    )


def offers(architecture: str) -> frozenset[Offer]:
    """What detectors of an architecture offer to steps; no network is built for it."""
    return find(architecture).OFFERS
