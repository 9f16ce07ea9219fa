"""Slices in which a variant loses more than elsewhere, found on one half of the frames and confirmed on the other."""

from bench.results.score.discovery.search import Search, confirmed, search

__all__ = ["Search", "confirmed", "search"]
