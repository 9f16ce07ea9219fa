"""An entry under `detectors:` of an experiment file that is several of the others, joined to one."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from bench.errors import in_yaml, listed, nearest
from bench.folder_names import checked_list, checked_name
from bench.records.ensembles import Combination, Ensemble

_EXAMPLE = "{xception: 0.5, b4: 0.5}"


def _members(given: object) -> dict[str, float]:
    """The weight of each member, 1 for each of a list; `ValueError` for what is neither."""
    if not isinstance(given, (dict, list)) or not all(isinstance(name, str) for name in given):
        raise ValueError(
            f"expected members with their weights, such as {_EXAMPLE}, or a list of members; found {in_yaml(given)}"
        )
    names = checked_list(list(given), "member", "[xception, b4]") if given else ()
    if len(names) < 2:
        raise ValueError(f"an ensemble has at least two members, such as {_EXAMPLE}; found {in_yaml(given)}")
    weights = given if isinstance(given, dict) else dict.fromkeys(names, 1.0)
    for name, weight in weights.items():
        checked_name(name)
        if type(weight) not in (int, float) or not 0 < weight < math.inf:
            raise ValueError(f"{name}: a weight is a number above 0, found {in_yaml(weight)}")
    return {name: float(weight) for name, weight in weights.items()}


class EnsembleSettings(BaseModel):
    """Several detectors that answer as one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ensemble: Annotated[
        dict[str, float],
        BeforeValidator(_members, json_schema_input_type=dict[str, float] | Annotated[list[str], Field(min_length=2)]),
    ] = Field(
        description="the members, names under `detectors:`, each with its weight above 0; or a list of them, which "
        "all weigh the same"
    )
    combine: Combination = Field(
        default="mean",
        description="mean: the weighted mean of P(fake); logits: of the differences of logits; vote: the weighted "
        "share of members that call a frame fake; max: the highest P(fake)",
    )
    weights: Literal["fit"] | None = Field(
        default=None,
        description="fit: the weights that give the validation frames of the first frame set the least log loss, "
        "with the members as they are; members are then a list",
    )
    minimum: int = Field(
        default=1,
        strict=True,
        ge=1,
        description="how many members must answer: where one of them fails, the others answer for it",
    )

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, given: Any) -> Any:
        """Refuse unknown keys here: those that it has would be taken for a detector's."""
        _refuse_unknown_keys(given, cls, "an ensemble")
        if isinstance(given, dict) and given.get("weights") == "fit" and isinstance(given.get("ensemble"), dict):
            raise ValueError(f"with `weights: fit`, weights are found: name the members alone, {_names(given)}")
        return given

    @model_validator(mode="after")
    def _fits_together(self) -> EnsembleSettings:
        if self.minimum > len(self.ensemble):
            raise ValueError(f"minimum is {self.minimum}, and the ensemble has {len(self.ensemble)} members")
        if self.weights == "fit" and self.combine not in ("mean", "logits"):
            raise ValueError(f"`weights: fit` is for `combine: mean` and `logits`; it is `{self.combine}` here")
        if self.combine == "max" and len(set(self.ensemble.values())) > 1:
            raise ValueError("with `combine: max`, weights change nothing: give a list of members")
        return self

    @property
    def members(self) -> tuple[str, ...]:
        """The names of the members."""
        return tuple(self.ensemble)

    @property
    def record(self) -> Ensemble:
        """How answers are joined; weights that are to be fitted are equal until then."""
        return Ensemble(self.ensemble, self.combine, self.minimum)


def _refuse_unknown_keys(given: Any, model: type[BaseModel], what: str) -> None:
    """Raise `ValueError` with the keys of this model: the file's own message would name another's of the same place."""
    for key in given if isinstance(given, dict) else ():
        if key not in model.model_fields:
            raise ValueError(
                f"unknown key {in_yaml(key)}{nearest(str(key), model.model_fields)}; {what} has the keys: "
                f"{', '.join(model.model_fields)}"
            )


def _names(given: dict[str, Any]) -> str:
    return f"`ensemble: [{', '.join(map(str, given['ensemble']))}]`"


class MixSettings(BaseModel):
    """A variant of an ensemble: which variant of each member takes part."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    members: dict[str, str] = Field(
        default_factory=dict,
        description="the variant of each member, such as {xception: q8, b4: baseline}; those that are not named take "
        "part as they are",
    )
    without: tuple[str, ...] = Field(default=(), description="members that take no part")

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, given: Any) -> Any:
        _refuse_unknown_keys(given, cls, "a mix")
        return given

    @model_validator(mode="after")
    def _once(self) -> MixSettings:
        if twice := [name for name in self.without if name in self.members]:
            raise ValueError(f"{listed(twice)} cannot take part and be left out")
        if not self.members and not self.without:
            raise ValueError("names no member, so it would be the baseline again")
        return self

    @property
    def text(self) -> str:
        """As reports say it: "xception: q8, without f3net"."""
        parts = [f"{name}: {variant}" for name, variant in self.members.items()]
        return ", ".join([*parts, *(f"without {name}" for name in self.without)])
