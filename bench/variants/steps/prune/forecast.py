"""The forecast of a narrowed network: by layer, how many channels are left, and the noise of those that went."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from bench.detectors.layer_names import short_name
from bench.provenance import write_json
from bench.records import Foretold, NarrowedChannels
from bench.records.forecasts import shortened
from bench.variants.steps import RECORD_FILE

if TYPE_CHECKING:
    from bench.variants.steps import StepContext
    from bench.variants.steps.prune.channels import Channels, Group
    from bench.variants.steps.prune.elimination import Ranked


def write(channels: Channels, widths: Mapping[str, int], ranked: Mapping[str, Ranked], work: StepContext) -> Foretold:
    """Store what is left of each group of channels, and what the ranking foretells of it, for `variant.json`.

    `ranked` are the groups of which that is known: on frames that are left out of the fit by which others take over,
    and groups taken as independent. Returns it too.
    """
    first = {group.root: channels.first_layer(group) for group in channels.groups}
    groups = [
        _narrowed(first[group.root][1], group, widths[group.root], ranked.get(group.root))
        for group in sorted(channels.groups, key=lambda group: first[group.root])
    ]
    unknown = any(group.noise is None for group in groups if group.left < group.before)
    noise = None if unknown else sum(group.noise or 0.0 for group in groups)
    count = max((of_group.held_out for of_group in ranked.values()), default=0)
    variance = next((of_group.variance for of_group in ranked.values()), None)
    deviation = None if variance is None else shortened(math.sqrt(variance))
    foretold = Foretold(None if noise is None else shortened(noise), count, deviation, (), tuple(groups))
    write_json(work.scratch / RECORD_FILE, {"foretold": asdict(foretold)})
    return foretold


def _narrowed(name: str, group: Group, width: int, ranked: Ranked | None) -> NarrowedChannels:
    noise = None
    if width == group.width:
        noise = 0.0
    elif ranked is not None and ranked.variance is not None:
        noise = shortened(float(ranked.losses[group.width - width]) / ranked.variance)
    return NarrowedChannels(short_name(name), group.width, width, noise, group.columns > 1)
