"""What is compressed: a trained detector, loaded from its weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bench.detectors import families
from bench.errors import UserError, listed, shown
from bench.records import Preprocessing

if TYPE_CHECKING:
    from torch import Tensor

    from bench.detectors.detector import Detector

VERSION = 1
"""Raised whenever the same weights would give another detector."""

LIBRARIES = ("torch", "timm")

DEMO_WEIGHTS = Path(__file__).parent / "demo.safetensors"


def load(architecture: str, weights: Path, preprocessing: Preprocessing) -> Detector:
    """A trained detector in float32, in evaluation mode.

    Raises `UserError` where the file cannot be read safely or does not hold exactly the tensors
    of this architecture; every tensor left over, missing, misshapen or not finite is named.
    """
    from bench.detectors.weights import checkpoint

    family = families.find(architecture)
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
    """Refuse a checkpoint that lacks tensors of the network, has others, or in other shapes; counters aside."""
    expected = {name: tensor for name, tensor in network.items() if not _is_counter(name)}
    given = {name: tensor for name, tensor in state.items() if not _is_counter(name)}
    both = [name for name in expected if name in given]
    problems = {
        "missing": sorted(expected.keys() - given.keys()),
        "left over": sorted(map(shown, given.keys() - expected.keys())),
        "of another shape": [
            f"{name} is {shown(str(list(given[name].shape)))}, expected {list(expected[name].shape)}"
            for name in both
            if given[name].shape != expected[name].shape
        ],
        "integers where numbers with a fraction belong, as in a quantised checkpoint; save the weights as floats": [
            f"{name} is {str(given[name].dtype).removeprefix('torch.')}"
            for name in both
            if expected[name].is_floating_point() and not given[name].is_floating_point()
        ],
    }
    if not any(problems.values()):
        return
    lines = [f"{weights}: these weights do not fit {architecture}"]
    if looks_like and looks_like.removeprefix("tf_") != architecture.removeprefix("tf_"):
        lines.append(f"  they look like {looks_like}: set `architecture: {looks_like}`")
    lines += [f"  {title} ({len(names)}): {listed(names, 6)}" for title, names in problems.items() if names]
    raise UserError(*lines)
