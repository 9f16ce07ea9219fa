"""Inspections on disk: inspection.md, inspection.html, inspection.json and pictures by step; galleries of several."""

from bench.reports.inspection.galleries import (
    Card,
    Gallery,
    Moment,
    card_of,
    first,
    maps_shown,
    opening,
    parts_tables,
    scores_table,
    write_gallery,
)
from bench.reports.inspection.joint import joint_card, joint_lines, write_joint
from bench.reports.inspection.replacing import MEMBERS, NUMBERS, refuse_others, replaced
from bench.reports.inspection.single import PAGE, write
from bench.reports.inspection.table import (
    explanations,
    frame_of,
    joint_explanations,
    unexplained,
    write_explanations,
)

__all__ = [
    "MEMBERS", "NUMBERS", "PAGE", "Card", "Gallery", "Moment", "card_of", "explanations", "first", "frame_of",
    "joint_card", "joint_explanations", "joint_lines", "maps_shown", "opening", "parts_tables", "refuse_others",
    "replaced", "scores_table", "unexplained", "write", "write_explanations", "write_gallery", "write_joint",
]  # fmt: skip
