"""One entry under `trainings:` of an experiment file, validated before anything is read."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from bench.detector_settings import NetworkSettings, Weights
from bench.detectors import families
from bench.folder_names import FrameSets
from bench.records import Conventions
from bench.training.settings import Recipe


class TrainingSettings(Recipe, NetworkSettings):
    """A detector that is trained: which network, on which frames, and how."""

    weights: Weights | None = Field(
        default=None,
        description="what to begin with: a checkpoint of this architecture, or `demo`; random weights without it",
    )
    new_head: bool = Field(
        default=False,
        strict=True,
        description="take all of `weights` but the last layer, which is new: for networks of other classes, such as "
        "ImageNet's",
    )
    frames: FrameSets = Field(
        description="a name under `datasets:`, or several in a list: their train frames are learned from, and by their "
        "validation frames the best epoch is chosen"
    )

    on_bad_frame: Literal["error", "skip"] = Field(
        default="error", description="files that can't be decoded: refuse the frame set, or leave them out and say so"
    )

    @property
    def conventions_of_weights(self) -> Conventions:
        """What the owner says of the weights to begin with."""
        return Conventions(self.weights.key if self.weights else None, self.positive, self.classes, self.flavour)

    @model_validator(mode="after")
    def _trainable(self) -> TrainingSettings:
        """Only networks learn, and only what is there is kept or replaced."""
        if families.kind(self.architecture) != "torch":
            raise ValueError(
                f"`architecture: {self.architecture}` is executed as it is, and can't be trained; name a network, such "
                "as efficientnet_b4"
            )
        for key in ("new_head", "positive", "classes"):
            if getattr(self, key) and self.weights is None:
                raise ValueError(f"`{key}` is about `weights`, and none are given; leave it out")
        if self.new_head and (self.positive or self.classes):
            raise ValueError("`positive` and `classes` are about the last layer, which `new_head` replaces")
        return self
