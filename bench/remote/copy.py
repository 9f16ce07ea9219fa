"""The copy of what lies at an address: each object is fetched once, and again when its content has changed there."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench import addresses, locks, seals
from bench.errors import UserError
from bench.files import make_folder, remove
from bench.records import OnEvent
from bench.remote import transfer
from bench.remote.store import Item, Store

WHY_WAIT = "what it fetches is used here too, once it is there; Ctrl-C ends the wait, and loses nothing"
_FORMAT = 1
_BEGUN = Item(-1, "")
"""Of an object whose file may be there or not, and may be old."""
_LEAST_SECONDS, _SHARE = 5.0, 20.0
"""What is there is noted every five seconds, and where that takes long, in a twentieth of the time."""


class Copy:
    """Files below `root` that are copied from an address.

    What was copied is noted in a sealed file, one for each address and user: each believes only what they have written
    themselves, as with digests. A process that is killed leaves whole files and fetches again what it had not noted.
    """

    def __init__(self, base: Path, address: str, root: Path) -> None:
        self.base, self.address, self.root = base, address, root
        self._folder = addresses.folder_of(base, address)
        self._note = self._folder.with_suffix(".json")
        self._noted = 0.0

    def copied(self) -> dict[str, Item]:
        """The objects that were copied, or begun, by their paths below `root`."""
        return self._read()[0]

    def is_whole(self) -> bool:
        """Whether all was there once it was last looked for."""
        return self._read()[1]

    def update(self, store: Store, items: Mapping[str, Item], on_event: OnEvent) -> None:
        """Have the files of these objects, by their paths below the store's address, and no others from earlier.

        `UserError` for what the store refuses; what was finished by then is kept.
        """
        self._refuse_links()
        make_folder(self._note.parent)
        doing = f"copying {self.address}"
        with locks.held(self._note.with_suffix(".lock"), doing, on_event, folder=self.base, why=WHY_WAIT):
            copied, was_whole = self._read()
            if not copied:  # what lies there is of nobody, or a stranger's
                remove(self._folder)
            gone = copied.keys() - items.keys()
            due = [name for name, item in items.items() if copied.get(name) != item or not self._is_here(name, item)]
            if due or gone or not was_whole:
                self._fetch(store, items, due, gone, on_event)

    def _fetch(
        self, store: Store, items: Mapping[str, Item], due: Sequence[str], gone: set[str], on_event: OnEvent
    ) -> None:
        """Copy what is due and remove what is gone, each noted before it is begun and when it is done."""
        files = {**items, **dict.fromkeys(due, _BEGUN), **dict.fromkeys(gone, _BEGUN)}
        self._write(files, whole=False)
        for name in gone:
            self._remove(name)
            del files[name]

        def get(name: str) -> None:
            store.get(name, self.root / name, items[name].size_bytes)

        def finished(names: Sequence[str]) -> None:
            files.update((name, items[name]) for name in names)
            self._write_now_and_then(files)

        try:
            transfer.each(f"copying {self.address}", due, get, on_event, finished)
        finally:
            self._write(files, whole=_BEGUN not in files.values())

    def _is_here(self, name: str, item: Item) -> bool:
        try:
            status = os.lstat(f"{self.root}/{name}")
        except OSError:
            return False
        return stat.S_ISREG(status.st_mode) and status.st_size == item.size_bytes

    def _remove(self, name: str) -> None:
        """Remove a file, and folders that are empty then: an empty folder would be a class without frames."""
        file = self.root / name
        remove(file)
        for folder in file.relative_to(self.root).parents:
            with suppress(OSError):
                (self.root / folder).rmdir()

    def _refuse_links(self) -> None:
        """What a link leads to may be anybody's."""
        for folder in (self._note.parent, self._folder):
            if folder.is_symlink():
                raise UserError(f"{folder}: is a link, and bench writes files there; put what it leads to in its place")

    def _read(self) -> tuple[dict[str, Item], bool]:
        content: Any = seals.recall(self._note, self._key)
        try:
            if content["format"] != _FORMAT:
                return {}, False
            items = {name: Item(int(size), str(version)) for name, (size, version) in content["files"].items()}
            return items, bool(content["whole"])
        except (ValueError, TypeError, KeyError, AttributeError):
            return {}, False

    def _write(self, files: Mapping[str, Item], *, whole: bool) -> None:
        seals.remember(self._note, self._key, {"format": _FORMAT, "whole": whole, "files": dict(files)})

    def _write_now_and_then(self, files: Mapping[str, Item]) -> None:
        began = time.monotonic()
        if began >= self._noted:
            self._write(files, whole=False)
            ended = time.monotonic()
            self._noted = ended + max(_LEAST_SECONDS, _SHARE * (ended - began))

    @property
    def _key(self) -> str:
        return f"copy {self._note.stem}"
