"""Slices in which a variant loses more than elsewhere, found on one half of the frames and confirmed on the other."""

from bench.results.score.discovery.heat import HOTTEST, hottest
from bench.results.score.discovery.search import Search, confirmed, search

__all__ = ["HOTTEST", "Search", "confirmed", "hottest", "search"]
