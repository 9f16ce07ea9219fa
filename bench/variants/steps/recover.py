"""Bring a pruned detector back by distillation from the unpruned one, on the frames of `train`.

No labels are needed. A slice of the frames, apart by source, is held out to judge by: the weights that follow
the teacher best there are what is kept, those at the start among them, so that training can't make worse what
pruning left. Batch norms keep their statistics, which pruning's repair has left fitting; where there was none,
they are measured again first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from bench.errors import UserError, in_yaml
from bench.records import FrameSet, Split
from bench.variants import distillation, training
from bench.variants.repeatable import repeatable

if TYPE_CHECKING:
    from bench.detectors.detector import Detector
    from bench.variants.steps import Use, Work

ACCEPTS: Literal["torch"] = "torch"
PRODUCES: Literal["torch"] = "torch"
FRAMES: Mapping[Split, str] = {"train": "distillation"}
SEES_SOURCES = True
ON_DEVICE = True
VERSION = 5
SEEDED = True
LIBRARIES: tuple[str, ...] = ("numpy", "torch", "timm")
MAIN = "steps"
AFTER = ("prune",)

_RECALIBRATION_FRAMES = 320
RECORD = training.RECORD


_WEEK_MINUTES = 7 * 24 * 60
# What the validator `_does_something` says, for editors.
_SCHEMA: dict[str, Any] = {
    "if": {"properties": {"steps": {"const": 0}}, "required": ["steps"]},
    "then": {"properties": {"recalibrate": {"const": True}}, "required": ["recalibrate"]},
}


class Settings(BaseModel):
    """How long and how it is trained: AdamW, with a short warm-up and a cosine."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=_SCHEMA)

    steps: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] = Field(
        default=160, description="at most so many steps of training; 0 trains nothing, beside `recalibrate: true` only"
    )
    batch_size: Annotated[int, Field(strict=True, ge=2, le=1_000_000)] = Field(
        default=16, description="train frames in a step"
    )
    learning_rate: Annotated[float, Field(strict=True, gt=0, lt=1)] = Field(
        default=2e-4,
        description="its highest, for a network far from its teacher; one that is near takes smaller steps, as the "
        "root of its error",
    )
    enough: Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)] = Field(
        default=1e-3,
        description="what follows the teacher so closely on held-out frames is not trained any further: the squared "
        "errors of margin and CAM, each as a share of the teacher's variance, added up",
    )
    minutes: Annotated[float, Field(strict=True, gt=0, le=_WEEK_MINUTES)] | None = Field(
        default=None,
        description="no more steps than fit into that time of training, so that their number depends on the machine; "
        "where it bites, the artifact gets an id of its own",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="what training computes in; `auto` is half the bits where the device is fast at it"
    )
    recalibrate: Literal["auto"] | Annotated[bool, Field(strict=True)] = Field(
        default="auto",
        description="measure batch norms again before training; `auto` does so where pruning has not repaired the "
        "network",
    )

    @field_validator("recalibrate", mode="before")
    @classmethod
    def _one_of_three(cls, recalibrate: object) -> object:
        if recalibrate != "auto" and not isinstance(recalibrate, bool):
            raise ValueError(f"should be auto, true or false, found {in_yaml(recalibrate)}")
        return recalibrate

    @model_validator(mode="after")
    def _does_something(self) -> Settings:
        if not self.steps and self.recalibrate is not True:
            raise ValueError("`steps: 0` trains nothing; leave recover out, or add `recalibrate: true`")
        return self


def why_not_after(settings: Settings, earlier: Sequence[Use]) -> str | None:
    """What would be undone, and what is one `recover` written as two."""
    if any(use.name == "cast" for use in earlier):
        return "what `cast` has rounded would be trained further and rounded again; put `cast` after it"
    if earlier and earlier[-1].name == "recover":
        return "a second recover right behind the first; write one, with more `steps`"
    return None


def check(settings: Settings, frames: Mapping[Split, FrameSet]) -> None:
    """Refuse a set that does not fill one batch."""
    found = len(frames["train"].frames)
    if found < settings.batch_size:
        raise UserError(
            f"recover: {found} train frames are less than one batch of {settings.batch_size}; "
            "give more frames, or set a smaller batch_size"
        )


def may_be_cut(settings: Settings) -> bool:
    """Whether the clock may end the training, so that equal settings need not give equal weights."""
    return settings.minutes is not None


def apply(model: Detector, settings: Settings, work: Work) -> Detector:
    """`model` itself, in its own dtype, trained. Equal seeds give equal weights on one machine with as many threads.

    Raises `UserError` where training diverges.
    """
    import torch

    dtype = model.head.weight.dtype
    # Measured on two CPU cores, a pruned B5 and its teacher: 1.5 against 2.0 CPU seconds a step.
    model.float().to(work.device).to(memory_format=torch.channels_last)
    saved = training.saved(work)
    with repeatable(tf32=True):
        if saved is None and (settings.recalibrate is True or (settings.recalibrate == "auto" and not _repaired(work))):
            recalibrate(model, work, settings.batch_size)
        if settings.steps:
            training.distil(model, settings, work, saved)
    model.eval().requires_grad_(False).cpu().to(memory_format=torch.contiguous_format)
    model.backbone.to(dtype)
    model.head.to(dtype)
    return model


# ------------------------------------------------------------------------------------ batch norm
def _repaired(work: Work) -> bool:
    """Whether pruning left weights that fit the batch norms as they are, and would not if these were measured again."""
    prunings: list[Any] = [use.settings for use in work.earlier if use.name == "prune"]
    return bool(prunings) and prunings[-1].structure == "structured" and prunings[-1].repair


def recalibrate(model: Detector, work: Work, batch_size: int) -> None:
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
