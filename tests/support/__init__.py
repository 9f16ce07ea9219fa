"""What tests share: tiny networks, made-up runs, files of the field's kinds, helper processes."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The repository."""
