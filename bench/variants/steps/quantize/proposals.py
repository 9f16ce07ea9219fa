"""Which few layers would gain most if they stayed in float, and the line of YAML that leaves them so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from bench.records import MUCH_DP, Foretold, Proposal

# Few layers, for few bytes, that make at least such a share of the noise; more than half of it need not go.
_MOST_LAYERS = 8
_MOST_BYTES, _MOST_BYTES_IF_FAR = 0.1, 0.25
_LEAST_SHARE, _ENOUGH_SHARE = 0.1, 0.5


def proposal(settings: Mapping[str, Any], foretold: Foretold, size_bytes: int) -> Proposal | None:
    """The noisiest layers, down to half of the noise, for at most a tenth more bytes than the file's `size_bytes`.

    For a quarter of them, where P(fake) is foretold to move far. `settings` are those of the step that are not at their
    default. None where no such layers make a tenth of the noise.
    """
    rounded = [layer for layer in foretold.layers if not layer.in_float]
    total = sum(layer.noise for layer in rounded)
    is_far = foretold.mean_dp is not None and foretold.mean_dp > MUCH_DP
    most_bytes = (_MOST_BYTES_IF_FAR if is_far else _MOST_BYTES) * size_bytes
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
