"""The header of a safetensors file: as the library itself reads it, or refused; never more than the header is read."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from bench.artifacts import safetensors
from bench.detectors.weights import file_type, safetensors_header
from bench.errors import UserError
from bench.stored import DamagedError

TENSOR = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


def _write(path: Path, header: Any) -> Path:
    """A file with one number behind the header: JSON, or bytes as they are."""
    data = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(data).to_bytes(8, "little") + data + bytes(4))
    return path


def test_agrees_with_the_library(tmp_path: Path) -> None:
    """Metadata, names, types and shapes as `safe_open` gives them, and the bytes that each tensor was saved as."""
    path = tmp_path / "x.safetensors"
    tensors = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(7), "é": torch.zeros(0)}
    save_file(tensors, path, {"format": "pt"})
    with path.open("rb") as file:
        header = safetensors_header.read(file)
        assert file.tell() == header.size_bytes
    data = path.read_bytes()
    with safe_open(path, "pt") as library:
        assert header.metadata == library.metadata()
        assert header.tensors.keys() == set(library.keys())
        for name, tensor in header.tensors.items():
            assert tensor.dtype == library.get_slice(name).get_dtype()
            assert list(tensor.shape) == library.get_slice(name).get_shape()
            assert data[tensor.begin : tensor.end] == tensors[name].numpy().tobytes()


@pytest.mark.parametrize("metadata", [{}, {"__metadata__": None}, {"__metadata__": {}}])
def test_metadata_may_be_absent(tmp_path: Path, metadata: dict[str, Any]) -> None:
    with _write(tmp_path / "x", {**metadata, "a": TENSOR}).open("rb") as file:
        assert safetensors_header.read(file).metadata == {}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ([], "not a list of tensors"),
        (None, "not a list of tensors"),
        ({"a": 1}, "not a list of tensors"),
        ({"a": {"dtype": "F32", "shape": [1]}}, "not a list of tensors"),
        ({"a": {"shape": [1], "data_offsets": [0, 4]}}, "not a list of tensors"),
        ({"a": TENSOR | {"data_offsets": [0, 2, 4]}}, "not a list of tensors"),
        ({"__metadata__": "x", "a": TENSOR}, "not a list of tensors"),
        (b"{\xff}", "not a list of tensors"),
        (b"{", "not JSON"),
        ({"a": TENSOR | {"data_offsets": [4, 0]}}, "a has a shape or a place"),
        ({"a": TENSOR | {"data_offsets": [-4, 0]}}, "a has a shape or a place"),
        ({"a": TENSOR | {"shape": [True]}}, "a has a shape or a place"),
        ({"a": TENSOR | {"shape": [1.0]}}, "1.0 is not a shape or a place"),
        (b'{"a": 1e999}', "1e999 is not a shape or a place"),
        (b'{"a": NaN}', "NaN, which is no number"),
        (b'{"a": ' + b"9" * 5000 + b"}", "out of range"),
        (b'{"a":' + b"[" * 100_000, "nested too deep"),
    ],
)
def test_other_headers_are_refused(tmp_path: Path, header: Any, message: str) -> None:
    path = _write(tmp_path / "model.safetensors", header)
    with path.open("rb") as file, pytest.raises(DamagedError, match=message):
        safetensors_header.read(file)
    with pytest.raises(UserError, match=f"model.safetensors: is no safetensors file.*{message}.*download it again"):
        file_type.check(path)
    with pytest.raises(UserError, match=f"model.safetensors: not a usable variant.*{message}.*build the variant again"):
        safetensors.metadata(path)


@pytest.mark.parametrize("length", [safetensors_header.MOST_BYTES + 1, 2**63])
def test_a_giant_header_takes_no_memory(tmp_path: Path, length: int) -> None:
    """The sparse file is longer than the smaller claim, so that its size refuses the larger alone."""
    path = tmp_path / "giant.safetensors"
    with path.open("wb") as file:
        file.write(length.to_bytes(8, "little"))
        file.truncate(2 * safetensors_header.MOST_BYTES)
    tracemalloc.start()
    try:
        with path.open("rb") as file, pytest.raises(DamagedError, match=f"claims {length:,} bytes"):
            safetensors_header.read(file)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [0, 5, 8, 20])
def test_a_file_that_ends_within_its_header(tmp_path: Path, size: int) -> None:
    path = _write(tmp_path / "x", {"a": TENSOR})
    path.write_bytes(path.read_bytes()[:size])
    with path.open("rb") as file, pytest.raises(DamagedError, match=rf"the file has {size}\b"):
        safetensors_header.read(file)
