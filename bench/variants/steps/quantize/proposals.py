"""Which few layers would gain most if they stayed in float, and the line of YAML that leaves them so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from bench.records import MUCH_DP, MUCH_NOISE, Foretold, Proposal

# Few layers, for few bytes, that make at least such a share of the noise; more than half of it need not go.
_MOST_LAYERS = 8
_MOST_BYTES, _MOST_BYTES_OF_LOUD = 0.1, 0.25
_LEAST_SHARE, _ENOUGH_SHARE = 0.1, 0.5


def proposal(settings: Mapping[str, Any], foretold: Foretold, size_bytes: int) -> Proposal | None:
    """The noisiest layers, down to half of the noise, for at most a tenth more bytes than the file's `size_bytes`.

    For a quarter of them, where P(fake) is foretold to move far or the noise is loud. `settings` are those of the step
    that are not at their default. None where no such layers make a tenth of the noise.
    """
    rounded = [layer for layer in foretold.layers if not layer.in_float]
    total = sum(layer.noise for layer in rounded)
    is_loud = total > MUCH_NOISE or (foretold.mean_dp or 0.0) > MUCH_DP
    most_bytes = (_MOST_BYTES_OF_LOUD if is_loud else _MOST_BYTES) * size_bytes
    chosen, noise, grown = set[str](), 0.0, 0
    for layer in sorted(rounded, key=lambda layer: -layer.noise):
        if noise >= _ENOUGH_SHARE * total or len(chosen) == _MOST_LAYERS:
            break
        if layer.noise > 0 and grown + layer.float_bytes <= most_bytes:
            chosen.add(layer.name)
            noise, grown = noise + layer.noise, grown + layer.float_bytes
    if not total or noise < _LEAST_SHARE * total or len(chosen) == len(foretold.layers):
        return None
    names = tuple(layer.name for layer in rounded if layer.name in chosen)
    return Proposal(_line(settings, names), names, noise / total, grown)


def _line(settings: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """The step as it is set, with these layers besides those that it leaves in float."""
    named = [*settings.get("float", ()), *names]
    whole = {"quantize": {**settings, "float": named}}
    return yaml.safe_dump(whole, default_flow_style=True, sort_keys=False, width=100_000).strip()[1:-1]
