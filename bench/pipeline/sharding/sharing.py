"""How the parts of an experiment share what they make: by a folder that all see, or by an address in a store.

A store has no rename and no locks, and needs none. What lies there has the same paths as in the folder of the
experiment file, below ADDRESS/NAME: objects are put there whole, under names that digests of their content or of all
that it depends on are part of, and last the one that says that all are there (`variant.json`, a part's record).
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from bench import addresses, locks
from bench.errors import UserError
from bench.files import is_temporary, remove
from bench.pipeline.build import BuiltVariants
from bench.pipeline.search.trails import TRAIL
from bench.pipeline.sharding import looks, records
from bench.pipeline.sharding.part import Part
from bench.pipeline.sharding.passes import Pass
from bench.pipeline.sharding.records import Record
from bench.records import OnEvent, silent
from bench.remote import Item, Store, each
from bench.results import predict
from bench.variants import cache, description
from bench.variants.description import DESCRIPTION

UPLOAD_SECONDS = 30.0
"""How often a part uploads the shards that it has finished: what a lost machine loses at most, beside those at work."""
_PROBE = ".bench"
_ARTIFACT = re.compile(r"variants/([0-9a-f]{16})/[^/]+")
_RECORD = re.compile(r"of-[1-9]\d{0,8}/[1-9]\d{0,8}\.json", re.ASCII)
_JOINED = (predict.PREDICTIONS, predict.CAMS, predict.MARK, TRAIL)
"""What parts need of results that are joined already."""


class Sharing:
    """By a folder: all is where it should be, and nothing is to be done."""

    def begin(self, on_event: OnEvent) -> None:
        """Refuse what cannot work, and fetch artifacts and what is known of other parts."""

    def fetch_results(self, on_event: OnEvent) -> None:
        """Fetch all that the experiment's results hold, shards among them."""

    def fetch_records(self, on_event: OnEvent) -> None:
        """Have the records of all parts, and no others."""

    def fetch_shards(self, passes: Sequence[Pass], part: Part, on_event: OnEvent) -> None:
        """Fetch those of a part's shards that are missing here."""

    def offer_variants(self, folder: Path, built: BuiltVariants, on_event: OnEvent) -> None:
        """Give others the artifacts, with what was made beside them, and what searches came to."""

    @contextmanager
    def offering(self, passes: Sequence[Pass], part: Part, on_event: OnEvent) -> Iterator[None]:
        """Give others the shards of a part that are finished inside; at the end of it all of them."""
        yield

    def offer_record(self, record: Record) -> None:
        """Say that a part has begun, or ended."""

    def offer_results(self, on_event: OnEvent) -> None:
        """Give others joined results and the report, and remove what they were joined from."""


def opened(address: str | None, base: Path, name: str) -> Sharing:
    """By the folder `base` alone, or by an address. `UserError` for one that is none, or that cannot be used."""
    if address is None:
        return Sharing()
    try:
        addresses.checked(address)
    except ValueError as error:
        raise UserError(f"--store: {error}") from None
    if not addresses.is_address(address):
        raise UserError(
            f"--store: expected an address such as s3://bucket/bench, found {address}; a folder that all machines see "
            "needs no --store: put the experiment file there"
        )
    return _ByAddress(address, base, name)


class _ByAddress(Sharing):
    """By an address."""

    def __init__(self, address: str, base: Path, name: str) -> None:
        self._store, self._base = Store(addresses.joined(address, name)), base
        self._results = base / "results" / name
        self._uploaded: set[str] = set()

    def begin(self, on_event: OnEvent) -> None:
        self._store.write(_PROBE, b"bench\n")  # who may not write is refused before hours of work
        self._fetch_variants(on_event)
        self.fetch_records(on_event)
        items = self._store.items(self._name(self._results))
        self._fetch_missing({name: item for name, item in items.items() if name.endswith(_JOINED)}, on_event)

    # ------------------------------------------------------------------------------------------ what others made
    def fetch_results(self, on_event: OnEvent) -> None:
        """Of what lies with records, only what was measured of frames: the records themselves are had already."""
        records_folder = f"{self._name(records.folder_of(self._results))}/"
        looks_folder = f"{records_folder}{looks.FOLDER}/"
        items = self._store.items(self._name(self._results))
        self._fetch_missing(
            {
                name: item
                for name, item in items.items()
                if name.startswith(looks_folder) or not name.startswith(records_folder)
            },
            on_event,
        )

    def fetch_records(self, on_event: OnEvent) -> None:
        folder = records.folder_of(self._results)
        top = self._name(folder)
        items = {name: item for name, item in self._store.items(top).items() if _RECORD.fullmatch(name[len(top) + 1 :])}
        for file in folder.glob("of-*/*.json"):
            if self._name(file) not in items:
                remove(file)
        self._fetch(items, on_event)

    def fetch_shards(self, passes: Sequence[Pass], part: Part, on_event: OnEvent) -> None:
        files = _files_of(passes, part)
        names = {self._name(file) for file in files}
        folders = dict.fromkeys(self._name(file.parent) for file in files)
        items = {name: item for folder in folders for name, item in self._store.items(folder).items() if name in names}
        self._uploaded = set(items)
        self._fetch_missing(items, on_event)

    def _fetch_variants(self, on_event: OnEvent) -> None:
        """Fetch artifacts that are whole there and not here; of others, what was made beside them and is missing."""
        by_id: dict[str, dict[str, Item]] = {}
        for name, item in self._store.items("variants").items():
            if match := _ARTIFACT.fullmatch(name):
                by_id.setdefault(match[1], {})[name] = item
        folder = self._base / "variants"
        for variant, items in by_id.items():
            last = f"variants/{variant}/{DESCRIPTION}"
            if last not in items or not self._lacks(folder, variant, items):
                continue
            lock, doing = cache.lock_file(folder, variant), f"fetching {variant}"
            with locks.held(lock, doing, on_event, folder=self._base, why=cache.WHY_WAIT):
                self._fetch(self._lacks(folder, variant, items), on_event, last=(last,))

    def _lacks(self, folder: Path, variant: str, items: Mapping[str, Item]) -> dict[str, Item]:
        """The files of an artifact that are not here; all of one that is not whole here."""
        is_built = cache.is_built(folder, variant)
        return {name: item for name, item in items.items() if not is_built or not (self._base / name).exists()}

    def _fetch_missing(self, items: Mapping[str, Item], on_event: OnEvent) -> None:
        missing = {name: item for name, item in items.items() if not (self._base / name).exists()}
        self._fetch(missing, on_event, last=[name for name in missing if name.endswith(predict.MARK)])

    def _fetch(self, items: Mapping[str, Item], on_event: OnEvent, last: Iterable[str] = ()) -> None:
        """Fetch files in the place of what is here; after all others the `last` ones."""
        work, at_last = f"fetching from {self._store.address}", [name for name in last if name in items]

        def get(name: str) -> None:
            self._store.get(name, self._base / name, items[name].size_bytes)

        each(work, [name for name in items if name not in at_last], get, on_event)
        each(work, at_last, get, on_event)

    # ------------------------------------------------------------------------------------------ what is made here
    def offer_variants(self, folder: Path, built: BuiltVariants, on_event: OnEvent) -> None:
        uploaded = self._store.items("variants").keys() | self._store.items(self._name(self._results)).keys()
        ids = {link.id for each in built.artifacts.values() for link in description.read(folder, each.id).lineage}
        files = [file for variant in sorted(ids) for file in _plain_files(folder / variant)]
        files += self._results.rglob(TRAIL)
        self._offer([file for file in files if self._name(file) not in uploaded], on_event, last=DESCRIPTION)

    @contextmanager
    def offering(self, passes: Sequence[Pass], part: Part, on_event: OnEvent) -> Iterator[None]:
        """By a thread, now and then, which leaves it to the end to fail."""
        files, ended = _files_of(passes, part), threading.Event()

        def now_and_then() -> None:
            while not ended.wait(UPLOAD_SECONDS):
                with suppress(UserError):  # a store that cannot be reached now may be at the end, where it counts
                    self._offer_shards(files, silent)

        thread = threading.Thread(target=now_and_then, name="upload", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
        self._offer_shards(files, on_event)

    def _offer_shards(self, files: Sequence[Path], on_event: OnEvent) -> None:
        """Upload those that are here and not there: what is measured of a shard's frames before the shard."""
        due = [file for file in files if self._name(file) not in self._uploaded]
        shards = [file for file in due if file.suffix == ".npz" and file.exists()]
        measures = [file for file in due if file.suffix != ".npz" and file.exists()]
        for uploads in (measures, shards):
            self._offer(uploads, on_event)
            self._uploaded.update(map(self._name, uploads))

    def offer_record(self, record: Record) -> None:
        file = records.file_of(self._results, record)
        self._store.write(self._name(file), json.dumps(asdict(record), indent=1).encode())

    def offer_results(self, on_event: OnEvent) -> None:
        reports = self._base / "reports" / self._results.name
        files = [file for folder in (self._results, reports) for file in _plain_files(folder, deep=True)]
        self._offer(files, on_event, last=predict.MARK)
        top = self._name(records.folder_of(self._results))
        if not records.folder_of(self._results).exists():
            names = self._store.items(self._name(self._results))
            self._store.remove(name for name in names if f"/{predict.SHARDS}/" in name)
            self._store.remove(name for name in names if name.startswith(f"{top}/"))

    def _offer(self, files: Sequence[Path], on_event: OnEvent, last: str = "") -> None:
        """Upload files, those that are called `last` after all others."""
        work = f"uploading to {self._store.address}"
        sources = {self._name(file): file for file in files}
        at_last = [name for name, file in sources.items() if file.name == last]

        def put(name: str) -> None:
            self._store.put(sources[name], name)

        each(work, [name for name in sources if name not in at_last], put, on_event)
        each(work, at_last, put, on_event)

    def _name(self, path: Path) -> str:
        """What an object is called that is this file or folder, below the experiment's address."""
        return path.relative_to(self._base).as_posix()


def _files_of(passes: Sequence[Pass], part: Part) -> list[Path]:
    """All that a part leaves beside its record: its shards, and what is measured of their frames."""
    files: list[Path] = []
    for of in passes:
        lows, setup = part.of(of.lows), of.setup
        if not of.is_degraded:
            folder = records.folder_of(setup.base / "results" / setup.name)
            files += (looks.file_of(folder, setup.frames["test"].digest, low) for low in lows)
        files += (predict.shard_file(target.folder, target.key, low) for target in of.targets for low in lows)
    return files


def _plain_files(folder: Path, *, deep: bool = False) -> list[Path]:
    """Regular files in a folder, and with `deep` in those below it; no hidden ones, none that is being written."""
    files = sorted(folder.rglob("*") if deep else folder.glob("*"))
    return [file for file in files if _is_plain(file, folder)]


def _is_plain(file: Path, folder: Path) -> bool:
    is_hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return not is_hidden and not is_temporary(file) and file.is_file() and not file.is_symlink()
