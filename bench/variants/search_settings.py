"""How a variant is set that is not a chain of steps but the search for one: `{find: smallest, keep: …, within: …}`."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator

from bench.errors import in_yaml, no_boolean

Aim: TypeAlias = Literal["smallest", "fastest"]
AIMS: tuple[Aim, ...] = ("smallest", "fastest")

_WEEK_MINUTES = 7 * 24 * 60


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _is_number(cls, value: object) -> object:
        return no_boolean(value)


class KeepSettings(_Model):
    """What the variant may lose."""

    auc_drop: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] | None = Field(
        default=None,
        description="most AUC lost against the baseline, proven by its interval; `margin` unless given",
    )
    mean_dp: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = Field(
        default=None, description="most that P(fake) may move on average, either way; any unless given"
    )


class WithinSettings(_Model):
    """How long is searched."""

    minutes: Annotated[float, Field(gt=0, le=_WEEK_MINUTES, allow_inf_nan=False)] = Field(
        description="no candidate is begun that would not be done by then; the first one always is"
    )


class SearchSettings(BaseModel):
    """The smallest file, or the fastest network, that keeps the verdict: its chain of steps is found by the run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    find: Aim = Field(
        description="smallest: the smallest file; fastest: the shortest call with one frame, in the runtime of the "
        "experiment"
    )
    keep: KeepSettings = Field(default=KeepSettings(), description="what the variant may lose, on validation frames")
    within: WithinSettings | None = Field(
        default=None, description="how long is searched, such as {minutes: 10}; as long as it takes unless given"
    )

    @field_validator("find", mode="before")
    @classmethod
    def _is_an_aim(cls, aim: object) -> object:
        if aim not in AIMS:
            raise ValueError(f"should be {' or '.join(AIMS)}, found {in_yaml(aim)}")
        return aim

    @property
    def text(self) -> str:
        """What stands in place of steps: "find: smallest"."""
        return f"find: {self.find}"
