"""Face finders in ONNX files that people bring: names and shapes of the outputs tell the kind, one file a kind.

A kind's module has

- `SHAPE`: what its graphs look like, for error messages;
- `recognises(networks)`: whether these are its graphs;
- `load(networks, min_face_px, min_score, digest)`: the finder. Where the kind is clear and the very graph is not
  understood, it raises `UserError`.

`networks` are the graphs of one file, or of all files of a folder.
"""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from bench.errors import UserError, listed, shown
from bench.footage.onnx_network import Network
from bench.records import Finder

_FILES = 3
_TRIAL_SIDE = 64


class Kind(Protocol):
    """The module contract, for type checkers."""

    SHAPE: str

    def recognises(self, networks: Sequence[Network]) -> bool: ...

    def load(self, networks: Sequence[Network], min_face_px: int, min_score: float, digest: str) -> Finder: ...


def kinds() -> dict[str, Kind]:
    """All kinds by name."""
    modules: list[Any] = [importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__)]
    return {module.__name__.rpartition(".")[2]: module for module in modules}


def load(path: Path, min_face_px: int, min_score: float) -> Finder:
    """The finder in an ONNX file, or in a folder of them. Raises `UserError` where no kind recognises it."""
    import numpy as np

    networks = [Network(file) for file in _files(path)]
    for kind in kinds().values():
        if kind.recognises(networks):
            finder = kind.load(networks, min_face_px, min_score, digest(path))
            finder.find(np.zeros((_TRIAL_SIDE, _TRIAL_SIDE, 3), np.uint8))  # what can't be decoded fails here
            return finder
    outputs = [f"{name} {list(shape)}" for net in networks for name, shape in zip(net.names, net.shapes, strict=True)]
    understood = "; ".join(f"{name}: {kind.SHAPE}" for name, kind in kinds().items())
    raise UserError(
        f"{path}: no face finder that bench understands. Its outputs for a black picture: "
        f"{shown(listed(outputs, 12), 600)}. Understood are: {understood}"
    )


def digest(path: Path) -> str:
    """The SHA-256 of a file, or of a folder's files whatever their names."""
    from bench.artifacts.imports import file

    digests = sorted(map(file.content, _files(path)))
    return digests[0] if path.is_file() else hashlib.sha256("".join(digests).encode()).hexdigest()


def _files(path: Path) -> list[Path]:
    """The file, or the ONNX files of the folder."""
    if path.is_file():
        return [path]
    files = sorted(child for child in path.iterdir() if child.suffix.lower() == ".onnx")
    if len(files) != _FILES:
        names = listed([file.name for file in files], 5) or "none"
        raise UserError(
            f"{path}: a folder as a face finder holds MTCNN's three .onnx files, found {names}; or name one file of "
            f"another kind: {', '.join(name for name in kinds() if name != 'mtcnn')}"
        )
    return files
