"""What is done to train frames at random, and how strongly: `augment:` of a training."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from bench.errors import in_yaml, no_boolean

Number = Annotated[float, BeforeValidator(no_boolean), Field(allow_inf_nan=False)]
Strict: TypeAlias = Annotated[int, BeforeValidator(no_boolean), Field(strict=True)]
Share = Annotated[Number, Field(ge=0, le=1)]


class Change(BaseModel):
    """A change that is made to a share of the frames. A number alone is that share, `false` is none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    share: Share = Field(default=0.5, description="of the frames that are changed so")

    @model_validator(mode="before")
    @classmethod
    def _share_alone(cls, value: object) -> object:
        if value is False or value == "none":
            return {"share": 0.0}
        if type(value) in (int, float):
            return {"share": value}
        if not isinstance(value, (dict, BaseModel)):
            raise ValueError(f"expected the share of frames, such as 0.5, or settings, found {in_yaml(value)}")
        return value

    @model_validator(mode="after")
    def _rising(self) -> Change:
        """`least` is not above `most`."""
        least, most = getattr(self, "least", 0), getattr(self, "most", None)
        if most is not None and least > most:
            raise ValueError(f"`least` is {in_yaml(least)} and `most` {in_yaml(most)}; write the smaller one first")
        return self


class Crop(Change):
    """A part of the picture, before it is resized."""

    least: Annotated[Number, Field(gt=0.05, le=1)] = Field(default=0.8, description="the smallest part, a share of it")
    ratio: Annotated[Number, Field(ge=1, le=4)] = Field(
        default=1.1, description="how much longer one of its sides may be than in the picture"
    )


class Rotation(Change):
    """A turn around the middle."""

    share: Share = Field(default=0.2, description="of the frames that are changed so")
    degrees: Annotated[Number, Field(gt=0, le=180)] = Field(default=10, description="at most, to either side")


class Affine(Change):
    """Moved, scaled and sheared."""

    share: Share = Field(default=0.2, description="of the frames that are changed so")
    shift: Share = Field(default=0.05, description="at most, of a side")
    scale: Annotated[Number, Field(ge=0, lt=1)] = Field(default=0.05, description="at most larger or smaller, a share")
    shear: Annotated[Number, Field(ge=0, le=45)] = Field(default=3, description="at most, in degrees")


class Colour(Change):
    """Brightness, contrast, saturation and hue."""

    brightness: Share = Field(default=0.1, description="at most more or less, a share")
    contrast: Share = Field(default=0.1, description="at most more or less, a share")
    saturation: Share = Field(default=0.1, description="at most more or less, a share")
    hue: Annotated[Number, Field(ge=0, le=0.5)] = Field(default=0.02, description="at most, of the whole circle")


class Jpeg(Change):
    """Saved as JPEG again."""

    least: Annotated[Strict, Field(ge=1, le=100)] = Field(default=50, description="the lowest quality")
    most: Annotated[Strict, Field(ge=1, le=100)] = Field(default=95, description="the highest quality")


class Noise(Change):
    """Gaussian noise of every pixel and channel."""

    share: Share = Field(default=0.2, description="of the frames that are changed so")
    least: Annotated[Number, Field(ge=0, le=255)] = Field(default=1, description="its smallest deviation, of 255")
    most: Annotated[Number, Field(ge=0, le=255)] = Field(default=8, description="its largest deviation, of 255")


class Blur(Change):
    """Gaussian blur."""

    share: Share = Field(default=0.2, description="of the frames that are changed so")
    least: Annotated[Number, Field(gt=0, le=50)] = Field(default=0.3, description="its smallest deviation, in pixels")
    most: Annotated[Number, Field(gt=0, le=50)] = Field(default=1.5, description="its largest deviation, in pixels")


class Colours(Change):
    """Fewer bits for each channel, as of pictures with few colours."""

    share: Share = Field(default=0.05, description="of the frames that are changed so")
    least: Annotated[Strict, Field(ge=1, le=8)] = Field(default=4, description="the fewest bits of a channel")
    most: Annotated[Strict, Field(ge=1, le=8)] = Field(default=6, description="the most bits of a channel")


class Erase(Change):
    """A rectangle of noise in the place of what was there."""

    share: Share = Field(default=0.1, description="of the frames that are changed so")
    least: Annotated[Number, Field(gt=0, le=1)] = Field(default=0.02, description="its smallest area, of the frame's")
    most: Annotated[Number, Field(gt=0, le=1)] = Field(default=0.1, description="its largest area, of the frame's")


class AugmentSettings(BaseModel):
    """The changes, in the order in which they are made: crops before a frame is resized, all others after."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    crop: Crop = Field(default=Crop(), description="a part of the picture")
    flip: Change = Field(default=Change(), description="mirror left and right")
    rotation: Rotation = Field(default=Rotation(), description="turn")
    affine: Affine = Field(default=Affine(), description="move, scale and shear")
    colour: Colour = Field(default=Colour(), description="other brightness, contrast, saturation and hue")
    blur: Blur = Field(default=Blur(), description="blur")
    noise: Noise = Field(default=Noise(), description="add noise")
    colours: Colours = Field(default=Colours(), description="round colours to fewer bits")
    jpeg: Jpeg = Field(default=Jpeg(), description="save as JPEG again")
    erase: Erase = Field(default=Erase(), description="erase a rectangle")

    @model_validator(mode="before")
    @classmethod
    def _none(cls, value: object) -> object:
        if value == "none" or value is False:
            return dict.fromkeys(cls.model_fields, 0.0)
        if value == "usual" or value is True:
            return {}
        if not isinstance(value, (dict, AugmentSettings)):
            raise ValueError(f"expected none, usual, or changes such as {{flip: 0.5}}, found {in_yaml(value)}")
        return value
