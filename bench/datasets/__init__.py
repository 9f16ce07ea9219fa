"""Room 1: labelled frames in. Layouts on disk, splits, digests, decoding, and the drawn demo set."""

from bench.datasets.decoding import LIBRARIES, VERSION, decode, read_batches
from bench.datasets.loading import Listed, find, load, read
from bench.datasets.settings import FrameSetSettings, Place, checked_pattern
from bench.datasets.sources import find_sources

__all__ = [
    "LIBRARIES", "VERSION", "FrameSetSettings", "Listed", "Place", "checked_pattern", "decode", "find", "find_sources",
    "load", "read", "read_batches",
]  # fmt: skip
