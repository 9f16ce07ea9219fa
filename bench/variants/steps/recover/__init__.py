"""Bring a pruned detector back by distillation from the unpruned one, on the frames of `train`.

No labels are needed. A part of the frames, apart by source, is held out of the training: the weights that follow the
teacher best on them are the result, those at the start included, so that training can't make worse what pruning left.
Batch norms keep their statistics, which fit after pruning's repair; without a repair they are measured again first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from bench.errors import UserError
from bench.records import FrameSet, Split
from bench.variants.steps import Cost, Leaves, Turn
from bench.variants.steps.recover import distillation, training
from bench.variants.steps.recover.settings import Record as Record
from bench.variants.steps.recover.settings import Settings as Settings

if TYPE_CHECKING:
    from bench.detectors.detector import Detector
    from bench.detectors.offers import Offer
    from bench.variants.steps import StepContext, Use

ACCEPTS: Literal["torch"] = "torch"
PRODUCES: Literal["torch"] = "torch"
NEEDS: frozenset[Offer] = frozenset()
FRAMES: Mapping[Split, str] = {"train": "distillation"}
SEES_SOURCES = True
ON_DEVICE = True
VERSION = 5
SEEDED = True
LIBRARIES: tuple[str, ...] = ("numpy", "torch", "timm")
MAIN = "steps"
AFTER = ("prune",)
SYNONYMS = "finetune fine-tune fine_tune retrain train distill distillation"

TURN: Turn = "train"
TRIED = (None,)

_RECALIBRATION_FRAMES = 320
RECORD = training.RECORD

# Up to this amount pruning with repair most often does so little harm that held-out frames show nothing to train.
_HARMLESS = 0.5
_LOOKED_AT = 64
_LOOK_NOTE = "recover counts as a look at held-out frames, as most often where it follows a prune that repairs"


def why_not_after(settings: Settings, earlier: Sequence[Use]) -> str | None:
    """What would be undone, and what is one `recover` written as two."""
    if any(use.name == "cast" for use in earlier):
        return "what `cast` has rounded would be trained further and rounded again; put `cast` after it"
    if earlier and earlier[-1].name == "recover":
        return "a second recover right behind the first; write one, with more `steps`"
    return None


def check(settings: Settings, frames: Mapping[Split, FrameSet]) -> None:
    """Refuse a set that does not fill one batch."""
    count = len(frames["train"].frames)
    if count < settings.batch_size:
        raise UserError(
            f"recover: {count} train frames are less than one batch of {settings.batch_size}; "
            "give more frames, or set a smaller batch_size"
        )


def cost(settings: Settings, counts: Mapping[Split, int], earlier: Sequence[Use]) -> Cost:
    """The training; a look at held-out frames alone where that most often finds nothing to train."""
    if _finds_nothing_to_train(earlier):
        return Cost(6.0, min(_LOOKED_AT, counts["train"]), 1.4, 0.8, _LOOK_NOTE)
    return Cost(3.0, settings.steps * settings.batch_size, 1.4, 0.8)


def leaves(settings: Settings) -> Leaves:
    """The network as it is, nearer to its teacher: how much nearer, a search learns by trying."""
    return Leaves(noise=0.7)


def _finds_nothing_to_train(earlier: Sequence[Use]) -> bool:
    prunings: list[Any] = [use.settings for use in earlier if use.name == "prune"]
    return len(prunings) == 1 and _repairs(prunings[0]) and prunings[0].amount <= _HARMLESS


def _repairs(pruning: Any) -> bool:
    """Whether a `prune` of these settings leaves weights that fit the batch norms as they are."""
    return bool(pruning.structure == "structured" and pruning.repair)


def may_be_cut(settings: Settings) -> bool:
    """Whether the clock may end the training, so that equal settings need not give equal weights."""
    return settings.minutes is not None


def apply(model: Detector, settings: Settings, work: StepContext) -> Detector:
    """`model` itself, in its own dtype, trained. Equal seeds give equal weights on one machine with as many threads.

    Where no step brings it closer to the teacher, its weights are those that it began with.
    """
    import torch

    from bench.variants.layers.convolutions import repeatable

    dtype = model.dtype
    # Measured on two CPU cores, a pruned B5 and its teacher: 1.5 against 2.0 CPU seconds a step.
    model.float().to(work.device).to(memory_format=torch.channels_last)
    saved = training.saved(work)
    with repeatable(tf32=True):
        if saved is None and (settings.recalibrate is True or (settings.recalibrate == "auto" and not _repaired(work))):
            recalibrate(model, work, settings.batch_size)
        if settings.steps:
            training.distil(model, settings, work, saved)
    model.eval().requires_grad_(False).cpu().to(memory_format=torch.contiguous_format)
    model.cast(dtype)
    return model


# ------------------------------------------------------------------------------------ batch norm
def _repaired(work: StepContext) -> bool:
    """Whether pruning left weights that fit the batch norms as they are, and would not if these were measured again."""
    prunings: list[Any] = [use.settings for use in work.earlier if use.name == "prune"]
    return bool(prunings) and _repairs(prunings[-1])


def recalibrate(model: Detector, work: StepContext, batch_size: int) -> None:
    """Measure every batch norm's mean and variance again, as the plain average over some train frames."""
    import torch
    from torch import nn

    part = work.part("recalibrating")
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's spelling of a cumulative average
        norm.train()
    frames = work.frames["train"].frames
    total = max(1, min(_RECALIBRATION_FRAMES, len(frames)) // batch_size)
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
