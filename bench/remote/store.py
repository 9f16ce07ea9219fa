"""What lies below an address in a store, and single files copied from there and to there."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from bench import addresses
from bench.errors import UserError, listed, nearest, quoted, shown
from bench.files import write_atomically
from bench.remote.explained import explained

EXTRA = 'python -m pip install "bench[remote]"'
_GOOGLE = ("gs", "gcs")
_IN_EXTRA = ("s3", "s3a", *_GOOGLE)
_VERSIONS = ("ETag", "etag", "content_md5", "Content-MD5", "md5Hash", "md5", "generation")
_PATTERN = {*"*?["}
_ZONAL = "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"
"""With this, gcsfs asks of which kind a bucket is, and again at every file where it may not know."""
_TIMES = ("LastModified", "last_modified", "Last-Modified", "mtime", "updated", "modified", "created")
"""What stores call the moment in which an object was written, where they know nothing of its content."""


class Item(NamedTuple):
    """An object: its size in bytes, and what changes whenever its content does."""

    size_bytes: int
    version: str


class Store:
    """What lies below an address. Its methods raise `UserError` for what the store refuses."""

    def __init__(self, address: str) -> None:
        """Nothing is looked at yet. `UserError` for an unknown scheme, and where the package for it is missing."""
        self.address = address.rstrip("/")
        self._fs, path = _file_system(self.address)
        self._path = path.rstrip("/")

    def items(self, below: str = "") -> dict[str, Item]:
        """The objects below a folder, with all folders in it, by their paths below the address; none where it is empty.

        `UserError` for names that are no paths on this machine, and for a store that lists no sizes.
        """
        items = self.listing(below)
        refuse_no_paths(self.address, items)
        return items

    def listing(self, below: str = "") -> dict[str, Item]:
        """The same, whatever their names are: for who takes some of them, and looks at the names of these."""
        top = f"{self._path}/{below}".rstrip("/")
        address = addresses.joined(self.address, below) if below else self.address
        with explained(address):
            objects: Mapping[str, Mapping[str, Any]] = self._fs.find(top, detail=True)
        files = {
            name[len(self._path) + 1 :]: info
            for name, info in objects.items()
            if info.get("type") != "directory" and not name.endswith("/") and name != self._path
        }
        if unsized := [name for name, info in files.items() if info.get("size") is None]:
            raise UserError(
                f"{address}: this store does not list how large files are, such as {quoted(unsized[0])}, so what has "
                "changed there could not be seen; copy the folder, or put it in a store such as s3://"
            )
        return {name: _item(info) for name, info in files.items()}

    def item(self, name: str) -> Item | None:
        """One object; None where there is none. `UserError` where the store does not say how large it is."""
        address = addresses.joined(self.address, name)
        with explained(address):
            try:
                info: Mapping[str, Any] = self._fs.info(f"{self._path}/{name}")
            except FileNotFoundError:
                return None
        if info.get("size") is None:
            raise UserError(f"{address}: the store does not say how large it is; download it and give the path")
        return _item(info)

    def get(self, name: str, target: Path, size_bytes: int) -> None:
        """Copy an object to a file, which is whole as soon as it is there.

        `UserError` where it has another size by now. `NotWrittenError` where this machine's disk refuses.
        """
        address = addresses.joined(self.address, name)

        def fill(file: Any) -> None:
            with explained(address, local=target):
                self._fs.get_file(f"{self._path}/{name}", file.name)
            if os.stat(file.name).st_size != size_bytes:  # noqa: PTH116 - a Path for every frame takes long
                raise UserError(f"{address}: has changed while it was copied; run the same command again")

        write_atomically(target, fill)

    def put(self, source: Path, name: str) -> None:
        """Copy a file to an object: stores show an object once all of it is there."""
        with explained(addresses.joined(self.address, name), local=source):
            self._fs.put_file(str(source), f"{self._path}/{name}")

    def write(self, name: str, content: bytes) -> None:
        """Write a small object."""
        with explained(addresses.joined(self.address, name)):
            self._fs.pipe_file(f"{self._path}/{name}", content)

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects."""
        paths = [f"{self._path}/{name}" for name in names]
        with explained(self.address):
            if plain := [path for path in paths if not _PATTERN & {*path}]:
                self._fs.rm(plain)
            for path in (path for path in paths if _PATTERN & {*path}):  # `rm` removes all that a pattern fits
                self._fs.rm_file(path)


def _file_system(address: str) -> tuple[Any, str]:
    """The file system of an address and its path there. `UserError` where none is known, or its package is missing."""
    scheme = address.partition("://")[0]
    try:
        import fsspec
    except ImportError:
        raise UserError(f"{address}: fsspec is not installed: {EXTRA}") from None
    schemes = fsspec.available_protocols()
    if scheme not in schemes:
        raise UserError(
            f"{address}: there is no scheme {quoted(scheme)}{nearest(scheme, _IN_EXTRA)}; usual are s3:// and "
            "gs://, and others that fsspec knows will do"
        )
    if scheme in _GOOGLE:
        os.environ.setdefault(_ZONAL, "false")
        for name in ("gcsfs", "google.auth"):  # they log what they raise, and where they found no credentials
            logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with explained(address):
            # A cached instance would keep the credentials, the endpoint and the listings of an earlier moment.
            file_system, path = fsspec.core.url_to_fs(address, skip_instance_cache=True, use_listings_cache=False)
    except UserError:
        raise
    except ImportError as error:
        how = EXTRA if scheme in _IN_EXTRA else str(error)
        raise UserError(f"{address}: the package for {scheme}:// is not installed: {how}") from None
    except Exception as error:  # schemes that stand before other addresses, or need settings, fail in many ways
        raise UserError(
            f"{address}: no store can be reached by {scheme}:// and a path alone ({shown(str(error), 100)}); usual are "
            "s3:// and gs://"
        ) from None
    return file_system, str(path)


def _item(info: Mapping[str, Any]) -> Item:
    key = next((key for key in (*_VERSIONS, *_TIMES) if info.get(key) is not None), "")
    value = info.get(key, "")
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    return Item(int(info["size"]), f"{key} {text}".strip())


def refuse_no_paths(address: str, items: Mapping[str, Item]) -> None:
    """Raise `UserError` for objects whose names lead elsewhere, or are both a file and a folder."""
    wrong = [name for name in items if not _is_path(name)]
    folders = {parent for name in items for parent in _parents(name)}
    if both := sorted(folders & items.keys()):
        raise UserError(f"{address}: objects that are folders of others too: {listed(both, 5)}; rename them")
    if wrong:
        raise UserError(f"{address}: objects whose names are no paths: {listed(sorted(wrong), 5)}; rename them")


def _is_path(name: str) -> bool:
    return not {"", ".", ".."} & {*name.split("/")} and "\\" not in name and "\0" not in name


def _parents(name: str) -> list[str]:
    parts = name.split("/")[:-1]
    return ["/".join(parts[:length]) for length in range(1, len(parts) + 1)]
