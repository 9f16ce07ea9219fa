"""Face finders: where faces lie in a frame. One file a finder, and `graphs/` for ONNX files that people bring.

A finder's module has

- `load(min_face_px, min_score)`: a `bench.records.Finder` that gives faces whose shorter side has at least so many
  pixels, and whose score is at least so high;
- `digest()`: the SHA-256 of its model's file, empty where it has none.

Nothing heavy is imported at a module's top. A `Finder` holds a network, so each process loads its own, and one thread
at a time asks it; none starts threads but OpenCV, which `cv2.setNumThreads(1)` keeps to one.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
from pathlib import Path
from typing import Any

from bench.errors import UserError, nearest, quoted
from bench.records import Finder

DEFAULT = "yunet"
MIN_FACE_PX = 40
MIN_SCORE = 0.85


def names() -> tuple[str, ...]:
    """The finders that need no file, without importing them."""
    return tuple(module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg)


def find(name: str) -> Any:
    """The module of a finder that needs no file."""
    return importlib.import_module(f"{__name__}.{name}")


def load(spec: str = DEFAULT, min_face_px: int = MIN_FACE_PX, min_score: float = MIN_SCORE) -> Finder:
    """The finder of this name, or the one in an ONNX file or a folder with MTCNN's three.

    Raises `UserError` where there is none, where what it needs is not installed, or where nothing tells what the
    file's outputs mean.
    """
    if min_face_px < 1:
        raise UserError(f"min_face: expected at least 1 pixel, found {min_face_px}")
    if not (math.isfinite(min_score) and 0 < min_score < 1):
        raise UserError(f"min_score: expected a number between 0 and 1, found {min_score}")
    if spec in names():
        finder: Finder = find(spec).load(min_face_px, min_score)
        return finder
    from bench.footage.faces import graphs

    return graphs.load(_file(spec), min_face_px, min_score)


def digest(spec: str = DEFAULT) -> str:
    """The SHA-256 of the finder's model, which is part of what depends on it; empty where it has none.

    No network is loaded. Raises `UserError` where there is no such finder or file.
    """
    if spec in names():
        return str(find(spec).digest())
    from bench.footage.faces import graphs

    return graphs.digest(_file(spec))


def _file(spec: str) -> Path:
    """The path of a file or a folder; `UserError` where nothing is there."""
    path = Path(spec)
    if path.exists():
        return path
    if path.suffix or len(path.parts) > 1:
        siblings = [child.name for child in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(f"{spec}: no such file or folder{nearest(path.name, siblings)}; expected {_expected()}")
    raise UserError(f"unknown face finder {quoted(spec)}{nearest(spec, names())}; expected {_expected()}")


def _expected() -> str:
    return f"{', '.join(names())}, the path of an .onnx file, or that of a folder with MTCNN's three"
