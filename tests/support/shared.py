"""What takes long to make, made once for all workers of pytest-xdist."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import onnx
from filelock import FileLock


def graph(name: str, make: Callable[[], onnx.ModelProto]) -> onnx.ModelProto:
    """The graph of this name: from the workers' common folder, where the first that asks for it puts it."""
    folder = Path(os.environ["XDG_STATE_HOME"]).with_name("shared-graphs")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.onnx"
    with FileLock(f"{file}.lock"):
        if not file.exists():
            onnx.save(make(), file)
        return onnx.load(file)
