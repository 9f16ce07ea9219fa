"""Small pictures on disk, and frame sets read from them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.datasets import FrameSetSettings, load
from bench.errors import UserError
from bench.records import FrameSet, Split


def picture(file: Path, **options: Any) -> None:
    """A picture of 8 × 6 random pixels, another for each path."""
    file.parent.mkdir(parents=True, exist_ok=True)
    seed = int.from_bytes(hashlib.sha256(str(file).encode()).digest()[:4])
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, **options)


def pictures(root: Path, *paths: str) -> None:
    for path in paths:
        picture(root / path)


def load_set(base: Path, **settings: Any) -> dict[Split, FrameSet]:
    """The frame set of these settings, its files remembered in `.cache`."""
    return load("mine", FrameSetSettings.model_validate(settings), base, base / ".cache")


def refused_set(base: Path, **settings: Any) -> str:
    """Why the frame set of these settings is refused."""
    with pytest.raises(UserError) as refused:
        load_set(base, **settings)
    return str(refused.value)
