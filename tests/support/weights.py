"""All that a weights file holds."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from bench.detectors.weights import checkpoint


def all_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor in a file, by its name there; `UserError` where one of them cannot be used."""
    with checkpoint.opened(path) as opened:
        return opened.load(opened.file.tensors)
