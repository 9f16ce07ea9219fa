"""Batch norms of a network whose weights are no longer those that their statistics were measured with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.variants.steps.recover import distillation

if TYPE_CHECKING:
    from bench.detectors.detector import Detector
    from bench.records import Frame
    from bench.variants.steps import StepContext

_FRAMES = 320


def recalibrate(model: Detector, frames: Sequence[Frame], batch_size: int, work: StepContext) -> None:
    """Measure every batch norm's mean and variance again, as the plain average over at most 320 of the frames."""
    import torch
    from torch import nn

    part = work.part("recalibrating")
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's spelling of a cumulative average
        norm.train()
    total = max(1, min(_FRAMES, len(frames)) // batch_size)
    if part.state:
        model.load_state_dict(part.state["norms"], strict=False)
    batches = distillation.shuffled(work, frames, batch_size, total, work.seed, part.done)
    with torch.no_grad():
        for done, batch in enumerate(batches, start=part.done + 1):
            model(batch)
            part.keep(done, total, lambda: {"norms": dict(model.named_buffers())})
            work.progress(done, total, "batches", "batch-norm recalibration")
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()


def has_norms(model: Detector) -> bool:
    """Whether the network has any."""
    from torch import nn

    return any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
