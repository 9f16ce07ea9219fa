"""Inspections on disk: inspection.md, inspection.html, inspection.json and pictures by step; galleries of several."""

from bench.reports.inspection.galleries import Card, Gallery, write_gallery
from bench.reports.inspection.single import write
from bench.reports.inspection.table import explanations, write_explanations

__all__ = ["Card", "Gallery", "explanations", "write", "write_explanations", "write_gallery"]
