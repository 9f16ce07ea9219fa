"""What a tracker is given: an experiment with its variants, and the predictions of a service."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bench.records.weights import ClassName

TensorShape = tuple[str, tuple[int, ...]]
"""The type of a tensor's numbers, as NumPy calls it, and its sides; -1 where any is taken."""


@dataclass(frozen=True)
class TrackedModel:
    """An ONNX file with the names of its inputs and outputs, as a registry describes it.

    `requirements` are what runs it, as `pip install` takes them. `beside` are the files that it is handed over with,
    its model card among them.
    """

    path: Path
    digest: str
    inputs: Mapping[str, TensorShape]
    outputs: Mapping[str, TensorShape]
    requirements: tuple[str, ...] = ()
    beside: tuple[Path, ...] = ()


@dataclass(frozen=True)
class TrackedRun:
    """What is logged as a run: of an experiment, or of one of its variants.

    `key` tells the run from all others: whoever logs it again updates the run of that key. `parameters` are what was
    set, `metrics` what was measured, `tags` what else there is to read. `reason` is why a variant failed, None for
    others. `artifacts` are files, by the folder below the run's in which they come to lie ("" for that itself).
    """

    name: str
    key: str
    parameters: Mapping[str, str]
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    reason: str | None = None
    artifacts: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class TrackedExperiment:
    """An experiment's run and those of its variants by title, and of the chosen one the model.

    `artifact` is the id of the chosen variant's artifact. `model` makes its file, which is gone after its context; it
    is called where a registry lacks that artifact, and None where no variant is chosen.
    """

    whole: TrackedRun
    variants: Mapping[str, TrackedRun]
    chosen: str | None = None
    artifact: str = ""
    model: Callable[[], AbstractContextManager[TrackedModel]] | None = None


@dataclass(frozen=True)
class TrackedPrediction:
    """One answer of a service, without the picture.

    `fake_probability` is P(fake), `members` is that of each member of an ensemble that answered by its name, with the
    variant's name where there is no ensemble, and `agree` of them say the same as the answer. `filename` is the cleaned
    name of an upload, or empty. `details` are further parameters, such as the variant's name and id.
    """

    kind: Literal["image", "video", "webcam", "tensor"]
    prediction: ClassName
    fake_probability: float
    processing_time_s: float
    members: Mapping[str, float]
    filename: str = ""
    agree: int = 0
    details: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def named_metrics(self) -> dict[str, float]:
        """The numbers under the names that dashboards of detection services know."""
        confidence = self.fake_probability if self.prediction == "fake" else 1 - self.fake_probability
        numbers = {
            "confidence": confidence,
            "fake_probability": self.fake_probability,
            "real_probability": 1 - self.fake_probability,
            "processing_time_sec": self.processing_time_s,
        }
        for name, p_fake in self.members.items():
            numbers[f"{name}_fake_prob"] = p_fake
            numbers[f"{name}_confidence"] = max(p_fake, 1 - p_fake)
        return numbers | {"consensus": self.agree / max(len(self.members), 1)} | dict(self.metrics)

    @property
    def parameters(self) -> dict[str, str]:
        """What was asked and answered in words."""
        return {
            "prediction_type": self.kind,
            "prediction": self.prediction.upper(),
            "models_used": ", ".join(self.members),
            "num_models": str(len(self.members)),
            "filename": self.filename,
            **self.details,
        }
