"""Blurring regions of frames: the judge of heatmaps in every runtime, and maps for detectors without any."""

from bench.results.occlusion.file import OCCLUSION, Blurred, is_complete, read, write
from bench.results.occlusion.judging import ANSWERS_PER_JUDGED, ANSWERS_PER_MAP, VERSION, judged, occlusion_map

__all__ = [
    "ANSWERS_PER_JUDGED", "ANSWERS_PER_MAP", "OCCLUSION", "VERSION", "Blurred", "is_complete", "judged",
    "occlusion_map", "read", "write",
]  # fmt: skip
