"""The limits of an experiment, validated before any work: `choose:` and `gates:`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from bench.errors import no_boolean
from bench.records import Constraints

Number = Annotated[float, BeforeValidator(no_boolean), Field(allow_inf_nan=False)]
Share = Annotated[Number, Field(ge=0, le=1)]
Above = Annotated[Number, Field(gt=0)]
Margin = Annotated[Number, Field(ge=0, lt=1)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ChooseSettings(_Model):
    """What the variant to ship must meet; the report then recommends one."""

    auc_drop: Margin | None = Field(
        default=None, description="most AUC that may be lost, proven by its interval; if not given, `margin`"
    )
    size_mib: Above | None = Field(default=None, description="largest file, in 2^20 bytes")
    latency_ms: Above | None = Field(default=None, description="longest median call with one frame, on this machine")
    prefer: Literal["size", "latency", "auc"] = Field(
        default="size", description="by what the best of those that qualify is picked"
    )

    @property
    def record(self) -> Constraints:
        return Constraints(self.auc_drop, self.size_mib, self.latency_ms, self.prefer)


AGAINST_BASELINE = ("auc_drop", "latency_ratio", "flips", "worst_slice_auc_drop", "robustness_drop", "group_gap")
"""Gates that compare a variant with the baseline, which the baseline itself has no part in."""


class GateSettings(_Model):
    """Limits for `bench check`.

    Noisy quantities fall where the whole 95 % interval lies beyond the limit, with `strict` also where the
    estimate does; `size_mib` and `flips` are exact. What could not be had falls.
    """

    auc: Share | None = Field(default=None, description="least ROC AUC; judged by its interval")
    auc_drop: Margin | None = Field(
        default=None, description="most AUC lost against the baseline on the same frames; judged by its interval"
    )
    recall: Share | None = Field(
        default=None, description="least share of fakes found at the fixed threshold; judged by its interval"
    )
    fpr: Share | None = Field(
        default=None, description="most real frames called fake at the fixed threshold, a share; judged by its interval"
    )
    size_mib: Above | None = Field(default=None, description="largest file, in 2^20 bytes; exact")
    latency_ratio: Above | None = Field(
        default=None,
        description="most times as slow as the baseline with one frame, timed in the same session, runtime and "
        "device; judged by its interval",
    )
    flips: Annotated[int, BeforeValidator(no_boolean), Field(strict=True, ge=0)] | None = Field(
        default=None, description="most test frames that the baseline has right and the variant wrong; exact"
    )
    worst_slice_auc_drop: Margin | None = Field(
        default=None,
        description="most AUC lost against the baseline in any slice of the frames; judged by the intervals that "
        "hold for all slices at once",
    )
    min_coverage: Share | None = Field(
        default=None, description="least share of the test videos that have a frame, the same for all variants; exact"
    )
    robustness_drop: Margin | None = Field(
        default=None,
        description="most AUC lost under any re-compression beyond what the baseline loses there; needs `robustness:`; "
        "judged by the intervals that hold for all levels at once",
    )
    group_gap: Margin | None = Field(
        default=None,
        description="most that the gap of false-positive or false-negative rates between groups may grow against the "
        "baseline; needs `groups:`; judged by the intervals that hold for all columns and both rates at once",
    )
    strict: bool = Field(
        default=False, strict=True, description="the estimate must meet the limit too, not its interval alone"
    )

    @field_validator("*", mode="before")
    @classmethod
    def _is_given(cls, limit: object) -> object:
        if limit is None:
            raise ValueError("has no value, so it would guard nothing: give it one, or take the key out")
        return limit

    @model_validator(mode="after")
    def _holds_something(self) -> GateSettings:
        if not self.model_fields_set:
            raise ValueError(f"no gate; gates are: {', '.join(self.gate_names())}")
        return self

    @classmethod
    def gate_names(cls) -> tuple[str, ...]:
        return tuple(name for name in cls.model_fields if name != "strict")

    @property
    def limits(self) -> dict[str, float]:
        """The gates that are set, in their order."""
        limits = {name: getattr(self, name) for name in self.gate_names()}
        return {name: limit for name, limit in limits.items() if limit is not None}
