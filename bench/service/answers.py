"""What the service answers, as JSON has it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

Called = Literal["FAKE", "REAL"]
Box = tuple[float, float, float, float]


class Refusal(BaseModel):
    """Every error."""

    detail: str = Field(description="what is wrong and what to do, in a sentence")


class Greeting(BaseModel):
    """Who answers."""

    service: str
    version: str
    status: str
    models: list[str]


class Health(BaseModel):
    """Whether the service can answer."""

    status: Literal["healthy", "unhealthy", "ending"]
    models_loaded: list[str]
    total_models: int
    device: str


class MemberOf(BaseModel):
    """A member of an ensemble."""

    name: str
    weight: float | None = Field(description="of 1, where all answer; null where the highest P(fake) counts alone")
    variant: str


class EnsembleOf(BaseModel):
    """How an ensemble's members are joined."""

    combine: Literal["mean", "logits", "vote", "max"]
    minimum: int = Field(description="how many members must answer")
    members: list[MemberOf]
    failed: dict[str, str] = Field(description="members that have no part, with the reason")


class Variant(BaseModel):
    """A variant that is served; `ensemble` is null for a single network."""

    name: str
    id: str
    digest: str = Field(description="SHA-256 of the artifact")
    runtime: str
    device: str
    size_mib: float
    threshold: float
    verdict: str
    auc: float | None
    heatmap: bool
    ensemble: EnsembleOf | None


class Limits(BaseModel):
    """What is refused beyond."""

    upload_mib: float
    megapixels: float
    batch_images: int
    video_mib: float
    video_seconds: float
    video_frames: int


class Info(BaseModel):
    """What is served, and how."""

    experiment: str
    version: str
    default_variant: str
    variants: list[Variant]
    faces: str = "auto"
    limits: Limits
    keys_required: bool


class Vote(BaseModel):
    """What one member says."""

    fake_prob: float
    real_prob: float
    prediction: Called
    weight: float | None = Field(description="of 1; null where the highest P(fake) counts alone")


class Artifact(BaseModel):
    """What computed an answer."""

    id: str
    digest: str
    runtime: str


class Consensus(BaseModel):
    """How many members agree with the answer, of those that gave one."""

    agree: int
    of: int


class Detection(BaseModel):
    """What a picture is called, and why."""

    filename: str
    prediction: Called
    confidence: float = Field(description="of the called class")
    fake_probability: float
    real_probability: float
    processing_time: float = Field(description="seconds")
    face_detection_confidence: float | None
    gradcam: str | None = Field(None, description="base64 PNG: the heatmap over what was judged")
    model_predictions: dict[str, Vote]
    models_used: list[str]
    models_failed: dict[str, str] = Field(description="members without an answer, with the reason")
    total_models: int
    device: str
    threshold: float
    variant: str
    artifact: Artifact
    shipped_with: str = Field(description="the verdict of the report")
    faces: int | None = Field(description="faces in the picture; null where none was looked for")
    face_box: Box | None = Field(description="x0, y0, x1, y1 in pixels of the upload")
    judged: Literal["face", "whole picture"]
    crop: str | None = Field(None, description="base64 JPEG: what was judged")
    heatmap: str | None = Field(None, description="base64 PNG, RGBA, to lie over `crop`")
    members_heatmaps: dict[str, str] | None = Field(None, description="of an ensemble, each member's, as `heatmap`")
    consensus: Consensus
    cached: bool = False


class Failed(BaseModel):
    """A picture of a batch that could not be judged."""

    filename: str
    error: str


class Batch(BaseModel):
    """What the pictures of a batch are called."""

    results: list[Detection | Failed]
    total: int
    fake_count: int
    real_count: int
    error_count: int
    average_confidence: float | None


class FrameResult(BaseModel):
    """What a frame of a video is called."""

    frame: int
    seconds: float | None
    prediction: Called
    confidence: float
    fake_probability: float
    face_detection_confidence: float | None
    model_predictions: dict[str, Vote]
    models_failed: dict[str, str]


class Overall(BaseModel):
    """What a video is called."""

    prediction: Called
    confidence: float
    fake_probability: float
    fake_frame_ratio: float
    model_predictions: dict[str, Vote] = Field(description="the score of the video by each member alone")
    consensus: Consensus


class Processing(BaseModel):
    """How a video was read."""

    total_frames: int
    frames_processed: int
    frames_without_face: int
    processing_time: float
    processing_fps: float


class VideoDetection(BaseModel):
    """What a video is called, and each of its frames."""

    filename: str
    frame_results: list[FrameResult]
    overall_result: Overall
    processing_info: Processing
    threshold: float
    variant: str
    artifact: Artifact
    shipped_with: str


class Accepted(BaseModel):
    """A job that was taken on."""

    job: str
    href: str


class JobState(BaseModel):
    """How far a job is."""

    job: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    done: int
    total: int
    detail: str | None
    result: VideoDetection | None


class WebcamAnswer(BaseModel):
    """What a frame of a webcam is called."""

    prediction: Called
    confidence: float
    fake_probability: float
    processing_time: float
    threshold: float
    face_box: Box | None
    model_predictions: dict[str, Vote]
    models_failed: dict[str, str]
    consensus: Consensus
    frame: int
    variant: str
    artifact: Artifact
    shipped_with: str = Field(description="the verdict of the report")
