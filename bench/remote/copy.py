"""The copy of what lies at an address: each object is fetched once, and again when its content has changed there."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import addresses, locks, seals, stored
from bench.errors import UserError, counted
from bench.files import make_folder, remove, sweep
from bench.records import OnEvent
from bench.remote import transfer
from bench.remote.store import Item, Store, refuse_no_paths

WHY_WAIT = "what it fetches is used here too, once it is there; Ctrl-C ends the wait, and loses nothing"
LOCK = "copy.lock"
_NOTE, _READERS = "copy.json", "readers"
_FORMAT = 2
_BEGUN = Item(-1, "")
"""Of an object whose file may be there or not, and may be old."""
_LEAST_SECONDS, _SHARE = 5.0, 20.0
"""What is there is noted every five seconds, and where that takes long, in a twentieth of the time."""


@dataclass
class _Reader:
    """A run of this process: what it is doing, and the folders of copies beside which it says that it reads them."""

    doing: str
    folders: set[Path] = field(default_factory=set)
    announced: ExitStack = field(default_factory=ExitStack)

    def announce(self, folder: Path, on_event: OnEvent) -> None:
        if folder not in self.folders:
            self.folders.add(folder)
            self.announced.enter_context(locks.announced(folder / _READERS, self.doing, on_event))


_reader: ContextVar[_Reader | None] = ContextVar("reader", default=None)


@contextmanager
def reading(doing: str) -> Iterator[None]:
    """Inside, the files of copies that are brought up to date stay as they are, whoever updates them.

    `doing` says for what, such as "running first".
    """
    reader = _Reader(doing)
    token = _reader.set(reader)
    try:
        with reader.announced:
            yield
    finally:
        _reader.reset(token)


@dataclass
class _Noted:
    """What a copy holds: objects by their paths, and of each part that was asked for, whether all of it was there."""

    files: dict[str, Item] = field(default_factory=dict)
    parts: dict[str, bool] = field(default_factory=dict)
    address: str = ""


class Copy:
    """Files below `root` that are copied from an address; `part` names which, where there are several choices.

    What was copied is noted in a sealed file, one for each address and user: each believes only what they have written
    themselves, as with digests. A process that is killed leaves whole files, and fetches again what it had not noted;
    temporary files that it leaves are removed by the next update.
    """

    def __init__(self, base: Path, address: str, root: Path, part: str = "") -> None:
        self.base, self.address, self.root, self.part = base, address.rstrip("/"), root, part
        self._folder = addresses.folder_of(base, address)
        self._noted_until = 0.0

    def copied(self) -> set[str]:
        """The paths below `root` of the objects that were copied whole."""
        return {name for name, item in _read(self._folder).files.items() if item != _BEGUN}

    def parts(self) -> set[str]:
        """The parts that were asked for."""
        return set(_read(self._folder).parts)

    def is_whole(self) -> bool:
        """Whether all of its part was there once it was last looked for, and its files are there still."""
        noted = _read(self._folder)
        return noted.parts.get(self.part, False) and all(
            item == _BEGUN or self._is_here(name, item) for name, item in noted.files.items()
        )

    def update(
        self,
        store: Store,
        items: Mapping[str, Item],
        on_event: OnEvent,
        all_items: Callable[[], Mapping[str, Item]] | None = None,
    ) -> None:
        """Have the files of these objects, by their paths below the store's address, and no others from earlier.

        Where only their content says which others there are to be, `all_items` tells once they are here; until then,
        nothing is removed. Inside `reading`, they stay as they are from here on.

        `UserError` for what the store refuses, and where a file would be replaced or removed that a run reads;
        what was finished by then is kept.
        """
        self._refuse_links()
        make_folder(self._folder)
        reader = _reader.get()
        doing = f"copying {self.address}"
        with locks.held(self._folder / LOCK, doing, on_event, folder=self.base, why=WHY_WAIT):
            noted = _read(self._folder)
            is_read_here = reader is not None and self._folder in reader.folders
            if is_read_here and noted.parts.get(self.part):
                return
            noted.address = self.address
            if not noted.files:  # what lies there is of nobody, or a stranger's
                self._refuse_if_read(int((self._folder / addresses.FILES).exists()))
                remove(self._folder / addresses.FILES)
            self._sweep(noted)
            # What this run has listed by now stays as it was then; what another part of it lacks still comes.
            as_listed = {n: item for n, item in noted.files.items() if item != _BEGUN} if is_read_here else {}
            if all_items:
                items = {name: as_listed.get(name, item) for name, item in items.items()}
                self._bring(store, {**noted.files, **items}, items, noted, on_event)
                items = all_items()
            items = {**items, **as_listed}
            self._bring(store, items, items, noted, on_event)
            if not noted.parts.get(self.part):
                noted.parts[self.part] = True
                self._write(noted)
            if reader:
                reader.announce(self._folder, on_event)

    def _bring(
        self, store: Store, staying: Mapping[str, Item], items: Mapping[str, Item], noted: _Noted, on_event: OnEvent
    ) -> None:
        """Fetch those of `items` that are not here, and remove what is not among those that are `staying`."""
        gone = noted.files.keys() - staying.keys()
        due = [name for name, item in items.items() if noted.files.get(name) != item or not self._is_here(name, item)]
        if not due and not gone:
            return
        refuse_no_paths(self.address, items)
        former = [name for name in (*due, *gone) if noted.files.get(name, _BEGUN) != _BEGUN]
        changed = (name for name in former if noted.files[name] != items.get(name))
        self._refuse_if_read(sum(os.path.lexists(f"{self.root}/{name}") for name in changed))
        noted.parts = {part: whole and not former for part, whole in noted.parts.items()} | {self.part: False}
        self._fetch(store, {name: items[name] for name in due}, gone, noted, on_event)

    def _fetch(
        self, store: Store, due: Mapping[str, Item], gone: Iterable[str], noted: _Noted, on_event: OnEvent
    ) -> None:
        """Copy what is due and remove what is gone, each noted before it is begun and when it is done."""
        noted.files.update(dict.fromkeys((*due, *gone), _BEGUN))
        self._write(noted)
        for name in gone:
            self._remove(name)
            del noted.files[name]

        def get(name: str) -> None:
            store.get(name, self.root / name, due[name].size_bytes)

        def finished(names: Iterable[str]) -> None:
            noted.files.update((name, due[name]) for name in names)
            self._write_now_and_then(noted)

        try:
            transfer.each(f"copying {self.address}", list(due), get, on_event, finished)
        finally:
            self._write(noted)

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

    def _sweep(self, noted: _Noted) -> None:
        """Remove what a killed process left: temporary files lie beside what it had begun."""
        for folder in {(self.root / name).parent for name, item in noted.files.items() if item == _BEGUN}:
            sweep(folder, held=True)

    def _refuse_links(self) -> None:
        """What a link leads to may be anybody's."""
        below = (self._folder / name for name in (addresses.FILES, _READERS))
        for folder in (self._folder.parent, self._folder, *below):
            stored.refuse_link(folder)

    def _refuse_if_read(self, changes: int) -> None:
        """Raise `UserError` where files would change that a run reads: some of its results would be of other frames."""
        if changes and (running := readers_of(self._folder)):
            raise UserError(
                f"{self.address}: {counted(changes, 'file')} would be replaced or removed in the copy here, since what "
                f"lies there has changed, and {' and '.join(running)} reads it; once that has ended, run the same "
                "command again, or now in another folder"
            )

    def _write(self, noted: _Noted) -> None:
        content = {"format": _FORMAT, "address": self.address, "parts": noted.parts, "files": noted.files}
        seals.remember(self._folder / _NOTE, _key(self._folder), content)

    def _write_now_and_then(self, noted: _Noted) -> None:
        began = time.monotonic()
        if began >= self._noted_until:
            self._write(noted)
            ended = time.monotonic()
            self._noted_until = ended + max(_LEAST_SECONDS, _SHARE * (ended - began))


def readers_of(folder: Path) -> list[str]:
    """The runs that read the copy in a folder, such as "process 123 that is running first"."""
    return locks.running(folder / _READERS)


def address_of(folder: Path) -> str:
    """The address whose copy lies in a folder, if this user made it; empty otherwise."""
    return _read(folder).address


def _key(folder: Path) -> str:
    return f"copy {folder.name}"


def _read(folder: Path) -> _Noted:
    content: Any = seals.recall(folder / _NOTE, _key(folder))
    try:
        if content["format"] != _FORMAT:
            return _Noted()
        items = {name: Item(int(size), str(version)) for name, (size, version) in content["files"].items()}
        parts = {str(part): bool(whole) for part, whole in content["parts"].items()}
        return _Noted(items, parts, str(content["address"]))
    except (ValueError, TypeError, KeyError, AttributeError):
        return _Noted()
