"""What `prune` would leave of a network under many settings, and what that would disturb, before anything is cut.

Channels are ranked once. For every amount the widths follow from that, and with them the error of the logit difference
on frames left out of the ranking's fit: what stays takes over what goes, and layers count as independent.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from bench import phases
from bench.detectors.learning import repeatable
from bench.errors import UserError
from bench.variants.steps import StepForecast
from bench.variants.steps.prune import ranking
from bench.variants.steps.prune.channels import Channels, Group
from bench.variants.steps.prune.widths import Budget

_EVERY = 2
"""Widths are chosen for every second amount, which takes seconds for each; the others lie between."""
_LEAST_NOISE = 1e-12

if TYPE_CHECKING:
    from bench.detectors.detector import Detector
    from bench.variants.steps import StepContext
    from bench.variants.steps.prune.elimination import Ranked
    from bench.variants.steps.prune.settings import Settings


def foretell(model: Detector, tried: Sequence[Settings], work: StepContext) -> list[StepForecast | None]:
    """A forecast for each of the settings, None for amounts that can't be taken away.

    All have to be structured, ranked by loss and repaired, with as many frames. `model` is changed.
    """
    phases.begin("tracing the network")
    model.float().eval().requires_grad_(True)
    groups = Channels(model).groups
    ranked_model = copy.deepcopy(model).to(work.device).to(memory_format=torch.channels_last)
    with repeatable(tf32=False):
        ranked = ranking.rank(ranked_model, groups, work, tried[0].at_most)
    looked_at = sorted({settings.amount for settings in tried})[::-_EVERY][::-1]
    by_amount: dict[float, StepForecast] = {}
    phases.begin("choosing widths")
    for done, amount in enumerate(looked_at, start=1):
        if forecast := _forecast(Budget(model, groups, 1 - amount), groups, ranked):
            by_amount[amount] = forecast
        work.progress(done, len(looked_at), "amounts", "choosing widths")
    return [_between(settings.amount, by_amount) for settings in tried]


def _between(amount: float, by_amount: Mapping[float, StepForecast]) -> StepForecast | None:
    """The forecast of an amount, from those of its neighbours: the noise of amounts grows by factors."""
    if not by_amount or amount > max(by_amount):
        return None
    amounts = [0.0, *by_amount]
    numbers = [1.0, *(each.numbers for each in by_amount.values())]
    times = [1.0, *(each.time for each in by_amount.values())]
    noise = np.log([max(each.noise, _LEAST_NOISE) for each in by_amount.values()])
    return StepForecast(
        float(np.interp(amount, amounts, numbers)),
        float(np.interp(amount, amounts, times)),
        float(np.exp(np.interp(amount, amounts[1:], noise))),
    )


def _forecast(budget: Budget, groups: list[Group], ranked: Mapping[str, Ranked]) -> StepForecast | None:
    """What is left under a budget; None where it can't be met."""
    try:
        widths = budget.cheapest(ranked)
    except UserError:
        return None
    of_ranked = [(ranked[group.root], group.width - widths[group.root]) for group in groups if group.root in ranked]
    noise = sum(float(each.losses[gone]) / each.variance for each, gone in of_ranked if each.variance)
    _, _, numbers, time = (float(share) for share in budget.shares(widths))
    return StepForecast(numbers, time, noise)
