"""The learning rate: how high it may be, by a short range test, and how it rises and falls over the training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bench.variants import augmentation
from bench.variants.steps.recover import distillation
from bench.variants.steps.recover.optimizing import Tools, optimized

if TYPE_CHECKING:
    from bench.records import Frame
    from bench.variants.steps import StepContext
    from bench.variants.steps.recover.settings import Settings

RANGE_STEPS = 20
_LOWEST, _HIGHEST = 1e-5, 3e-3
_TOO_MUCH = 2.0
_SAFE = 0.5
_WARM_UP = 0.1
_PART = "finding the learning rate"


def range_test(tools: Tools, learned: Sequence[Frame], settings: Settings, work: StepContext) -> float:
    """The rate to train with, by a range test (Smith, Cyclical learning rates, WACV 2017).

    From the weights now, the rate rises from step to step until the error on a batch of held-out frames is twice the
    lowest so far; half of that rate is taken. Weights and optimizer are as they were afterwards.
    """
    part, before = work.part(_PART), _copied(tools.state())
    errors: list[float] = [_error(tools)]
    if part.state:
        errors = part.state["errors"]
        tools.restore(part.state["tools"])
    batches = distillation.shuffled(work, learned, settings.batch_size, RANGE_STEPS, work.seed + 2, part.done)
    rate = _rate(max(0, part.done - 1))
    for step, batch in enumerate(batches, start=part.done):
        rate = _rate(step)
        frames = augmentation.varied(batch, work.seed + 2, step, all_ways=settings.augment)
        optimized(tools, frames, rate, distillation.distillation_loss)
        tools.average.add(tools.model, 1.0)
        errors.append(_error(tools))
        work.progress(step + 1, RANGE_STEPS, "steps", _PART)
        if not errors[-1] <= _TOO_MUCH * min(errors):
            break
        part.keep(step + 1, RANGE_STEPS, lambda: {"errors": errors, "tools": tools.state()})
    tools.restore(before)
    return _SAFE * rate


def _copied(state: dict[str, Any]) -> dict[str, Any]:
    import copy

    return copy.deepcopy(state)


def _rate(step: int) -> float:
    return float(_LOWEST * (_HIGHEST / _LOWEST) ** (step / (RANGE_STEPS - 1)))


def _error(tools: Tools) -> float:
    """On the first batch of the held-out frames."""
    held_out = tools.held_out
    count = len(held_out.batches[0])
    cams = None if held_out.cams is None else held_out.cams[:count]
    first = replace(
        held_out, batches=held_out.batches[:1], logit_diffs=held_out.logit_diffs[:count], cams=cams, labels=None
    )
    return tools.evaluate(first)[0]


def share_of_rate(step: int, steps: int) -> float:
    """Up in a straight line over the first tenth, then down along a cosine to almost nothing."""
    warm = max(1, round(_WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm + 1) / (steps - warm + 1)))
