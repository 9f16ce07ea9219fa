"""The header of a safetensors file: its metadata, and where its tensors lie. Nothing behind it is read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, BinaryIO

from bench.errors import shown
from bench.stored import MIB, DamagedError, parsed

MOST_BYTES = 16 * MIB
"""JSON takes ten times its length in memory. The format allows 100 MiB; 1,000 tensors have 0.1."""


@dataclass(frozen=True)
class TensorEntry:
    """One tensor: its type as safetensors calls it, its shape, and the bytes of the file from `begin` up to `end`."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """The whole header. Tensors begin `size_bytes` behind the beginning of the file."""

    size_bytes: int
    metadata: dict[str, str]
    tensors: dict[str, TensorEntry]


def read(file: BinaryIO) -> Header:
    """Read the header of an open file, which stands at its beginning.

    Raises `DamagedError` where the file is shorter than its header, the header larger than `MOST_BYTES` or not as
    safetensors writes it. Of a header that is too long nothing is read.
    """
    size, length = os.fstat(file.fileno()).st_size, int.from_bytes(file.read(8), "little")
    if length > min(size - 8, MOST_BYTES):
        raise DamagedError(f"it claims {length:,} bytes; the file has {size:,}, and a header at most {MOST_BYTES:,}")
    try:
        header = parsed(file.read(length).decode("utf-8"), fraction=_refuse_fraction)
        metadata = {str(key): str(text) for key, text in (header.pop("__metadata__", None) or {}).items()}
        tensors = {name: _entry(name, entry, 8 + length) for name, entry in header.items()}
    except DamagedError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedError("it is not a list of tensors") from error
    return Header(8 + length, metadata, tensors)


def _entry(name: str, entry: Any, start: int) -> TensorEntry:
    begin, end = entry["data_offsets"]
    shape = tuple(entry["shape"])
    # `true` is an integer to Python.
    if not all(type(number) is int and number >= 0 for number in (begin, end, *shape)) or begin > end:
        raise DamagedError(f"{shown(name)} has a shape or a place in the file that cannot be")
    return TensorEntry(str(entry["dtype"]), shape, start + begin, start + end)


def _refuse_fraction(text: str) -> float:
    raise DamagedError(f"{shown(text)} is not a shape or a place in the file")
