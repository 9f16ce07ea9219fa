"""Bring a pruned detector back: batch-norm recalibration, then distillation from the unpruned one.

Both use the frames of `train` and no labels. Distillation asks for the teacher's margin and for its
class-activation map, which says at every place of the frame what the margin says of the whole (so
the heatmaps recover too, and a frame teaches more than one number).
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from bench.errors import UserError
from bench.files import sweep, write_atomically
from bench.records import Frame, FrameSet, Split

if TYPE_CHECKING:
    from torch import Tensor

    from bench.detectors.detector import Detector
    from bench.variants.steps import Work

ACCEPTS: Literal["torch"] = "torch"
PRODUCES: Literal["torch"] = "torch"
FRAMES: Mapping[Split, str] = {"train": "distillation"}
VERSION = 3
SEEDED = True
LIBRARIES: tuple[str, ...] = ("torch", "timm")
MAIN = "steps"
AFTER = ("prune",)

_RECALIBRATION_FRAMES = 320
_WARM_UP = 0.1
_REPORT_EVERY = 5
CHECKPOINT = "checkpoint.pt"
CHECKPOINT_SECONDS = 20.0
"""A run that is killed loses about so much training, and a step."""


class Settings(BaseModel):
    """`steps` of `batch_size` frames; `learning_rate` is AdamW's highest, after a short warm-up."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: Annotated[int, Field(strict=True, ge=0)] = 80
    batch_size: Annotated[int, Field(strict=True, ge=2)] = 16
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 2e-4


def check(settings: Settings, frames: Mapping[Split, FrameSet]) -> None:
    """Refuse a set that does not fill one batch."""
    found = len(frames["train"].frames)
    if found < settings.batch_size:
        raise UserError(
            f"recover: {found} train frames are less than one batch of {settings.batch_size}; "
            "give more frames, or set a smaller batch_size"
        )


def apply(model: Detector, settings: Settings, work: Work) -> Detector:
    """`model` itself, in its own dtype, trained. Equal seeds give equal weights on one machine.

    Raises `UserError` where the loss is not finite.
    """
    import torch

    dtype = model.head.weight.dtype
    # Measured on two CPU cores, a pruned B5 and its teacher: 1.5 against 2.0 CPU seconds a step.
    model.float().to(work.device).to(memory_format=torch.channels_last)
    saved = _saved(work)
    if saved is None:
        recalibrate(model, work, settings.batch_size)
    if settings.steps:
        _distil(model, settings, work, saved)
    model.eval().cpu().to(memory_format=torch.contiguous_format)
    model.backbone.to(dtype)
    model.head.to(dtype)
    return model


# ------------------------------------------------------------------------------------ batch norm
def recalibrate(model: Detector, work: Work, batch_size: int) -> None:
    """Measure every batch norm's mean and variance again, as the plain average over some train frames."""
    import torch
    from torch import nn

    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's spelling of a cumulative average
        norm.train()
    total = max(1, min(_RECALIBRATION_FRAMES, len(work.frames["train"].frames)) // batch_size)
    with torch.no_grad():
        for done, frames in enumerate(_shuffled(work, batch_size, total, work.seed), start=1):
            model(frames)
            work.progress(done, total, "batches", "batch-norm recalibration")
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()


# ---------------------------------------------------------------------------------- distillation
def _distil(model: Detector, settings: Settings, work: Work, saved: dict[str, Any] | None) -> None:
    """Train, going on from `saved`. Batches and flips follow from the seed and the step alone."""
    import torch

    teacher = work.teacher().float().to(work.device).to(memory_format=torch.channels_last)
    teacher.eval().requires_grad_(False)
    # Batch norms keep their measured statistics: those of sixteen frames are noise that the loss first pays for.
    model.requires_grad_(True).eval()
    optimizer = torch.optim.AdamW(model.parameters(), settings.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _share_of_rate(step, settings.steps))
    # Flips are drawn apart from the order of the frames, so that one can change without the other.
    flips = torch.Generator().manual_seed(work.seed)
    kept = _kept(model, work)
    smooth, before = None, 0
    if saved is not None:
        smooth, before = _restore(saved, model, optimizer, schedule)
        for _ in range(before):
            torch.rand(settings.batch_size, generator=flips)
    saved_at = time.monotonic()
    batches = _shuffled(work, settings.batch_size, settings.steps, work.seed + 1, skip=before)
    for step, batch in enumerate(batches, start=before + 1):
        flipped = torch.rand(len(batch), generator=flips) < 0.5
        frames = torch.where(flipped.to(batch.device).reshape(-1, 1, 1, 1), batch.flip(3), batch)
        loss = distillation_loss(model, teacher, frames)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        for weight, mask in kept:
            if weight.grad is not None:
                weight.grad.mul_(mask)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        now = _finite(float(loss.detach()), step, settings)
        smooth = now if smooth is None else 0.9 * smooth + 0.1 * now
        if step % _REPORT_EVERY == 0 or step == settings.steps:
            work.progress(step, settings.steps, "steps", f"loss {smooth:.3f}")
        if time.monotonic() - saved_at >= CHECKPOINT_SECONDS and step < settings.steps:
            _save(work, {"step": step, "smooth": smooth}, model, optimizer, schedule)
            saved_at = time.monotonic()
    model.requires_grad_(False)


def _kept(model: Detector, work: Work) -> list[tuple[Tensor, Tensor]]:
    """After unstructured pruning: weights among which some are exactly zero, with 1 where they are not.

    Without it nothing is held: what is zero then, as a new head may be, is to be learned.
    """
    if not any(getattr(use.settings, "structure", None) == "unstructured" for use in work.earlier):
        return []
    found = [(weight, (weight != 0).to(weight.dtype)) for weight in model.parameters() if weight.ndim > 1]
    return [(weight, mask) for weight, mask in found if not mask.all()]


def _save(work: Work, told: dict[str, Any], model: Detector, optimizer: Any, schedule: Any) -> None:
    """Keep all that the next step depends on, so that a run that is killed goes on from here."""
    import torch

    states = {"model": model, "optimizer": optimizer, "schedule": schedule}
    memory = io.BytesIO()
    torch.save(told | {name: part.state_dict() for name, part in states.items()}, memory)
    write_atomically(work.scratch / CHECKPOINT, lambda file: file.write(memory.getbuffer()))


def _saved(work: Work) -> dict[str, Any] | None:
    """What a killed run kept; None where there is nothing, or nothing that can be read: then all begins again."""
    import torch

    sweep(work.scratch, held=True)
    try:
        saved = torch.load(work.scratch / CHECKPOINT, map_location="cpu", weights_only=True)
    except Exception:  # damaged files fail in more ways than torch documents
        return None
    whole = isinstance(saved, dict) and {"step", "smooth", "model", "optimizer", "schedule"} <= saved.keys()
    return saved if whole else None


def _restore(saved: dict[str, Any], model: Detector, optimizer: Any, schedule: Any) -> tuple[float | None, int]:
    """Take up what was saved; returned are the smoothed loss and the steps that are done."""
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    schedule.load_state_dict(saved["schedule"])
    return saved["smooth"], int(saved["step"])


def _finite(loss: float, step: int, settings: Settings) -> float:
    if not math.isfinite(loss):
        raise UserError(
            f"recover: the loss became {loss} at step {step} of {settings.steps}; "
            f"use a learning_rate below {settings.learning_rate:g}"
        )
    return loss


def distillation_loss(model: Detector, teacher: Detector, frames: Tensor) -> Tensor:
    """Squared error of margin and CAM [N, h, w], each as a share of the teacher's variance. Frames: uint8 RGB."""
    import torch
    import torch.nn.functional as F

    with torch.no_grad():
        wanted_logits, wanted_cam = teacher(frames)
    logits, cam = model(frames)
    margin, wanted = logits[:, 1] - logits[:, 0], wanted_logits[:, 1] - wanted_logits[:, 0]
    # The floor keeps a batch on which the teacher says one thing only from weighing without bound.
    by_margin = F.mse_loss(margin, wanted) / wanted.var().clamp_min(0.1)
    by_place = F.mse_loss(cam, wanted_cam) / wanted_cam.var().clamp_min(0.1)
    loss: Tensor = by_margin + by_place
    return loss


def _share_of_rate(step: int, steps: int) -> float:
    """Up in a straight line over the first tenth, then down along a cosine to almost nothing."""
    warm = max(1, round(_WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm + 1) / (steps - warm + 1)))


def _shuffled(work: Work, batch_size: int, batches: int, seed: int, skip: int = 0) -> Iterator[Tensor]:
    """`batches` full batches on the device, going through the train frames in a new order each time around.

    The first `skip` of them are left out, unread.
    """
    import numpy as np
    import torch

    frames = work.frames["train"].frames
    rng = np.random.default_rng(seed)
    order: list[Frame] = []
    while len(order) < batches * batch_size:
        order += [frames[index] for index in rng.permutation(len(frames))]
    for batch in work.read(order[skip * batch_size : batches * batch_size], work.spec, batch_size):
        yield torch.from_numpy(batch).to(work.device)
