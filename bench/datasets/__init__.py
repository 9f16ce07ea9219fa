"""Room 1: labelled frames in. Layouts on disk, splits, digests, decoding, and the drawn demo set."""

from bench.datasets import degradations, fetching
from bench.datasets.accounts import account, left_out
from bench.datasets.annotations import annotations_of, points_at, times_at
from bench.datasets.appearance import Appearance
from bench.datasets.decoding import decode, decoder_versions, fit, picture, read_batches, read_for_each, shown_size
from bench.datasets.loading import Listed, find, load, read, refuse_shared_content
from bench.datasets.mask_fitting import FittedMask, fitted, fitting_versions, mask_of, misshapen
from bench.datasets.placing import fitted_points, fitting
from bench.datasets.plausibility import source_remarks
from bench.datasets.settings import FrameSetSettings, Location, checked_pattern
from bench.datasets.sources import find_sources
from bench.datasets.splits import grouped

__all__ = [
    "Appearance", "FittedMask", "FrameSetSettings", "Listed", "Location", "account", "annotations_of",
    "checked_pattern", "decode", "decoder_versions", "degradations", "fetching", "find", "find_sources", "fit",
    "fitted", "fitted_points", "fitting", "fitting_versions", "grouped", "left_out", "load", "mask_of", "misshapen",
    "picture", "points_at", "read", "read_batches", "read_for_each", "refuse_shared_content", "shown_size",
    "source_remarks", "times_at",
]  # fmt: skip
