"""Bring a pruned or quantised detector back by distillation from the uncompressed one, on the frames of `train`.

No labels are needed. A part of the frames, apart by source, is held out of the training: the weights that follow the
teacher best on them are the result, those at the start included, so that training can't make worse what pruning left.
Batch norms keep their statistics, or are measured again before the first step, whichever follows the teacher more
closely on the held-out frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from bench.errors import UserError, counted
from bench.records import FrameSet, Split
from bench.variants.steps import Cost, Leaves, Turn
from bench.variants.steps.recover import norms, rates, training
from bench.variants.steps.recover.settings import Record as Record
from bench.variants.steps.recover.settings import Settings as Settings

if TYPE_CHECKING:
    import onnx

    from bench.detectors.detector import Detector
    from bench.detectors.offers import Offer
    from bench.variants.steps import StepContext, Use

ACCEPTS: Literal["torch"] = "torch"
PRODUCES: Literal["torch"] = "torch"
NEEDS: frozenset[Offer] = frozenset()
FRAMES: Mapping[Split, str] = {"train": "distillation"}
SEES_SOURCES = True
ON_DEVICE = True
VERSION = 7
SEEDED = True
LIBRARIES: tuple[str, ...] = ("numpy", "opencv-python-headless", "torch", "timm")
MAIN = "steps"
AFTER = ("prune", "quantize")
SYNONYMS = "finetune fine-tune fine_tune retrain train distill distillation"
TURN: Turn = "train"
TRIED = (None,)
RECORD = training.RECORD

# Up to this amount pruning with repair may do so little harm that held-out frames show nothing to train.
_HARMLESS = 0.5
_LOOKED_AT = 64
_LOOK_NOTE = (
    "recover counts as a look at held-out frames, which is all where the pruned network follows the other closely"
)


def why_not_after(settings: Settings, earlier: Sequence[Use]) -> str | None:
    """What would be undone, and what is one `recover` written as two."""
    if any(use.name == "cast" for use in earlier):
        return "what `cast` has rounded would be trained further and rounded again; put `cast` after it"
    if earlier and earlier[-1].name == "quantize":
        return _why_not_quantised(settings)
    if earlier and earlier[-1].name == "recover":
        return "a second recover right behind the first; write one, with more `steps`"
    return None


def _why_not_quantised(settings: Settings) -> str | None:
    """What training with rounding in the forward pass has no use for."""
    if settings.recalibrate is True:
        return "after `quantize` there are no batch norms left to measure again; leave `recalibrate` out"
    if settings.precision not in ("auto", "fp32"):
        return f"training with rounding computes in fp32; leave `precision: {settings.precision}` out"
    return None


def check(settings: Settings, frames: Mapping[Split, FrameSet]) -> None:
    """Refuse a set that does not fill one batch."""
    count = len(frames["train"].frames)
    if count < settings.batch_size:
        raise UserError(
            f"recover: {counted(count, 'train frame')} {'is' if count == 1 else 'are'} less than one batch of "
            f"{settings.batch_size}; give more frames, or set a smaller batch_size"
        )


def cost(settings: Settings, counts: Mapping[Split, int], earlier: Sequence[Use]) -> Cost:
    """The training; a look at held-out frames alone where that may find nothing to train."""
    trained = settings.steps + (rates.RANGE_STEPS if settings.learning_rate == "auto" else 0)
    if earlier and earlier[-1].name == "quantize":
        return Cost(20.0, trained * settings.batch_size, 1.8, 0.8)
    if _may_find_nothing_to_train(earlier):
        looked_at = min(_LOOKED_AT, counts["train"])
        return Cost(6.0, looked_at, 1.4, 0.8, _LOOK_NOTE, most_frames=trained * settings.batch_size)
    return Cost(3.0, trained * settings.batch_size, 1.4, 0.8)


def apply_quantised(graph: onnx.ModelProto, settings: Settings, work: StepContext) -> onnx.ModelProto:
    """The quantised graph with other integers and biases, trained with rounding in the forward pass.

    Scales, ranges and what is in float stay. Where the graph's own answers came no closer to the teacher's on held-out
    frames, it is returned as it was.
    """
    from bench.detectors.learning import repeatable
    from bench.variants.steps.recover import quantised

    with repeatable(tf32=False):
        return quantised.recovered(graph, settings, work)


def leaves(settings: Settings) -> Leaves:
    """The network as it is, nearer to its teacher: how much nearer, a search learns by trying."""
    return Leaves(noise=0.7)


def _may_find_nothing_to_train(earlier: Sequence[Use]) -> bool:
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

    from bench.detectors.learning import repeatable

    dtype = model.dtype
    # Measured on two CPU cores, a pruned B5 and its teacher: 1.5 against 2.0 CPU seconds a step.
    model.float().to(work.device).to(memory_format=torch.channels_last)
    saved = training.saved(work)
    with repeatable(tf32=True):
        if settings.steps:
            model.requires_grad_(True)
            training.distil(model, settings, work, saved)
        elif settings.recalibrate is True:
            norms.recalibrate(model, work.frames["train"].frames, settings.batch_size, work)
    model.eval().requires_grad_(False).cpu().to(memory_format=torch.contiguous_format)
    model.cast(dtype)
    return model
