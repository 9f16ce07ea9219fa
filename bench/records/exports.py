"""What lies in a folder that `bench export` wrote, for programs: its `model.json`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from bench.records.calibration import CalibrationMethod
from bench.records.frames import NO_CROP, InputSpec
from bench.records.scored_threshold import ScoredThresholdRule
from bench.records.videos import Unit, VideoScoring

Format: TypeAlias = Literal["onnx", "safetensors"]

HANDED_OVER = "model.json"
"""The file's name; its content is a `HandedOver`."""
ONNX, LOWERED, SAFETENSORS = "model.onnx", "model.onnxruntime-cpu.onnx", "model.safetensors"
"""The names of the files with the network. The second is an int8 one arranged for onnxruntime on a CPU."""


@dataclass(frozen=True)
class ModelFile:
    """One file with the network. `stored` is the type of its weights, "fp32" to "int4 weights"; `sha256` of its bytes.

    `runs_in` names the libraries that load it: "onnxruntime", "openvino", "opencv" (its `dnn`), "tensorrt", "pytorch".
    """

    stored: str
    size_bytes: int
    sha256: str
    runs_in: tuple[str, ...]


@dataclass(frozen=True)
class MeasuredBy:
    """Who executed the variant when its numbers were taken.

    `file` is the one of this folder that ran, None where it is none of them: what ran then was made of the same
    variant, for `runtime`. `libraries` are the versions at that time, as text.
    """

    file: str | None
    runtime: str
    device: str
    device_name: str
    computed: str
    libraries: str


@dataclass(frozen=True)
class Moved:
    """How far P(fake) lies from the predictions that a variant's numbers are of, where a file runs otherwise.

    `mean` and `largest` are absolute differences over `frames` test frames, `flips` the frames among these that change
    sides at the threshold. `by` says what ran: "predict.py", or a library that read the file, and how; `version` is
    that of the library.
    """

    file: str
    by: str
    version: str
    frames: int
    mean: float
    largest: float
    flips: int


@dataclass(frozen=True)
class AppliedCalibration:
    """What the logits of the files were scaled by, and where that comes from.

    `logits[:, 1] - logits[:, 0]` is `slope` times that of the variant as it was evaluated, plus `shift`; `temperature`
    is 1 / slope, None with Platt scaling. Fitted on `frames` validation frames, `fake` and `real`, whose digest is
    `digest`; intervals are of 95 %, None where an end is missing. `experiment_threshold` is the threshold before, on
    P(fake) of `ece_before`. `sha256_before` are the digests of the files before their logits were scaled.
    """

    method: CalibrationMethod
    temperature: float | None
    temperature_ci: tuple[float, float] | None
    slope: float
    slope_ci: tuple[float, float] | None
    shift: float
    shift_ci: tuple[float, float] | None
    frames: int
    fake: int
    real: int
    digest: str
    experiment_threshold: float
    ece_before: float
    ece: float
    sha256_before: dict[str, str]


@dataclass(frozen=True)
class HandedOver:
    """One variant in a folder of its own.

    `model` is the file that `predict.py` runs, one of `files`. A frame is fitted by `input` and goes in as uint8 RGB
    [n, 3, size, size], under the name "frames"; "logits" [n, 2] and "cam" [n, h, w] come out, and
    `cam.mean((1, 2)) + margin_bias` is `logits[:, 1] - logits[:, 0]` (`margin_bias` is None where no constant makes it
    so); a detector without a class-activation map gives no "cam". A frame counts as fake where P(fake) is at
    least `threshold`; `threshold_rule` is how that was found, None where the experiment says a number. `crop` names the
    crop of faces that frames are expected to be, "none" where any frame will do. `scores` and `baseline_scores` are
    what scores.json holds of the variant and of the baseline. Of several frame sets, these are on the first, `verdicts`
    has that of each, the worst first, and `verdict_over_all` that of all together. Where logits were calibrated,
    `calibration` says how, and `threshold` is moved along; the scores stay those before. `judge` is "video" where
    videos were judged, and `video_scoring` is how the score of one is made of its frames'.
    """

    bench: str
    experiment: str
    detector: str
    variant: str
    id: str
    steps: tuple[str, ...]
    architecture: str
    model: str
    files: dict[str, ModelFile]
    input: InputSpec
    margin_bias: float | None
    threshold: float
    measured: MeasuredBy
    moved: tuple[Moved, ...]
    baseline: str
    scores: dict[str, Any]
    baseline_scores: dict[str, Any]
    crop: str = NO_CROP
    verdicts: dict[str, str] = field(default_factory=dict)
    verdict_over_all: str | None = None
    threshold_rule: ScoredThresholdRule | None = None
    calibration: AppliedCalibration | None = None
    judge: Unit = "frame"
    video_scoring: VideoScoring | None = None
    schema: int = 1
