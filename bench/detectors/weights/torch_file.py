"""The two formats of `torch.save`: a zip archive (since PyTorch 1.6), and pickles with numbers behind them."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from bench.detectors.weights import pickled
from bench.detectors.weights.stored_tensors import Contents, harmless, storage_dtype

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_CHUNK = 2**20


class NoCheckpointError(ValueError):
    """A whole file, but none that `torch.save` wrote."""


class DamagedMemberError(ValueError):
    """The member of an archive, by its name, that does not have the sum (CRC-32) stored with it."""


@contextmanager
def opened(path: Path) -> Iterator[Contents]:
    """A file that `torch.save` wrote, of either format; what is damaged raises `ValueError` or others."""
    with path.open("rb") as file:
        if file.read(4) == b"PK\x03\x04":
            with zipfile.ZipFile(path) as archive:
                yield _Archive(archive)
        else:
            file.seek(0)
            yield _Sequence(file, path.stat().st_size)


class _Archive:
    """A zip archive: `<name>/data.pkl`, and each storage as `<name>/data/<key>`."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        """Check every member's sum, and read the pickle: `ValueError` and its kinds where that fails."""
        self.archive = archive
        self.members = {member.filename: member for member in archive.infolist()}
        if len(self.members) != len(archive.infolist()):
            raise ValueError("two members of the archive have the same name")
        self._forget_sums_that_were_not_computed()
        for member in self.members.values():
            self._check(member)
        roots = [name.removesuffix("data.pkl") for name in self.members if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise NoCheckpointError(f"{len(roots)} members of the archive are called data.pkl")
        self.root = roots[0]
        order = self.members.get(f"{self.root}byteorder")
        self.swapped = order is not None and archive.read(order) == b"big"
        self.tree: Any = pickled.read(io.BytesIO(archive.read(f"{self.root}data.pkl")), harmless)

    def _forget_sums_that_were_not_computed(self) -> None:
        """`torch.serialization.set_crc32_options(False)` writes zeros in the place of all sums."""
        if not any(member.CRC for member in self.members.values()):
            for member in self.members.values():
                del member.CRC

    def _check(self, member: zipfile.ZipInfo) -> None:
        """Read to the end, where `zipfile` compares the sum."""
        try:
            with self.archive.open(member) as file:
                while file.read(_CHUNK):
                    pass
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise DamagedMemberError(member.filename) from error

    def numbers(self, key: str) -> bytearray:
        member = self.members.get(f"{self.root}data/{key}")
        if member is None:
            raise ValueError("the numbers of a tensor are not in the file")
        data, at = bytearray(member.file_size), 0
        with self.archive.open(member) as file:
            while chunk := file.read(_CHUNK):
                data[at : at + len(chunk)] = chunk
                at += len(chunk)
        return data


class _Sequence:
    """Five pickles (magic number, version, machine, object, keys), then each storage behind its length."""

    swapped = False  # always little-endian

    def __init__(self, file: io.BufferedReader, size: int) -> None:
        """Read the pickles, and note the offset and bytes of each storage: `ValueError` where that fails."""
        self.file = file
        bounded, outside = cast(IO[bytes], _Bounded(file, size)), list[Any]()
        if pickled.read(bounded, harmless) != _MAGIC or pickled.read(bounded, harmless) != _PROTOCOL:
            raise NoCheckpointError("a pickle, but none that torch.save wrote")
        pickled.read(bounded, harmless)
        self.tree: Any = pickled.read(bounded, harmless, outside)
        keys = pickled.read(bounded, harmless)
        itemsizes = {id_[2]: dtype.itemsize for id_ in outside if (dtype := storage_dtype(id_))}
        self.storages: dict[str, tuple[int, int]] = {}
        for key in keys if isinstance(keys, list) else ():
            count = int.from_bytes(file.read(8), "little")
            length = count * itemsizes.get(key, size) if isinstance(key, str) else size
            if file.tell() + length > size:
                raise ValueError("a tensor's numbers are not all in the file")
            self.storages[key] = file.tell(), length
            file.seek(length, io.SEEK_CUR)

    def numbers(self, key: str) -> bytearray:
        if key not in self.storages:
            raise ValueError("the numbers of a tensor are not in the file")
        offset, length = self.storages[key]
        data = bytearray(length)
        self.file.seek(offset)
        self.file.readinto(data)
        return data


class _Bounded(io.RawIOBase):
    """A file of which no more is asked for than it has, whatever length a pickle claims."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.file, self.size = file, size

    def read(self, size: int = -1, /) -> bytes:
        left = max(self.size - self.file.tell(), 0)
        return self.file.read(left if size < 0 else min(size, left))

    def readline(self, size: int | None = -1, /) -> bytes:
        return self.file.readline(-1 if size is None else size)

    def tell(self) -> int:
        return self.file.tell()
