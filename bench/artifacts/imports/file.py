"""An ONNX file from elsewhere: what its first bytes tell, and its graph with the weights that lie beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.detectors.weights.file_type import head_of, other_format
from bench.errors import UserError, listed, quoted, shown
from bench.provenance import file_digest

if TYPE_CHECKING:
    import onnx

# Protocol buffers cannot be larger, and bench's artifacts are one file.
MOST_BYTES = 2**31 - 2**20
_EXPECTED = "expected an ONNX file"
# What is raised of names that are no text, of lists that are too short.
_DAMAGE = (ValueError, TypeError, LookupError, AttributeError, RuntimeError, StopIteration)
_STRANGERS = (
    (0, b"PK\x03\x04", "it is a PyTorch checkpoint or a zip archive; an ONNX file is what torch.onnx.export writes"),
    (0, b"\x80\x02", "it is a pickle; an ONNX file is what torch.onnx.export writes"),
    (4, b"ORTM", "it is in onnxruntime's own format; name the .onnx file that it was made from"),
    (4, b"TFL3", "it is a TensorFlow Lite file; convert it to ONNX"),
    (0, b"ftrt", "it is a TensorRT engine, which belongs to one GPU; name the .onnx file that it was built from"),
    (0, b"<?xml", "it is OpenVINO's format, or another one in XML; name the .onnx file that it was made from"),
    (0, b"<net", "it is OpenVINO's format; name the .onnx file that it was made from"),
    (8, b"{", "it is a safetensors file, which holds weights alone; export the network to ONNX"),
)


def check(path: Path) -> None:
    """Raise `UserError` where `path` cannot be an ONNX file, by its size and first bytes alone."""
    head, size = head_of(path, "file", _EXPECTED, (".onnx",))
    if size > MOST_BYTES:
        raise _too_large(path, size)
    for offset, sign, reason in _STRANGERS:
        if head[offset:].startswith(sign):
            raise UserError(f"{path}: is no ONNX file: {reason}")
    if head[:1] not in (b"\x08", b"\x12", b"\x1a", b"\x3a", b"\x42"):
        raise UserError(f"{path}: is no ONNX file{other_format(head)}; {_EXPECTED}")


@contextmanager
def understood(path: Path) -> Iterator[None]:
    """Raise `UserError` for what a graph that is not as the format has it makes the libraries raise."""
    try:
        yield
    except _DAMAGE as error:
        reason = shown(f"{type(error).__name__}: {error}")
        raise UserError(
            f"{path}: its graph cannot be understood, it may be damaged ({reason}); export it again, or see what "
            "onnx.checker.check_model says of it"
        ) from error


def content(path: Path) -> str:
    """The SHA-256 of a file that holds its weights, else a digest of it and of the files with its weights.

    Raises `UserError` where it is damaged, or where these lie elsewhere.
    """
    check(path)
    of_file = file_digest(path)
    with understood(path):
        data = _data_files(path, _parsed(path))
    if not data:
        return of_file
    by_name = {location: file_digest(file) for location, file in sorted(data.items())}
    return hashlib.sha256(json.dumps([of_file, by_name]).encode()).hexdigest()


def load(path: Path) -> onnx.ModelProto:
    """The file's graph with all its weights. Raises `UserError` where it is damaged, or weights are missing."""
    from onnx.external_data_helper import load_external_data_for_model

    check(path)
    model = _parsed(path)
    data = _data_files(path, model)
    whole = path.stat().st_size + sum(file.stat().st_size for file in data.values())
    if whole > MOST_BYTES:
        raise _too_large(path, whole)
    try:
        if data:
            load_external_data_for_model(model, str(path.parent))
    except Exception as error:  # of onnx's own checks: ValueError, ValidationError, OSError …
        reason = shown(str(error).strip().splitlines()[0])
        raise UserError(f"{path}: its weights cannot be read from {listed(data, 3)}: {reason}") from error
    return model


def _parsed(path: Path) -> onnx.ModelProto:
    """The graph without the weights that lie in other files."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # protobuf gives it no types

    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise UserError(f"{path}: is no ONNX file, or damaged; copy or export it again") from error
    if not model.graph.node:
        raise UserError(f"{path}: holds no network: its graph has no nodes; {_EXPECTED}")
    return model


def _data_files(path: Path, model: onnx.ModelProto) -> dict[str, Path]:
    """The further files that hold weights, by the names that the graph has for them; beside it or below, no links."""
    from onnx import external_data_helper as external

    files: dict[str, Path] = {}
    for tensor in external._get_all_tensors(model):
        if not external.uses_external_data(tensor):
            continue
        location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        if location not in files:
            files[location] = _data_file(path, location)
    return files


def _data_file(path: Path, location: str) -> Path:
    """The file beside `path`, or below its folder, that it calls `location`."""
    named = Path(location)
    if not location or named.is_absolute() or ".." in named.parts or "\\" in location or ":" in location:
        raise UserError(
            f"{path}: its weights lie in {quoted(location)}, and only files beside it are read; save the model with "
            "its weights inside: onnx.save(onnx.load(file), new_file)"
        )
    file = path.parent / named
    if not file.is_file():
        raise UserError(f"{path}: its weights lie in {quoted(location)} beside it, and that file is missing; copy both")
    if not file.resolve().is_relative_to(path.parent.resolve()):
        raise UserError(f"{path}: its weights lie in {quoted(location)}, a link that leads elsewhere; copy the file")
    return file


def _too_large(path: Path, size: int) -> UserError:
    return UserError(
        f"{path}: has {size:,} bytes with its weights, and one ONNX file cannot hold 2 GiB or more; quantise the "
        "weights, or store them in fp16"
    )
