"""One entry under `detectors:` of an experiment file, validated before anything is read."""

from __future__ import annotations

import math
from dataclasses import fields as dataclass_fields
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from bench import addresses
from bench.detectors import DEMO_ARCHITECTURE, DEMO_WEIGHTS, families
from bench.detectors.graph_settings import INPUT, OUTPUT, OUTPUT_NAME, InputSettings, both_classes
from bench.detectors.presets import PRESETS
from bench.errors import as_value_error, in_yaml, nearest, plain_yaml
from bench.footage import crops
from bench.records import FILTERS, LEAST_CROP_PCT, NO_CROP, ClassName, Conventions, OutputKind, Preprocessing


class WeightsSettings(BaseModel):
    """A file of weights, and where they lie in one that holds several sets of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str = Field(
        min_length=1,
        description="a .tar, .pth or .safetensors file, or `demo` for the shipped demo weights; of "
        "`architecture: onnx` an .onnx file. Or its address, such as s3://bucket/best.pth",
    )
    key: str | None = Field(
        default=None,
        description="the set of weights in a file that holds several, such as state_dict_ema: what their names have "
        "in front, without which the error lists those that there are",
    )

    @field_validator("key", mode="before")
    @classmethod
    def _text(cls, key: object) -> object:
        if key is not None and not isinstance(key, str):
            again = f": in quotes it is text, {plain_yaml(str(key))}" if type(key) in (int, float) else ""
            raise ValueError(f"expected text, found {in_yaml(key)}{again}")
        return key

    @field_validator("file")
    @classmethod
    def _path_or_address(cls, file: str) -> str:
        return addresses.checked_file(file)


# Pixels are scaled to [0, 1]; no statistics of those come near it.
_MOST_STD = 10


def _weights(value: object) -> object:
    if not isinstance(value, (str, dict)):
        raise ValueError(f"expected a file, or {{file: best_model.pth, key: state_dict_ema}}, found {in_yaml(value)}")
    return {"file": value} if isinstance(value, str) else value


Weights = Annotated[WeightsSettings, BeforeValidator(_weights, json_schema_input_type=str | WeightsSettings)]


class NetworkSettings(BaseModel):
    """A network, what its owner says of its weights, and how frames are prepared for it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    architecture: str = Field(description="the network, such as efficientnet_b5")
    weights: Weights | None = None
    positive: ClassName | None = Field(
        default=None, description="of a network with one logit: the class that a high one speaks for"
    )
    classes: tuple[ClassName, ClassName] | None = Field(
        default=None, description="of a network with two logits: their classes in order, if not [real, fake]"
    )
    flavour: str | None = Field(
        default=None,
        description="the arithmetic that the network was trained with, where names in the file do not tell: padding "
        "and the like, see docs/detectors.md",
    )
    preprocessing: Preprocessing = Field(
        description="a preset such as fsbi, sbi or imagenet, or {preset: fsbi, size: 160, ...} to override its fields"
    )

    @field_validator("architecture")
    @classmethod
    def _check_architecture(cls, architecture: str) -> str:
        as_value_error(partial(families.find, architecture))
        return architecture

    @field_validator("classes", mode="before")
    @classmethod
    def _both_classes(cls, classes: object) -> object:
        return both_classes(classes)

    @model_validator(mode="after")
    def _known_to_its_family(self) -> Self:
        """What is said of the weights fits the architecture, and itself."""
        if self.flavour is not None:
            as_value_error(partial(families.meaning, self.architecture, self.flavour))
        as_value_error(partial(families.check, self.architecture, self.flavour, self.preprocessing))
        if self.positive and self.classes:
            raise ValueError("`positive` is for one logit and `classes` for two: give one of them")
        return self

    @model_validator(mode="before")
    @classmethod
    def _key_of_weights(cls, given: object) -> object:
        """Where `key` belongs, which people write beside `weights`."""
        if isinstance(given, dict) and "key" in given:
            weights = given.get("weights")
            file = weights if isinstance(weights, str) else "best_model.pth"
            raise ValueError(
                f"`key` belongs to `weights`: write {{file: {plain_yaml(file)}, key: {plain_yaml(str(given['key']))}}}"
            )
        return given

    @field_validator("preprocessing", mode="before")
    @classmethod
    def _from_preset(cls, value: object) -> object:
        """The fields of a preset, with those that the file gives in their place."""
        if isinstance(value, str):
            return _preset(value)
        if isinstance(value, dict):
            given = dict(value)
            _check_filters(given.get("interpolation", FILTERS[0]))
            keys = ("preset", *(field.name for field in dataclass_fields(Preprocessing)))
            for key in given:
                if key not in keys:
                    raise ValueError(
                        f"unknown key {in_yaml(key)}{nearest(str(key), keys)}; keys are: {', '.join(keys)}"
                    )
            _check_crop(given.get("crop", NO_CROP))
            for key in given.keys() & {"mean", "std"}:
                _check_statistics(key, given[key])
            crop_pct = given.get("crop_pct", 1.0)
            if type(crop_pct) not in (int, float):
                raise ValueError(f"crop_pct: expected a number, found {in_yaml(crop_pct)}")
            preset = given.pop("preset", None)
            fit = given.get("fit", PRESETS[preset].fit if isinstance(preset, str) and preset in PRESETS else "stretch")
            for key, only in (("crop_pct", "crop"), ("pad", "pad")):
                if key in given and fit != only:
                    raise ValueError(f"`{key}` belongs to `fit: {only}`, and it is `fit: {fit}` here")
            if preset is not None:
                start = _preset(preset)
                for key in ("mean", "std"):
                    if isinstance(given.get(key), list):
                        given[key] = tuple(given[key])
                return {
                    field.name: given.get(field.name, getattr(start, field.name)) for field in dataclass_fields(start)
                }
            if "size" not in given:
                raise ValueError("without a preset, `size` (pixels) is needed")
        return value

    @field_validator("preprocessing")
    @classmethod
    def _sound(cls, value: Preprocessing) -> Preprocessing:
        """Raise `ValueError` for numbers that no preprocessing has."""
        if not 32 <= value.size <= 2048:
            raise ValueError(f"size must lie between 32 and 2048 pixels, found {value.size}")
        if not LEAST_CROP_PCT <= value.crop_pct <= 1:
            raise ValueError(f"crop_pct must lie between {LEAST_CROP_PCT} and 1, found {in_yaml(value.crop_pct)}")
        if not all(0 < channel < math.inf for channel in value.std):
            raise ValueError(f"every std must be above 0 and finite, found {in_yaml(value.std)}")
        if not all(map(math.isfinite, value.mean)):
            raise ValueError(f"every mean must be finite, found {in_yaml(value.mean)}")
        if max(value.mean) > 1 or max(value.std) > _MOST_STD:
            raise ValueError(
                f"mean {in_yaml(value.mean)} and std {in_yaml(value.std)} are of pixels of 0 to 255, and frames are "
                "scaled to [0, 1] before: divide both by 255"
            )
        return value

    def weights_file(self, base: Path) -> Path:
        """The file of its weights, which are given."""
        assert self.weights is not None
        return DEMO_WEIGHTS if self.is_demo else addresses.resolve(base, self.weights.file)

    @property
    def is_demo(self) -> bool:
        """Whether these are the shipped weights."""
        return self.weights is not None and self.weights.file == "demo"


class DetectorSettings(NetworkSettings):
    """What is compressed."""

    weights: Weights = Field(
        description="a .tar, .pth or .safetensors file, or `demo` for the shipped demo weights; {file: …, key: …} "
        "for one set of weights of several in a file; of `architecture: onnx` an .onnx file"
    )
    output: OutputKind | None = OUTPUT
    output_name: str | None = OUTPUT_NAME
    input: InputSettings | None = INPUT

    @model_validator(mode="after")
    def _known_graph(self) -> Self:
        """What is said of an ONNX graph is said of one."""
        is_graph = families.kind(self.architecture) == "onnx"
        for key in ("output", "output_name", "input"):
            if getattr(self, key) is not None and not is_graph:
                raise ValueError(f"`{key}` is for `architecture: onnx`; a network that bench builds needs none")
        if is_graph and self.weights.key is not None:
            raise ValueError("`key` is for a file with several sets of weights; an ONNX file has one")
        if is_graph and self.is_demo:
            raise ValueError("`weights: demo` is a checkpoint; `architecture: onnx` needs an ONNX file")
        return self

    @property
    def is_demo_alone(self) -> bool:
        """Whether these are the shipped weights for what they are, with nothing else said of them."""
        return self.is_demo and self.architecture == DEMO_ARCHITECTURE and self.conventions == Conventions()

    @property
    def conventions(self) -> Conventions:
        """What the owner says of the weights."""
        of_input = self.input.record if self.input else None
        return Conventions(
            self.weights.key, self.positive, self.classes, self.flavour, self.output, self.output_name, of_input
        )


def _check_filters(given: object) -> None:
    """Raise `ValueError` unless these are a filter, or one for each direction."""
    if isinstance(given, dict):
        if given.keys() != {"down", "up"}:
            raise ValueError(f"interpolation: expected {{down: area, up: bicubic}}, found {in_yaml(given)}")
        for name in given.values():
            _check_filters(name)
    elif isinstance(given, list):
        raise ValueError(f"interpolation: expected a filter or {{down: area, up: bicubic}}, found {in_yaml(given)}")
    elif given not in FILTERS:
        raise ValueError(
            f"interpolation: unknown filter {in_yaml(given)}{nearest(str(given), FILTERS)}; filters are: "
            f"{', '.join(FILTERS)}"
        )


def _check_statistics(key: str, given: object) -> None:
    """Raise `ValueError` unless this is a list of three numbers."""
    numbers = given if isinstance(given, (list, tuple)) else ()
    if len(numbers) != 3 or any(type(number) not in (int, float) for number in numbers):
        raise ValueError(f"{key}: expected three numbers, as [0.5, 0.5, 0.5], found {in_yaml(given)}")


def _check_crop(name: object) -> None:
    """Raise `ValueError` unless this is the name of a crop of faces."""
    if not isinstance(name, str) or name not in crops.PRESETS:
        raise ValueError(
            f"crop: unknown crop of faces {in_yaml(name)}{nearest(str(name), crops.PRESETS)}; crops are: "
            f"{', '.join(crops.PRESETS)}"
        )


def _preset(name: object) -> Preprocessing:
    if not isinstance(name, str) or name not in PRESETS:
        raise ValueError(
            f"unknown preset {in_yaml(name)}{nearest(str(name), PRESETS)}; presets are: {', '.join(PRESETS)}"
        )
    return replace(PRESETS[name])
