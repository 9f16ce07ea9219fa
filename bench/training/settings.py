"""How a detector is trained: what stands under `trainings:` of an experiment file beside the network and the frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from bench.errors import in_yaml, nearest
from bench.training.augment_settings import AugmentSettings, Number, Share, Strict

SELECTED_BY = ("accuracy", "precision", "recall", "f1", "auc", "specificity", "average_precision")
"""The metrics of validation frames that a weighted mean can be made of."""
Above = Annotated[Number, Field(gt=0)]
Count: TypeAlias = Annotated[Strict, Field(ge=1, le=1_000_000)]
Epochs = Annotated[Number, Field(ge=0, le=100_000)]
Truth = Annotated[bool, Field(strict=True)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _named(key: str, choices: tuple[str, ...]) -> BeforeValidator:
    """A name alone stands for settings of that name."""

    def check(value: object) -> object:
        name = value.get(key) if isinstance(value, dict) else value
        if name not in choices and not isinstance(value, BaseModel):
            raise ValueError(
                f"unknown {in_yaml(name)}{nearest(str(name), choices)}; expected one of {', '.join(choices)}, or "
                f"{{{key}: {choices[0]}, …}} with its settings"
            )
        return {key: value} if isinstance(value, str) else value

    return BeforeValidator(check)


class OptimizerSettings(_Model):
    """What moves the weights."""

    CHOICES: ClassVar[tuple[str, ...]] = ("adamw", "adam", "sgd")

    name: Literal["adamw", "adam", "sgd"] = Field(default="adamw", description="the algorithm, as PyTorch has it")
    learning_rate: Above = Field(default=1e-4, description="its highest learning rate")
    weight_decay: Annotated[Number, Field(ge=0, le=1)] = Field(
        default=1e-2, description="of all weights: apart from the gradient in adamw, as part of it in adam and sgd"
    )
    betas: tuple[Share, Share] = Field(default=(0.9, 0.999), description="of adamw and adam")
    momentum: Share = Field(default=0.9, description="of sgd")
    nesterov: Truth = Field(default=False, description="of sgd")

    @model_validator(mode="after")
    def _of_its_kind(self) -> OptimizerSettings:
        """Settings of another algorithm would do nothing."""
        foreign = {"momentum", "nesterov"} if self.name != "sgd" else {"betas"}
        for key in sorted(foreign & self.model_fields_set):
            raise ValueError(f"`{key}` is none of {self.name}'s settings; leave it out")
        if max(self.betas) >= 1:
            raise ValueError(f"betas must lie below 1, found {in_yaml(list(self.betas))}")
        if self.nesterov and not self.momentum:
            raise ValueError("`nesterov` needs a momentum above 0")
        return self


class ScheduleSettings(_Model):
    """How the learning rate moves over the epochs."""

    CHOICES: ClassVar[tuple[str, ...]] = ("cosine", "plateau", "constant")

    name: Literal["cosine", "plateau", "constant"] = Field(
        default="cosine",
        description="after the warm-up: half a cosine down to the last epoch, down at plateaus, or as it is",
    )
    warmup: Epochs = Field(
        default=1.0, description="epochs of a linear rise at the beginning; parts of one are allowed"
    )
    least: Share = Field(default=1e-3, description="of cosine and plateau: the lowest rate, as a share of the highest")
    factor: Annotated[Number, Field(gt=0, lt=1)] = Field(
        default=0.1, description="of plateau: what the rate is multiplied with after `patience` epochs without a gain"
    )
    patience: Annotated[Strict, Field(ge=0, le=100_000)] = Field(
        default=3, description="of plateau: so many epochs without a better selection score are waited for"
    )

    @model_validator(mode="after")
    def _of_its_kind(self) -> ScheduleSettings:
        foreign = {"plateau": set[str](), "cosine": {"factor", "patience"}, "constant": {"factor", "patience", "least"}}
        for key in sorted(foreign[self.name] & self.model_fields_set):
            raise ValueError(f"`{key}` is none of {self.name}'s settings; leave it out")
        return self


class StopSettings(_Model):
    """When a training ends before its last epoch."""

    patience: Count = Field(default=10, description="epochs in a row without a better selection score")
    after: Annotated[Strict, Field(ge=0, le=100_000)] = Field(
        default=0, description="epochs at the beginning that do not count"
    )
    least: Annotated[Number, Field(ge=0, lt=1)] = Field(
        default=0.0, description="a score counts as better where it is higher by more than this"
    )


class SelfBlendSettings(_Model):
    """Fakes made of the real train frames while training, by the idea of self-blended images."""

    scale: Annotated[Number, Field(gt=0.3, le=2)] = Field(
        default=1.0, description="the size of the hull around the face, of that drawn from the five points"
    )


class MapSettings(_Model):
    """A term of the loss for where maps lie, on frames with masks of what was forged."""

    weight: Above = Field(default=0.5, description="of the whole term, beside the loss of the classes")
    peak: Annotated[Number, Field(ge=0, le=100)] = Field(
        default=0.1, description="how much of it asks the hottest place to be forged"
    )


def _selection(value: object) -> object:
    """Weights of metrics that sum to 1; a metric alone has all."""
    if isinstance(value, str):
        value = {value: 1.0}
    if not isinstance(value, Mapping) or not value:
        raise ValueError(
            f"expected a metric such as auc, or weights such as {{recall: 0.7, auc: 0.3}}, found {in_yaml(value)}"
        )
    for name, weight in value.items():
        if name not in SELECTED_BY:
            raise ValueError(
                f"unknown metric {in_yaml(name)}{nearest(str(name), SELECTED_BY)}; metrics are: "
                f"{', '.join(SELECTED_BY)}"
            )
        if type(weight) not in (int, float) or not 0 <= weight <= 1e6:
            raise ValueError(f"{name}: a weight is a number from 0 on, found {in_yaml(weight)}")
    if not sum(value.values()) > 0:
        raise ValueError("all weights are 0; expected one above 0")
    return {name: float(weight) for name, weight in value.items()}


def _true_for_all(model: type[BaseModel]) -> BeforeValidator:
    """`true` stands for settings as they are, `false` for none."""
    return BeforeValidator(lambda value: {} if value is True else None if value is False else value)


class Recipe(BaseModel):
    """Epochs, optimizer, loss, augmentation, selection: all of a training but its network and its frames."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: Count = Field(default=30, description="at most so many passes over the train frames")
    epoch_steps: Count | None = Field(
        default=None, description="batches in an epoch; without it, as many as all train frames fill"
    )
    batch_size: Annotated[Strict, Field(ge=2, le=65_536)] = Field(default=32, description="frames in a step")
    optimizer: Annotated[
        OptimizerSettings,
        _named("name", OptimizerSettings.CHOICES),
        Field(validate_default=True),
    ] = Field(default=OptimizerSettings(), description="adamw, adam or sgd, or {name: adamw, learning_rate: 0.0003, …}")
    schedule: Annotated[
        ScheduleSettings,
        _named("name", ScheduleSettings.CHOICES),
    ] = Field(default=ScheduleSettings(), description="cosine, plateau or constant, or {name: cosine, warmup: 2, …}")
    loss: Literal["two_class", "one_logit"] = Field(
        default="two_class",
        description="cross-entropy of two logits, or binary cross-entropy of one, that of fake (the other stays 0)",
    )
    label_smoothing: Annotated[Number, Field(ge=0, lt=1)] = Field(
        default=0.0, description="how much of each label is spread over both classes"
    )
    dropout: Annotated[Number, Field(ge=0, lt=1)] = Field(
        default=0.0, description="the share of the last layer's inputs that is left out at random while training"
    )
    norm_momentum: Annotated[Number, Field(gt=0, le=1)] | None = Field(
        default=None,
        description="of batch norms' running statistics, if not the network's own; small for small batches",
    )
    average: Annotated[Number, Field(gt=0, lt=1)] | None = Field(
        default=None, description="evaluate and keep weights averaged over steps, with this decay, such as 0.999"
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="what training computes in; `auto` is half the bits where the device is fast at it"
    )
    clip_norm: Above | None = Field(default=1.0, description="the largest norm of all gradients together; null for any")
    balance: Literal["sampling", "loss", "none"] = Field(
        default="sampling",
        description="of unequal classes: draw as many frames of each, weigh their losses, or take them as they are",
    )
    augment: AugmentSettings = Field(
        default=AugmentSettings(),
        description="what is done to train frames at random; `none`, or {flip: 0.5, jpeg: {share: 0.5, least: 60}, …}",
    )
    self_blend: Annotated[SelfBlendSettings | None, _true_for_all(SelfBlendSettings)] = Field(
        default=None,
        description="true: learn from real frames alone, each beside a fake that is blended from itself in a hull "
        "drawn from the face's five points",
    )
    pairs: Truth = Field(
        default=False,
        description="put every fake into a batch beside a real frame of its source, both changed alike, so that what "
        "they have in common tells nothing; fakes without one are left out",
    )
    maps: Annotated[MapSettings | None, _true_for_all(MapSettings)] = Field(
        default=None,
        description="true, or {weight: 0.5, peak: 0.1}: maps are to lie on what is forged; train frames need masks, "
        "which self-blends have",
    )
    stop: StopSettings | None = Field(
        default=None, description="end early, such as {patience: 10}; without it, all epochs are trained"
    )
    select: Annotated[dict[str, float], BeforeValidator(_selection, json_schema_input_type=str | dict[str, float])] = (
        Field(
            default={"auc": 1.0},
            description="by what the best epoch is chosen on validation frames: a metric, or weights of several, such "
            "as {accuracy: 0.1, precision: 0.05, recall: 0.7, f1: 0.1, auc: 0.05}; metrics are "
            + ", ".join(SELECTED_BY),
        )
    )
    threshold: Annotated[Number, Field(gt=0, lt=1)] = Field(
        default=0.5, description="a validation frame counts as fake from this P(fake) on"
    )
    held_out: Annotated[Number, Field(gt=0, lt=0.9)] = Field(
        default=0.1,
        description="where there are no validation frames: the share of train frames, by source, taken for it",
    )
    keep_every: Count | None = Field(
        default=None, description="also keep a checkpoint after every so many epochs, beside the best and the last"
    )
    tensorboard: Truth = Field(default=False, description="also write TensorBoard's files; needs bench[tensorboard]")
    workers: Literal["auto"] | Annotated[int, Field(strict=True, ge=0, le=256)] = Field(
        default="auto", description="processes that read and augment frames; 0 for none; weights do not hang on it"
    )
    device: Literal["auto", "cuda", "cpu"] = Field(
        default="auto", description="where to train; auto is cuda where there is one"
    )
    threads: Literal["auto"] | Annotated[int, Field(strict=True, ge=1, le=4096)] = Field(
        default="auto", description="CPU threads of the model; auto takes all cores"
    )
    deterministic: Truth = Field(
        default=True, description="equal settings give equal weights on CUDA too; false may be faster there"
    )
    seed: Annotated[Strict, Field(ge=0, le=2**32 - 1)] = Field(
        default=0, description="of first weights, order, augmentation and dropout"
    )

    @field_validator("workers", "threads", mode="before")
    @classmethod
    def _auto_or_a_count(cls, value: object) -> object:
        if value != "auto" and type(value) is not int:
            raise ValueError(f"should be auto or a whole number, found {in_yaml(value)}")
        return value

    @model_validator(mode="after")
    def _goes_together(self) -> Recipe:
        """Nothing is asked for that something else rules out."""
        if self.pairs and self.self_blend:
            raise ValueError(
                "`pairs` and `self_blend` exclude each other: a self-blend stands beside its real frame anyway"
            )
        if self.average is not None and self.norm_momentum is None and self.average > 0.99999:
            raise ValueError(f"average: {in_yaml(self.average)} would never leave the first weights; try 0.999")
        return self

    @property
    def selection(self) -> dict[str, float]:
        """The weights of metrics, as shares of 1."""
        total = sum(self.select.values())
        return {name: weight / total for name, weight in self.select.items()}
