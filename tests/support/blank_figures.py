"""A report's figures with nothing drawn on them: matplotlib takes longest of a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from bench.files import write_atomically
from bench.reports.pictures import figures

DRAWING: Mapping[str, Callable[..., Any]] = {
    name: getattr(figures, name) for name in ("trade", "roc", "precision", "confusion", "reliability", "save")
}
"""What draws figures and paints them into files, as `bench` does."""


def _save(figure: object, path: Path) -> None:
    picture = BytesIO()
    Image.new("RGB", (1, 1)).save(picture, "png")
    write_atomically(path, lambda file: file.write(picture.getvalue()))


BLANK: Mapping[str, Callable[..., Any]] = dict.fromkeys(DRAWING, lambda plot: None) | {"save": _save}
"""What stands in for it, by the same names."""
