"""Take away whole channels, until the wanted share of parameters, of MACs and of the file is gone.

Channels that must go together are found in the network's graph. What a block expands inside itself is narrowed,
what blocks pass on stays where the budget allows: which channels go, and how many of each layer, follows from
what the margin would lose (`ranking`) under one budget for the whole network (`budget`). Then the weights that stay
take over what went, in closed form (`repair`). Both look at calibration frames, and need no labels and no training.

With `structure: unstructured`, the smallest weights become zero instead: global magnitude pruning (Han
et al., NeurIPS 2015) over the convolutions and linear layers of the backbone. With `structure: 2of4`,
two of every four neighbouring weights do (`two_of_four`). Such zeros are stored and
multiplied like any other number: parameters, MACs, file size and speed stay as they were.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from bench import phases
from bench.errors import UserError
from bench.records import Built, FrameSet, Split
from bench.variants.layers.repeatable import repeatable

if TYPE_CHECKING:
    from torch import Tensor

    from bench.detectors.detector import Detector
    from bench.variants.steps import StepContext, Use

ACCEPTS: Literal["torch"] = "torch"
PRODUCES: Literal["torch"] = "torch"
FRAMES: Mapping[Split, str] = {"calibration": "tells which channels can go, and repairs what stays"}
VERSION = 8
SEEDED = False
SEES_SOURCES = True
ON_DEVICE = True
LIBRARIES: tuple[str, ...] = ("numpy", "scipy", "torch", "torch-pruning", "timm")
MAIN = "amount"

LEAST_FRAMES, MOST_FRAMES = 8, 1_000_000
FAR_LESS = 0.8
"""Where less than this share of what may stay is left, the report says why."""

# Settings that mean nothing for a structure.
_OF_STRUCTURE = {
    "structured": set[str](),
    "unstructured": {"ranking", "repair", "frames"},
    "2of4": {"ranking", "repair"},
}
_IS = {name: {"properties": {"structure": {"const": name}}, "required": ["structure"]} for name in _OF_STRUCTURE}
# What the validators say, for editors; what they add by themselves, nobody need write.
_SCHEMA: dict[str, Any] = {
    "required": [],
    "allOf": [
        {"if": _IS["2of4"], "then": {"properties": {"amount": {"const": 0.5}}}, "else": {"required": ["amount"]}},
        *(
            {"if": _IS[name], "then": {"properties": dict.fromkeys(sorted(useless), False)}}
            for name, useless in _OF_STRUCTURE.items()
            if useless
        ),
        {
            "if": {
                "properties": {"ranking": {"const": "magnitude"}, "repair": {"const": False}},
                "required": ["ranking", "repair"],
            },
            "then": {"properties": {"frames": False}},
        },
    ],
}


class Settings(BaseModel):
    """What is taken away, and by what it is chosen."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=_SCHEMA)

    amount: Annotated[float, Field(strict=True, gt=0, le=0.999)] = Field(
        description="the share that must go: 0.5 leaves at most half; `structure: 2of4` takes half and needs no amount"
    )
    structure: Literal["structured", "unstructured", "2of4"] = Field(
        default="structured",
        description="`structured` takes whole channels, so that parameters, MACs and file shrink by `amount`; "
        "`unstructured` makes that share of the weights zero, and nothing shrinks; `2of4` makes two of every four "
        "neighbouring weights zero, which NVIDIA's sparse tensor cores can skip",
    )
    ranking: Literal["loss", "magnitude"] = Field(
        default="loss",
        description="`loss` takes the channels that the margin misses least, as many from each layer as it can spare; "
        "`magnitude` those with the smallest weights, the same share from every layer; with `structured` only",
    )
    repair: Annotated[bool, Field(strict=True)] = Field(
        default=True, description="whether the weights that stay take over what went; with `structured` only"
    )
    frames: Annotated[int, Field(strict=True, ge=LEAST_FRAMES, le=MOST_FRAMES)] = Field(
        default=128, description="at most so many calibration frames are read, where any are"
    )

    @model_validator(mode="before")
    @classmethod
    def _half_by_definition(cls, given: object) -> object:
        """Where the structure is a mistake, that is what is told, not an amount that it might not need."""
        if not isinstance(given, dict) or given.get("structure", "structured") in ("structured", "unstructured"):
            return given
        return {"amount": 0.5, **given}

    @field_validator("structure")
    @classmethod
    def _of_half(cls, structure: str, info: ValidationInfo) -> str:
        if structure == "2of4" and info.data.get("amount", 0.5) != 0.5:
            raise ValueError("`structure: 2of4` takes half of the weights, no other amount; leave `amount` out")
        return structure

    @field_validator("ranking", "repair", "frames")
    @classmethod
    def _of_use(cls, value: object, info: ValidationInfo) -> object:
        structure = info.data.get("structure", "structured")
        if info.field_name in _OF_STRUCTURE[structure]:
            raise ValueError(
                f"`structure: {structure}` takes single weights and has no {info.field_name}; leave it out"
            )
        blind = (info.data.get("ranking"), info.data.get("repair")) == ("magnitude", False)
        if info.field_name == "frames" and blind:
            raise ValueError("`ranking: magnitude, repair: false` reads no frames; leave it out")
        return value

    @model_serializer(mode="wrap")
    def _without_defaults(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What was said outright and what was left at its default are the same artifact."""
        found: dict[str, Any] = serialise(self)
        fields = type(self).model_fields
        return {key: value for key, value in found.items() if value != fields[key].default}


def frames(settings: Settings) -> Mapping[Split, str]:
    """Zeros and magnitudes are found without looking at frames."""
    if settings.structure == "2of4":
        return {"calibration": "tells which weights can go, and lets those that stay make up for them"}
    if settings.structure == "unstructured":
        return {}
    if settings.ranking == "loss":
        return FRAMES if settings.repair else {"calibration": "tells which channels can go"}
    return {"calibration": "repairs what stays"} if settings.repair else {}


def why_not_after(settings: Settings, earlier: Sequence[Use]) -> str | None:
    """What would be undone, and what is one `prune` written as two."""
    if any(use.name == "cast" for use in earlier):
        return "what `cast` has rounded would be changed and rounded again; put `cast` after it"
    prunings: list[Any] = [use.settings for use in earlier if use.name == "prune"]
    if any(one.structure == "2of4" for one in prunings):
        return "`structure: 2of4` has to be the last prune: after another, zeros are not two of every four"
    if prunings and earlier[-1].name == "prune" and prunings[-1].structure == settings.structure:
        both = 1 - (1 - prunings[-1].amount) * (1 - settings.amount)
        amount = both if settings.structure == "structured" else max(prunings[-1].amount, settings.amount)
        return f"a second prune right behind the first; write one, with `amount: {amount:.3g}`"
    return None


def check(settings: Settings, frame_sets: Mapping[Split, FrameSet]) -> None:
    """Refuse a set too small to tell what a channel is for."""
    if not frames(settings):
        return
    found = len(frame_sets["calibration"].frames)
    if found < LEAST_FRAMES:
        for_what, other = "rank and repair channels", "ranking: magnitude, repair: false"
        if settings.structure == "2of4":
            for_what, other = "choose weights", "structure: unstructured"
        raise UserError(
            f"prune: {found} calibration frames are too few to {for_what}; give at least {LEAST_FRAMES}, "
            f"better {settings.frames}; or use `prune: {{amount: {settings.amount:g}, {other}}}`"
        )


def apply(model: Detector, settings: Settings, work: StepContext) -> Detector:
    """`model` itself, with narrower layers or with zeros. Its two logits and its preprocessing are as they were."""
    from bench.variants.steps.prune import two_of_four

    dtype = model.dtype
    model.float().eval().requires_grad_(True)
    if settings.structure == "unstructured":
        _zero(model, settings.amount)
    elif settings.structure == "2of4":
        two_of_four.sparsify(model, settings.frames, work)
    else:
        # Ranking and repair tell apart what TF32 would round away.
        with repeatable(tf32=False):
            _narrow(model, settings, work)
    model.cast(dtype)
    return model


def _zero(model: Detector, amount: float) -> None:
    """Make the share `amount` of the backbone's weights zero, the smallest first, whichever layer they are in.

    The head stays: its weights are few, and small beside those of convolutions, so that all would go.
    """
    import torch
    from torch.nn.utils import prune

    phases.begin("choosing weights")
    layers = model.weighted_layers()
    pairs = [(layer, "weight") for layer in layers.values()]
    prune.global_unstructured(pairs, prune.L1Unstructured, amount=amount)
    for name, layer in layers.items():
        prune.remove(layer, "weight")  # type: ignore[no-untyped-call]
        if not layer.weight.count_nonzero():
            raise UserError(
                f"prune: {amount:g} of all weights, the smallest first, are all of those of {name}, and nothing would "
                "pass it any more; take less away, or whole channels with `structure: structured`"
            )
        with torch.no_grad():
            # The mask leaves a -0 of every negative weight, whose sign bit would be stored and compressed.
            layer.weight.add_(0.0)


def remark(settings: Settings, before: Built, after: Built) -> str | None:
    """Why far fewer parameters are left than were asked for; None where they are not."""
    if settings.structure != "structured" or not (before.parameters and before.macs):
        return None
    if not (after.parameters and after.macs):
        return None
    parameters, macs = after.parameters / before.parameters, after.macs / before.macs
    asked = 1 - settings.amount
    if min(parameters, macs) > FAR_LESS * asked:
        return None
    most, least = ("MACs", "parameters") if macs > parameters else ("parameters", "MACs")
    return (
        f"prune: {settings.amount:g} leaves at most {100 * asked:g} % of each: parameters, MACs and bytes of the file "
        f"(and about as much of the estimated time); what is hardest to cut binds, and the rest falls further: "
        f"{100 * max(parameters, macs):.0f} % of the {most} are left and {100 * min(parameters, macs):.0f} % of the "
        f"{least}, since wide layers at low resolution hold most parameters, and those at high resolution take the time"
    )


def _narrow(model: Detector, settings: Settings, work: StepContext) -> None:
    """Cut whole channels until at most `1 - amount` of parameters, MACs and file is left, and repair the rest."""
    import torch

    from bench.variants.steps.prune import taylor
    from bench.variants.steps.prune.budget import Budget
    from bench.variants.steps.prune.channels import Channels
    from bench.variants.steps.prune.ranking import FRAMES, rank
    from bench.variants.steps.prune.repair import repair

    phases.begin("tracing the network")
    channels = Channels(model)
    original = copy.deepcopy(model)
    budget = Budget(model, channels.groups, 1 - settings.amount)
    for network in (model, original):
        network.to(work.device).to(memory_format=torch.channels_last)
    by_loss = settings.ranking == "loss"
    ranked = rank(original, channels.groups, work, settings.frames) if by_loss else {}
    phases.begin("choosing widths")
    widths = budget.cheapest(ranked) if by_loss else budget.uniform()
    narrowed = [group for group in channels.groups if widths[group.root] < group.width]
    importance = {root: found.importance for root, found in ranked.items()}
    if unranked := [group for group in narrowed if by_loss and group.root not in ranked]:
        importance |= taylor.importances(original, unranked, work, min(settings.frames, FRAMES))
    left: dict[str, Tensor] = {}
    for done, group in enumerate(narrowed, start=1):
        known = importance.get(group.root)
        left |= channels.cut(group, channels.magnitudes(group) if known is None else known, widths[group.root])
        work.progress(done, len(narrowed), "layers", "cutting")
    if settings.repair:
        phases.begin("preparing the repair")
        repair(model, original, left, work, settings.frames)
    model.cpu().to(memory_format=torch.contiguous_format)
