"""Weights at an address, such as s3://bucket/best.pth: copied here first, with what their training left beside them."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from bench import addresses
from bench.errors import UserError
from bench.records import OnEvent
from bench.remote import Copy, Store


def fetch(file: str, base: Path, on_event: OnEvent) -> None:
    """Copy the file at an address, where it is not here or has changed there; nothing where `file` is a path.

    `UserError` where it is not there, and for what the store refuses.
    """
    if not addresses.is_address(file):
        return
    folder, name = addresses.parent_of(file)
    store = Store(folder)
    names = dict.fromkeys((name, PurePosixPath(name).with_suffix(".json").name))
    items = {each: item for each in names if (item := store.item(each))}
    if name not in items:
        raise UserError(f"{file}: there is no such object")
    _copy(base, file).update(store, items, on_event)


def refuse_absent(file: str, base: Path) -> None:
    """Raise `UserError` where weights at an address were not copied yet; nobody asks the store."""
    if addresses.is_address(file) and not _copy(base, file).is_whole():
        raise UserError(f"{file}: is not copied to this machine yet; a run or a training copies it")


def _copy(base: Path, address: str) -> Copy:
    return Copy(base, address, addresses.local_path(base, address).parent)
