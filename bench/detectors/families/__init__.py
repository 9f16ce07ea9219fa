"""Detector families, one file each.

A family is a module with `ARCHITECTURES`, `OFFERS`, `build(architecture, flavour, preprocessing)`,
`schemes(architecture)`, and for docs/detectors.md `EXAMPLE`, a tensor's name, where it is not `head` `LOGITS`, the name
of the layer that writes the logits, and where it is not the first `TYPICAL`, the architecture that is shown. Where
names of weights don't tell all of the arithmetic, `flavours(architecture)` has the choices; where these differ in the
tensors that a network holds, `STRUCTURES` names those that do. Where not every preprocessing will do, `check(flavour,
preprocessing)` refuses. Where `bench plan` is to foresee how long an architecture takes before it ever ran, `SIZES` has
its `Size`.
Where those who train a network call its parts otherwise than bench does, `stage_name(architecture, name)` has their
name.
A family whose architectures are too many to be listed has a `PREFIX` of their names, and `refuse_unknown`, `offers`,
`size` and `version_for` of one; the last is raised where an architecture is built otherwise than before.
A family whose detectors are no networks of layers but ONNX graphs has `KIND = "onnx"`.
Nothing heavy is imported at its top: it is also read to check a configuration.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from bench.detectors.offers import Offer
from bench.errors import UserError, nearest, quoted
from bench.records import Preprocessing

if TYPE_CHECKING:
    from bench.detectors.detector import Detector
    from bench.detectors.weights.schemes import Scheme


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
    EXAMPLE: str

    def build(self, architecture: str, flavour: str, preprocessing: Preprocessing) -> Detector:
        """An untrained two-class detector in evaluation mode."""

    def schemes(self, architecture: str) -> Sequence[Scheme]:
        """The names that checkpoints of an architecture have, by whose code wrote them."""


def modules() -> tuple[Family, ...]:
    """Every detector family."""
    families: list[Any] = [
        importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)
    ]
    return tuple(families)


def architectures() -> tuple[str, ...]:
    """The names that `architecture:` may take."""
    return tuple(name for family in modules() for name in family.ARCHITECTURES)


def candidates(names: Collection[str]) -> tuple[str, ...]:
    """The architectures whose tensors a file with such names could hold: all that are listed, and more by the names."""
    families: list[Any] = [family for family in modules() if is_open(family)]
    more = (architecture for family in families for architecture in family.alike(names))
    return tuple(dict.fromkeys((*architectures(), *more)))


def prefixes() -> tuple[str, ...]:
    """What names begin with that families have more of than they list."""
    return tuple(_prefix(family) for family in modules() if is_open(family))


def by_offers(family: Family) -> dict[frozenset[Offer], list[str]]:
    """The listed architectures of a family by what they offer."""
    groups: dict[frozenset[Offer], list[str]] = {}
    for architecture in family.ARCHITECTURES:
        groups.setdefault(offers(architecture), []).append(architecture)
    return groups


def size_of(architecture: str) -> Size | None:
    """How large an architecture is; None where its family does not say."""
    family: Any = find(architecture)
    if is_open(family):
        size: Size | None = family.size(architecture)
        return size
    sizes: Mapping[str, Size] = getattr(family, "SIZES", {})
    return sizes.get(architecture)


def is_open(family: Family) -> bool:
    """Whether a family has more architectures than it lists."""
    return bool(_prefix(family))


def _prefix(family: Family) -> str:
    return getattr(family, "PREFIX", "")


def _open_to(architecture: str) -> Any:
    """The open family that an architecture is of by its prefix, known there or not; None where it is of none."""
    open_families = filter(is_open, modules())
    return next((family for family in open_families if architecture.startswith(_prefix(family))), None)


def find(architecture: str) -> Family:
    """The family of an architecture; a `UserError` names the choices."""
    if (of_names := _open_to(architecture)) is not None:
        of_names.refuse_unknown(architecture)
        of_prefix: Family = of_names
        return of_prefix
    for family in modules():
        if architecture in family.ARCHITECTURES:
            return family
    choices = architectures()
    raise UserError(
        f"unknown architecture {quoted(architecture)}{_hint(architecture, choices)}; "
        f"architectures are: {', '.join(choices)}. Of another network, `bench score` judges the scores that it gave "
        "elsewhere (docs/scores-from-elsewhere.md); docs/extending.md says how bench learns a network"
    )


def _hint(architecture: str, choices: Sequence[str]) -> str:
    """The nearest architecture, by what others call it too."""
    families: list[Any] = [family for family in modules() if is_open(family)]
    synonyms = {name: others for family in families for name, others in family.synonyms().items()}
    return nearest(architecture, (*choices, *synonyms), synonyms)


def kind(architecture: str) -> Literal["torch", "onnx"]:
    """What a detector of this architecture is: a network of layers, or an ONNX graph alone."""
    graphs = {name for family in modules() if hasattr(family, "KIND") for name in family.ARCHITECTURES}
    return "onnx" if architecture in graphs else "torch"


def offers(architecture: str) -> frozenset[Offer]:
    """What detectors of an architecture offer to steps; no network is built for it."""
    family: Any = find(architecture)
    offered: frozenset[Offer] = family.offers(architecture) if is_open(family) else family.OFFERS
    return offered


def version_for(architecture: str) -> int | None:
    """The version of how an architecture is built; None where it is that of all."""
    family = _open_to(architecture)
    version: int | None = None if family is None else family.version_for(architecture)
    return version


def flavours(family: Family, architecture: str) -> dict[str, str]:
    """The arithmetics that `flavour:` may name, and what each is; none where a family has one alone."""
    choices: Callable[[str], dict[str, str]] | None = getattr(family, "flavours", None)
    return choices(architecture) if choices else {}


def stage_name(architecture: str, name: str) -> str:
    """What a part of a network is called for people: as its family says, or without `backbone.` and `head.`."""
    named: Callable[[str, str], str] | None = getattr(find(architecture), "stage_name", None)
    return named(architecture, name) if named else name.removeprefix("backbone.").removeprefix("head.")


def structures(family: Family) -> tuple[str | None, ...]:
    """The flavours that hold different tensors; (None,) where all hold the same."""
    names: tuple[str | None, ...] = getattr(family, "STRUCTURES", (None,))
    return names


def check(architecture: str, flavour: str | None, preprocessing: Preprocessing) -> None:
    """Raise `UserError` where a network can't read frames that are prepared like this."""
    refuse: Callable[[str | None, Preprocessing], None] | None = getattr(find(architecture), "check", None)
    if refuse is not None:
        refuse(flavour, preprocessing)


def meaning(architecture: str, flavour: str) -> str:
    """What an arithmetic is. Raises `UserError` where the architecture's family does not know it."""
    choices = flavours(find(architecture), architecture)
    for name, text in choices.items():
        # `static-<size>` stands for a number of pixels of one's own.
        pattern = re.escape(name).replace("<size>", r"([1-9]\d{1,3})")
        if match := re.fullmatch(pattern, flavour):
            return text.replace("<size>", match[match.lastindex or 0])
    names = ", ".join(choices)
    hint = " (a number of pixels in the place of <size>)" if flavour in choices else nearest(flavour, choices)
    raise UserError(
        f"unknown flavour {quoted(flavour)}{hint}; "
        + (f"those of {architecture} are: {names}" if choices else f"{architecture} has one arithmetic: leave it out")
    )
