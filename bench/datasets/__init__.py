"""Room 1: labelled frames in. Layouts on disk, splits, digests, decoding, and the drawn demo set."""

from bench.datasets.decoding import decode, read_batches
from bench.datasets.loading import load
from bench.datasets.settings import FrameSetSettings, Place

VERSION = 1
"""Raised whenever the same file would be decoded to other pixels."""

LIBRARIES = ("opencv-python-headless", "pillow")

__all__ = ["LIBRARIES", "VERSION", "FrameSetSettings", "Place", "decode", "load", "read_batches"]
