"""`extract:` below a frame set of videos: how its frames are taken out of them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from bench.records import VIDEO_SUFFIXES, Extraction


class ExtractSettings(BaseModel):
    """Which frames of a video are taken, and what is cut out of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    frames: int = Field(default=32, strict=True, ge=1, le=100_000, description="how many frames of each video")
    sampling: str = Field(
        default="linspace",
        description="which ones: linspace (at even distances, as in FSBI), step (int(i · n / frames)), first, "
        "all, or every-10 for each tenth",
    )
    crop: str | None = Field(
        default=None,
        description="what is cut out around faces: a preset, or none for whole frames; the detector's if left out",
    )
    faces: str = Field(
        default="yunet",
        min_length=1,
        description="what finds faces: yunet, none, or an .onnx file, relative to this",
    )
    min_face: int = Field(default=40, strict=True, ge=1, description="pixels of a face's shorter side, at least")
    min_score: float = Field(default=0.85, gt=0, lt=1, description="the finder's confidence, at least")
    format: Literal["png", "jpg"] = Field(default="png", description="png, without loss, or jpg, a third as large")

    @property
    def suffixes(self) -> tuple[str, ...]:
        """How the files end that are meant."""
        return VIDEO_SUFFIXES

    def extraction(self, crop: str, faces: str) -> Extraction:
        """The same as a record, with the crop of a detector where none is given, and the path of the face finder."""
        chosen = self.crop or crop
        return Extraction(self.frames, self.sampling, chosen, faces, self.min_face, self.min_score, self.format)


EXTRACT = "the files are videos: how frames are taken out of them, such as {frames: 32, crop: fsbi}; {} as usual"
