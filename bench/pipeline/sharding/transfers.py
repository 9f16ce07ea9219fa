"""Files of an experiment's folder, fetched from a store and put there, under the paths that they have in the folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from bench import stored
from bench.files import is_temporary
from bench.records import OnEvent, silent
from bench.remote import Item, Store, each

MOST_BYTES = 4 * stored.MIB
"""Of a file that is looked into before it is taken: descriptions, choices, marks."""


class Transfers:
    """Between the folder `base` and what lies at an address."""

    def __init__(self, store: Store, base: Path) -> None:
        self.store, self.base = store, base

    def name(self, path: Path) -> str:
        """What an object is called that is this file or folder, below the store's address."""
        return path.relative_to(self.base).as_posix()

    def items(self, folder: Path) -> dict[str, Item]:
        """What lies in the store of a folder."""
        return self.store.items(self.name(folder))

    def fetch_missing(self, items: Mapping[str, Item], on_event: OnEvent) -> None:
        self.fetch({name: item for name, item in items.items() if not (self.base / name).exists()}, on_event)

    def fetch(self, items: Mapping[str, Item], on_event: OnEvent, last: str = "") -> None:
        """Fetch files in the place of what is here, those that are called `last` after all others.

        `UserError` where that would write through a link.
        """
        self.refuse_links(items)

        def get(name: str) -> None:
            self.store.get(name, self.base / name, items[name].size_bytes)

        for names in _in_turn(items, last):
            each(f"fetching from {self.store.address}", names, get, on_event)

    def put(self, files: Iterable[Path], on_event: OnEvent, last: str = "") -> None:
        """Put files there, those that are called `last` after all others."""
        self.put_as({self.name(file): file for file in files}, on_event, last)

    def put_as(self, sources: Mapping[str, Path], on_event: OnEvent, last: str = "") -> None:
        """The same under names of their own."""

        def put(name: str) -> None:
            self.store.put(sources[name], name)

        for names in _in_turn(sources, last):
            each(f"uploading to {self.store.address}", names, put, on_event)

    def contents(self, items: Mapping[str, Item]) -> dict[str, bytes]:
        """What small objects hold; without those that are too large for what they should be."""
        small = {name: item for name, item in items.items() if item.size_bytes <= MOST_BYTES}
        with tempfile.TemporaryDirectory() as folder:
            files = {name: Path(folder, str(number)) for number, name in enumerate(small)}

            def get(name: str) -> None:
                self.store.get(name, files[name], small[name].size_bytes)

            each(f"looking at {self.store.address}", list(small), get, silent)
            return {name: file.read_bytes() for name, file in files.items()}

    def refuse_links(self, names: Iterable[str]) -> None:
        """Raise `UserError` where a folder of these files is a link: what it leads to may be anybody's.

        `results` and `variants` themselves may be links of this user's, to another disk.
        """
        parents = {PurePosixPath(name).parent for name in names}
        for folder in sorted({folder for parent in parents for folder in (parent, *parent.parents)}):
            if len(folder.parts) > 1:
                stored.refuse_link(self.base / folder)


def _in_turn(names: Iterable[str], last: str) -> tuple[list[str], list[str]]:
    """The names of files that are not called `last`, and those of files that are."""
    all_names = list(names)
    at_last = [name for name in all_names if PurePosixPath(name).name == last]
    return [name for name in all_names if PurePosixPath(name).name != last], at_last


def plain_files(folder: Path, *, deep: bool = False) -> list[Path]:
    """Regular files in a folder, and with `deep` in those below it; no hidden ones, none that is being written."""
    files = sorted(folder.rglob("*") if deep else folder.glob("*"))
    return [file for file in files if _is_plain(file, folder)]


def _is_plain(file: Path, folder: Path) -> bool:
    is_hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return not is_hidden and not is_temporary(file) and file.is_file() and not file.is_symlink()
