"""What is compressed: detector families, one file each, and the reading of their weights.

A family is a module with `ARCHITECTURES`, `build(architecture, flavour, preprocessing)`,
`adapt(state, architecture)` and `recognise(state)`. Nothing heavy is imported at its top: it is
also read to check a configuration.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bench.errors import UserError, listed, nearest, quoted, shown
from bench.records import Preprocessing

if TYPE_CHECKING:
    from torch import Tensor

    from bench.detectors.detector import Detector

VERSION = 1
"""Raised whenever the same weights would give another detector."""

EXPORT_VERSION = 2
"""Raised whenever the same detector would be exported to another ONNX graph."""

LIBRARIES = ("torch", "timm")

DEMO_WEIGHTS = Path(__file__).parent / "demo.safetensors"

_HELPERS = {
    "artifact", "checkpoint", "detector", "export", "folding", "lowering", "preprocessing", "presets", "tracing",
    "weights", "weights_file",
}  # fmt: skip


class Family(Protocol):
    """The module contract, for type checkers."""

    ARCHITECTURES: tuple[str, ...]

    def build(self, architecture: str, flavour: str, preprocessing: Preprocessing) -> Detector:
        """An untrained two-class detector in evaluation mode."""

    def adapt(self, state: Mapping[str, Tensor], architecture: str) -> tuple[dict[str, Tensor], str]:
        """A checkpoint's tensors under the names of `build`, and the flavour that its own names imply."""

    def recognise(self, state: Mapping[str, Tensor]) -> str | None:
        """The architecture that a checkpoint seems to belong to, for error messages."""


def families() -> tuple[Family, ...]:
    """Every detector family."""
    found: list[Any] = [
        importlib.import_module(f"{__name__}.{module.name}")
        for module in pkgutil.iter_modules(__path__)
        if module.name not in _HELPERS
    ]
    return tuple(found)


def architectures() -> tuple[str, ...]:
    """The names that `architecture:` may take."""
    return tuple(name for family in families() for name in family.ARCHITECTURES)


def find(architecture: str) -> Family:
    """The family of an architecture; a `UserError` names the choices."""
    for family in families():
        if architecture in family.ARCHITECTURES:
            return family
    known = architectures()
    raise UserError(
        f"unknown architecture {quoted(architecture)}{nearest(architecture, known)}; "
        f"architectures are: {', '.join(known)}. Of another network, `bench score` judges the scores that it gave "
        "elsewhere (docs/scores-from-elsewhere.md); docs/extending.md says how bench learns a network"
    )


def load(architecture: str, weights: Path, preprocessing: Preprocessing) -> Detector:
    """A trained detector in float32, in evaluation mode.

    Raises `UserError` where the file cannot be read safely or does not hold exactly the tensors
    of this architecture; every tensor left over, missing, misshapen or not finite is named.
    """
    from bench.detectors import checkpoint

    family = find(architecture)
    given = checkpoint.read(weights)
    state, flavour = family.adapt(given, architecture)
    detector = family.build(architecture, flavour, preprocessing)
    network = detector.state_dict()
    _check_fit(state, network, weights, architecture, family.recognise(given))
    fitting = {
        name: tensor for name, tensor in state.items() if name in network and tensor.shape == network[name].shape
    }
    detector.load_state_dict(fitting, strict=False)
    return detector


def _is_counter(name: str) -> bool:
    """Batch norms count the batches they have seen, which nothing reads."""
    return name.endswith("num_batches_tracked")


def _check_fit(
    state: Mapping[str, Tensor], network: Mapping[str, Tensor], weights: Path, architecture: str, looks_like: str | None
) -> None:
    """Every tensor has its place and every place its tensor; counters of seen batches do not matter."""
    wanted = {name: tensor for name, tensor in network.items() if not _is_counter(name)}
    given = {name: tensor for name, tensor in state.items() if not _is_counter(name)}
    both = [name for name in wanted if name in given]
    problems = {
        "missing": sorted(wanted.keys() - given.keys()),
        "left over": sorted(map(shown, given.keys() - wanted.keys())),
        "of another shape": [
            f"{name} is {shown(str(list(given[name].shape)))}, expected {list(wanted[name].shape)}"
            for name in both
            if given[name].shape != wanted[name].shape
        ],
        "integers where numbers with a fraction belong, as in a quantised checkpoint; save the weights as floats": [
            f"{name} is {str(given[name].dtype).removeprefix('torch.')}"
            for name in both
            if wanted[name].is_floating_point() and not given[name].is_floating_point()
        ],
    }
    if not any(problems.values()):
        return
    lines = [f"{weights}: these weights do not fit {architecture}"]
    if looks_like and looks_like.removeprefix("tf_") != architecture.removeprefix("tf_"):
        lines.append(f"  they look like {looks_like}: set `architecture: {looks_like}`")
    lines += [f"  {title} ({len(names)}): {listed(names, 6)}" for title, names in problems.items() if names]
    raise UserError(*lines)
