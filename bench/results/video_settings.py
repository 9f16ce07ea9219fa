"""How videos are scored, as an experiment says it, validated before any work."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from bench.errors import in_yaml, no_boolean
from bench.records import MissingScore, VideoScoring


def _missing(value: Any) -> Any:
    """0.5 as a word: YAML reads a number."""
    if value == 0.5 and not isinstance(value, bool):
        return "0.5"
    if value not in ("exclude", "real", "fake", "0.5"):
        raise ValueError(f"must be exclude, real, fake or 0.5, found {in_yaml(value)}")
    return value


Missing = Annotated[
    MissingScore, BeforeValidator(_missing, json_schema_input_type=Literal["exclude", "real", "fake"] | float)
]
Top = Annotated[int, BeforeValidator(no_boolean), Field(strict=True, ge=1, le=100_000)]


class VideoSettings(BaseModel):
    """How the scores of frames become a video's, and what a video without frames counts as."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    score: Literal["mean", "max", "top"] = Field(
        default="mean",
        description="a video's P(fake): the mean of its frames', the highest, or the mean of the `top` highest; of "
        "several faces in a frame the highest counts",
    )
    top: Top = Field(default=5, description="with `score: top`: how many of a video's frames are averaged")
    missing: Missing = Field(
        default="exclude",
        description="what videos without frames count as, such as those in which no face was found, in every variant "
        "alike: not at all, as called real or fake for certain, or as P(fake) 0.5",
    )

    @field_validator("top")
    @classmethod
    def _is_used(cls, top: int, values: ValidationInfo) -> int:
        if values.data.get("score", "top") != "top":
            raise ValueError(f"is used with `score: top` alone, and the score is {values.data['score']}")
        return top

    @property
    def record(self) -> VideoScoring:
        return VideoScoring(self.score, self.top, self.missing)
