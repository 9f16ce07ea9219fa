"""`robustness:` of an experiment: under which re-compression variants are judged again."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from bench.datasets.degradations.blur import Level as Sigma
from bench.datasets.degradations.h264 import Level as Crf
from bench.datasets.degradations.jpeg import Level as Quality
from bench.datasets.degradations.resize import Level as Factor
from bench.errors import in_yaml
from bench.records import Degradation

_EXAMPLE = "{jpeg: [90, 50], resize: [0.5], blur: [1.5], h264: [23, 40]}"
LevelsT = TypeVar("LevelsT", bound=tuple[float, ...])


def _as_list(levels: object) -> object:
    """A list of at least one level; otherwise `ValueError`."""
    if not isinstance(levels, list) or not levels:
        raise ValueError(f"expected a list of levels, such as {_EXAMPLE}; found {in_yaml(levels)}")
    return levels


def _distinct(levels: LevelsT) -> LevelsT:
    """The levels; `ValueError` where two are the same."""
    if twice := [level for index, level in enumerate(levels) if level in levels[:index]]:
        raise ValueError(f"names {in_yaml(twice[0])} twice")
    return levels


_List, _Distinct = BeforeValidator(_as_list), AfterValidator(_distinct)


class RobustnessSettings(BaseModel):
    """What test frames go through, as they were decoded, before every variant is judged again."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    jpeg: Annotated[tuple[Quality, ...], _List, _Distinct] = Field(
        default=(), description="JPEG qualities, with chroma of half the size (4:2:0)"
    )
    resize: Annotated[tuple[Factor, ...], _List, _Distinct] = Field(
        default=(), description="factors by which both sides shrink, before they grow back"
    )
    blur: Annotated[tuple[Sigma, ...], _List, _Distinct] = Field(
        default=(), description="sigmas of a Gaussian blur, in pixels of the frame"
    )
    h264: Annotated[tuple[Crf, ...], _List, _Distinct] = Field(
        default=(), description="CRFs of libx264, the frame being one intra frame; needs PyAV"
    )

    @model_validator(mode="after")
    def _has_levels(self) -> RobustnessSettings:
        if not self.degradations:
            raise ValueError(f"names no level; expected such as {_EXAMPLE}")
        return self

    @property
    def degradations(self) -> tuple[Degradation, ...]:
        """Each kind at each of its levels, as the file has them, kinds in the order of the keys here."""
        return (
            *(Degradation("jpeg", quality) for quality in self.jpeg),
            *(Degradation("resize", factor) for factor in self.resize),
            *(Degradation("blur", sigma) for sigma in self.blur),
            *(Degradation("h264", crf) for crf in self.h264),
        )
