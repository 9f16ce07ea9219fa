"""Room 4: from what a run found out to something a person can read. No torch; heavy imports are late."""

from bench.reports.bundle import bundle, is_whole
from bench.reports.evidence import Evidence
from bench.reports.insights import warnings
from bench.reports.render import render
from bench.reports.scores import read_scores
from bench.reports.terminal import summary

__all__ = ["Evidence", "bundle", "is_whole", "read_scores", "render", "summary", "warnings"]
