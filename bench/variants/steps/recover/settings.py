"""How `recover` is set in `experiments.yaml`, and what it records of itself in `variant.json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from bench.errors import in_yaml
from bench.records import Foretold, Recovery

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
        default=320, description="at most so many steps of training; 0 trains nothing, beside `recalibrate: true` only"
    )
    batch_size: Annotated[int, Field(strict=True, ge=2, le=1_000_000)] = Field(
        default=16, description="train frames in a step"
    )
    learning_rate: Literal["auto"] | Annotated[float, Field(strict=True, gt=0, lt=1)] = Field(
        default="auto", description="its highest; `auto` finds it by a range test of 20 steps"
    )
    augment: Annotated[bool, Field(strict=True)] = Field(
        default=True,
        description="train on frames that are mirrored, shifted, in other colours and saved as JPEG again, by chance; "
        "`false` mirrors them alone",
    )
    enough: Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)] = Field(
        default=3e-3,
        description="what follows the teacher so closely on held-out frames is not trained any further: the squared "
        "errors of logit difference and CAM, each as a share of the teacher's variance, added up",
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
        description="measure batch norms again before training; `auto` does so where held-out frames are followed "
        "more closely then",
    )

    @field_validator("learning_rate", mode="before")
    @classmethod
    def _auto_or_a_rate(cls, rate: object) -> object:
        if rate != "auto" and not (type(rate) in (int, float) and 0 < float(str(rate)) < 1):
            raise ValueError(f"should be auto or a number above 0 and below 1, found {in_yaml(rate)}")
        return rate

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


_Count = Annotated[int, Field(ge=0)]
_Text = Annotated[str, Field(max_length=4000)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True)
class Errors:
    """The held-out error when training began, and that of the weights that stayed."""

    before: _Finite
    after: _Finite


@dataclass(frozen=True)
class Record:
    """What became of the training; `bench.records.Recovery` says what each field means."""

    steps: _Count
    steps_wanted: _Count
    ended: _Text
    cut_short: bool
    best_step: _Count
    judged_on: _Text
    error: Errors

    @property
    def recovery(self) -> Recovery:
        return Recovery(
            self.steps, self.steps_wanted, self.ended, self.cut_short, self.best_step, self.judged_on,
            self.error.before, self.error.after,
        )  # fmt: skip

    @property
    def foretold(self) -> Foretold | None:
        """No noise where the weights are what they were; of a training nothing is known beforehand."""
        unchanged = self.best_step == 0 and self.error.after >= self.error.before
        return Foretold(0.0, 0, 0.0) if unchanged else None
