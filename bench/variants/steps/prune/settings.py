"""How `prune` is set in `experiments.yaml`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

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

from bench.errors import in_yaml

LEAST_FRAMES, AUTO_FRAMES, MOST_FRAMES = 8, 128, 1_000_000

# Settings that mean nothing for a structure.
_OF_STRUCTURE = {
    "structured": set[str](),
    "unstructured": {"speed", "ranking", "repair", "frames"},
    "2of4": {"speed", "ranking", "repair"},
}
_IS = {name: {"properties": {"structure": {"const": name}}, "required": ["structure"]} for name in _OF_STRUCTURE}
# What the validators say, for editors; an amount that they add need not be written.
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
    speed: Annotated[float, Field(strict=True, gt=1, le=1000)] | None = Field(
        default=None,
        description="how many times as fast as before a frame must be, by an estimate from MACs and the values that "
        "convolutions write: a further limit beside `amount`; without it time is none; with `structured` only",
    )
    ranking: Literal["loss", "magnitude"] = Field(
        default="loss",
        description="`loss` takes the channels that the logit difference misses least, as many from each layer as it "
        "can spare; "
        "`magnitude` those with the smallest weights, the same share from every layer; with `structured` only",
    )
    repair: Annotated[bool, Field(strict=True)] = Field(
        default=True, description="whether the weights that stay take over what went; with `structured` only"
    )
    frames: Literal["auto"] | Annotated[int, Field(strict=True, ge=LEAST_FRAMES, le=MOST_FRAMES)] = Field(
        default="auto",
        description="at most so many calibration frames are read, where any are; `auto` is 128, and where what goes is "
        "foretold to be felt the repair reads up to 512 small ones",
    )

    @property
    def at_most(self) -> int:
        """So many calibration frames, before anything is foretold."""
        return AUTO_FRAMES if self.frames == "auto" else self.frames

    @field_validator("frames", mode="before")
    @classmethod
    def _auto_or_a_number(cls, frames: object) -> object:
        if frames != "auto" and not (type(frames) is int and LEAST_FRAMES <= frames <= MOST_FRAMES):
            raise ValueError(
                f"should be auto or a whole number from {LEAST_FRAMES} to {MOST_FRAMES:,}, found {in_yaml(frames)}"
            )
        return frames

    @model_validator(mode="before")
    @classmethod
    def _half_by_definition(cls, given: object) -> object:
        """Fill in the only amount of `2of4`, also for an unknown structure: the message is then of that mistake."""
        if not isinstance(given, dict) or given.get("structure", "structured") in ("structured", "unstructured"):
            return given
        return {"amount": 0.5, **given}

    @field_validator("structure")
    @classmethod
    def _of_half(cls, structure: str, info: ValidationInfo) -> str:
        if structure == "2of4" and info.data.get("amount", 0.5) != 0.5:
            raise ValueError("`structure: 2of4` takes half of the weights, no other amount; leave `amount` out")
        return structure

    @field_validator("speed", "ranking", "repair", "frames")
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
        """A setting that is spelled out and one that is left at its default give the same artifact."""
        settings: dict[str, Any] = serialise(self)
        fields = type(self).model_fields
        return {key: value for key, value in settings.items() if value != fields[key].default}
