"""Do heatmaps lie on what was forged? Stored masks, and what the maps of each variant come to beside them."""

from bench.results.localisation.file import MASKS, RECORD, read, read_counts, write_masks, write_record
from bench.results.localisation.judging import localisation

__all__ = ["MASKS", "RECORD", "localisation", "read", "read_counts", "write_masks", "write_record"]
