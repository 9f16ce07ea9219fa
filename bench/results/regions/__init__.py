"""Which parts of the face do heatmaps lie on? Stored points of faces, and what maps show on the parts around them."""

from bench.results.regions.file import FACES, Points, StoredFaces, read, stored_faces, write
from bench.results.regions.hottest import HOTTEST_PART, hottest_part
from bench.results.regions.judging import regions

__all__ = [
    "FACES", "HOTTEST_PART", "Points", "StoredFaces", "hottest_part", "read", "regions", "stored_faces", "write",
]  # fmt: skip
