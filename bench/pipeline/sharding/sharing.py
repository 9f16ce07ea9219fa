"""How machines that see no common folder share what the parts of an experiment make: by an address in a store.

A store has no rename and no locks, and needs none. What lies there has the same paths as in the folder of the
experiment file, below ADDRESS/NAME, and models have their digests in theirs. Objects are put there whole, and last the
one that says that all are there (`variant.json`, a part's record, `predictions.json`).
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from bench import addresses, stored
from bench.errors import UserError, counted
from bench.files import remove, temporary_name, write_bytes
from bench.pipeline.build import BuiltVariants
from bench.pipeline.search import trails
from bench.pipeline.search.trails import TRAIL
from bench.pipeline.sharding import appearances, records, shared_results
from bench.pipeline.sharding.part import Part
from bench.pipeline.sharding.passes import Pass
from bench.pipeline.sharding.records import Record
from bench.pipeline.sharding.shared_artifacts import SharedArtifacts
from bench.pipeline.sharding.transfers import Transfers, plain_files
from bench.records import Event, OnEvent, silent
from bench.remote import Item, Store
from bench.results import predict
from bench.variants import description

UPLOAD_SECONDS = 30.0
"""How often a part uploads the shards that it has finished: what a lost machine loses at most, beside those at work."""
_RECORD = re.compile(r"of-[1-9]\d{0,8}/[1-9]\d{0,8}\.json", re.ASCII)
_log = logging.getLogger("bench")


def opened(address: str | None, base: Path, name: str) -> SharedStore | None:
    """What is shared by an address; None without one, where all is shared by the folder `base` and nothing to be done.

    `UserError` for an address that is none, or that cannot be used.
    """
    if address is None:
        return None
    try:
        addresses.checked(address)
    except ValueError as error:
        raise UserError(f"--store: {error}") from None
    if not addresses.is_address(address):
        raise UserError(
            f"--store: expected an address such as s3://bucket/bench, found {address}; a folder that all machines see "
            "needs no --store: put the experiment file there"
        )
    if address.lower().startswith("memory://"):
        raise UserError(f"--store: {address} is the memory of one process, which no other sees: give a store's address")
    return SharedStore(address, base, name)


@contextmanager
def merging(address: str | None, base: Path, name: str, on_event: OnEvent) -> Iterator[None]:
    """Inside, all that parts left at an address is here; at the end, results and report are there in place of shards.

    Shards that turned out to be damaged are removed there however it ends, so that their parts can make them again.
    """
    shared = opened(address, base, name)
    if shared is None:
        yield
        return
    shared.begin(on_event)
    shared.fetch_results(on_event)
    try:
        yield
    except BaseException:
        with suppress(UserError):  # what ended the merge is what is told
            shared.remove_damaged_shards()
        raise
    shared.remove_damaged_shards()
    shared.offer_results(on_event)


class SharedStore:
    """What the parts of an experiment share by an address."""

    def __init__(self, address: str, base: Path, name: str) -> None:
        self._given, self._store, self._base = address, Store(addresses.joined(address, name)), base
        self._results = base / "results" / name
        self._transfers = Transfers(self._store, base)
        self._artifacts = SharedArtifacts(self._transfers)
        self._trails: dict[str, Item] = {}
        """Trails of searches that were looked at."""
        self._shards: set[str] = set()
        """Those that are in the store, as far as this process knows, and what was measured of their frames."""

    def begin(self, on_event: OnEvent) -> None:
        """Refuse what cannot work, and fetch artifacts and what is known of other parts."""
        self._refuse_without_rights()
        items = self.take_over(on_event)
        self.fetch_records(on_event)
        shared_results.fetch_joined(self._transfers, self._results, items, on_event)

    def take_over(self, on_event: OnEvent) -> dict[str, Item]:
        """Fetch artifacts, and the trails of searches that have ended; returns what lies there of the results."""
        self._artifacts.take_over(on_event)
        items = self._transfers.items(self._results)
        self._transfers.fetch_missing({name: item for name, item in items.items() if _is_trail(name)}, on_event)
        return items

    def _refuse_without_rights(self) -> None:
        """Raise `UserError` where this user may not write and remove there: after hours of work it would be too late.

        Clients of stores say nothing of what they did not remove, so it is looked for.
        """
        probe = temporary_name()
        try:
            self._store.write(probe, b"bench\n")
            self._store.remove([probe])
            remains = self._store.item(probe)
        except UserError as error:  # nobody knows the probe
            raise UserError(str(error).replace(addresses.joined(self._store.address, probe), self._given)) from error
        if remains:
            raise UserError(
                f"{addresses.joined(self._store.address, probe)}: could be written and not removed; give these "
                "credentials the right to delete below this address, then run the same command again"
            )

    # ------------------------------------------------------------------------------------------ what others made
    def fetch_results(self, on_event: OnEvent) -> None:
        """Fetch all that the experiment's results hold, shards among them; heatmaps are drawn anew where they are due.

        Of what lies with records, only what was measured of frames: the records themselves are had already.
        """
        records_folder = f"{self._transfers.name(records.folder_of(self._results))}/"
        appearances_folder = f"{records_folder}{appearances.FOLDER}/"
        items = {
            name: item
            for name, item in self._transfers.items(self._results).items()
            if name.startswith(appearances_folder) or not name.startswith(records_folder)
        }
        apart = {name: item for name, item in items.items() if shared_results.is_shared_apart(name)}
        self._transfers.fetch_missing({name: item for name, item in items.items() if name not in apart}, on_event)
        self._shards = {name for name in items if _is_shard(name)}

    def fetch_records(self, on_event: OnEvent) -> None:
        """Have the records of all parts, and no others."""
        top = self._transfers.name(records.folder_of(self._results))
        items = {name: item for name, item in self._store.items(top).items() if _RECORD.fullmatch(name[len(top) + 1 :])}
        for file in records.files(self._results):
            if self._transfers.name(file) not in items:
                remove(file)
        self._transfers.fetch(items, on_event)
        for name in items:
            try:
                records.read(self._base / name)
            except UserError as error:
                remove(self._base / name)
                raise UserError(
                    f"{addresses.joined(self._store.address, name)}: damaged ({error.__cause__}); delete it there, and "
                    "run its part again"
                ) from error

    def fetch_shards(self, passes: Sequence[Pass], part: Part, on_event: OnEvent) -> None:
        """Fetch those of a part's shards that are missing here; one that is damaged is made again, and put again."""
        files = _files_of(passes, part)
        names = {self._transfers.name(file) for file in files}
        folders = dict.fromkeys(self._transfers.name(file.parent) for file in files)
        items = {name: item for folder in folders for name, item in self._store.items(folder).items() if name in names}
        self._transfers.fetch_missing(items, on_event)
        shards = {name: self._base / name for name in names if _is_shard(name)}
        self._shards = items.keys() - {name for name, file in shards.items() if predict.remove_damaged(file)}

    # ------------------------------------------------------------------------------------------ what is made here
    def offer_variants(self, built: BuiltVariants, on_event: OnEvent) -> bool:
        """Give others the artifacts, with what was made beside them, and what searches came to.

        Returns whether another's had been there first and is here now: then variants are to be built from these.
        """
        folder = self._base / "variants"
        ids = {link.id for it in built.artifacts.values() for link in description.read(folder, it.id).lineage}
        return self.offer_artifacts(ids, on_event)

    def offer_artifacts(self, ids: Iterable[str], on_event: OnEvent) -> bool:
        """The same of the artifacts with these ids, as far as they are built."""
        return self._artifacts.offer(sorted(ids), on_event) or self._offer_trails(on_event)

    def _offer_trails(self, on_event: OnEvent) -> bool:
        """Put trails of ended searches there. Of the same search, that of whoever was first counts, and is had here."""
        remote = {name: item for name, item in self._transfers.items(self._results).items() if _is_trail(name)}
        files = {self._transfers.name(file): file for file in self._results.rglob(TRAIL) if stored.is_file(file)}
        self._transfers.refuse_links(files)
        contents = self._transfers.contents({name: remote[name] for name in files if name in remote})
        due, gives_way = list[Path](), False
        for name, file in files.items():
            local, other = file.read_bytes(), contents.get(name, b"")
            ours, offered = trails.parsed(local), trails.parsed(other)
            is_taken = ours and offered and ours.key == offered.key and trails.is_whole(offered)
            if is_taken and self._trails.get(name) != remote[name]:
                self._trails[name] = remote[name]
                if local != other:
                    write_bytes(file, other)
                    gives_way = True
            elif ours and trails.is_whole(ours) and local != other:
                due.append(file)
        self._transfers.put(due, on_event)
        return gives_way

    @contextmanager
    def evaluating(self, record: Record, passes: Sequence[Pass], on_event: OnEvent) -> Iterator[None]:
        """Say that a part has begun, with the shards of it that are there; inside and at the end, give others more."""
        self.offer_record(record)
        self.fetch_shards(passes, record.part, on_event)
        with self.offering(passes, record.part, on_event):
            yield

    @contextmanager
    def offering(self, passes: Sequence[Pass], part: Part, on_event: OnEvent) -> Iterator[None]:
        """Give others the shards of a part that are finished inside, now and then and all of them at the end.

        Uploads that fail meanwhile are tried again; only at the end does it count.
        """
        files, ended = _files_of(passes, part), threading.Event()
        failures = list[Exception]()

        def now_and_then() -> None:
            while not ended.wait(UPLOAD_SECONDS):
                try:
                    self._offer_shards(files, silent)
                except Exception as error:  # whatever it is: the next turn may do it, and the end must
                    failures.append(error)
                    _log.warning("uploading shards failed, and is tried again", exc_info=error)

        thread = threading.Thread(target=now_and_then, name="upload", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
        self._offer_shards(files, on_event)
        if failures:
            text = f"all shards are uploaded now; {counted(len(failures), 'upload')} before had failed ({failures[-1]})"
            on_event(Event(text, 1, 1, "warning"))

    def offer_shard(self, of: Pass, low: int) -> None:
        """Give others one shard, that of the pass that begins at the row `low`."""
        self._offer_shards(_files_of_shards(of, [low]), silent)

    def _offer_shards(self, files: Sequence[Path], on_event: OnEvent) -> None:
        """Upload those that are here and not there: what is measured of a shard's frames before the shard."""
        sources = {self._transfers.name(file): file for file in files}
        due = {name: file for name, file in sources.items() if name not in self._shards and file.exists()}
        shards = {name: file for name, file in due.items() if _is_shard(name)}
        for uploads in ({name: file for name, file in due.items() if name not in shards}, shards):
            self._transfers.put_as(uploads, on_event)
            self._shards |= uploads.keys()

    def offer_record(self, record: Record) -> None:
        """Say that a part has begun, or ended."""
        file = records.file_of(self._results, record)
        self._store.write(self._transfers.name(file), json.dumps(asdict(record), indent=1).encode())

    def offer_results(self, on_event: OnEvent) -> None:
        """Give others joined results and the report, and remove what they were joined from."""
        shared_results.put_results(self._transfers, self._results, on_event)
        self._transfers.put(plain_files(self._base / "reports" / self._results.name, deep=True), on_event)
        records_folder = records.folder_of(self._results)
        if not records_folder.exists():
            names = self._transfers.items(self._results)
            self._store.remove(name for name in names if _is_shard(name))
            self._store.remove(name for name in names if name.startswith(f"{self._transfers.name(records_folder)}/"))

    def remove_damaged_shards(self) -> None:
        """Remove there what was fetched and turned out to be damaged: it is gone here, and joined nowhere."""
        gone = [name for name in sorted(self._shards) if not (self._base / name).exists()]
        self._store.remove(name for name in gone if not _is_joined(self._base / name))


def _is_trail(name: str) -> bool:
    return name.endswith(f"/{TRAIL}")


def _is_shard(name: str) -> bool:
    return f"/{predict.SHARDS}/" in name


def _is_joined(shard: Path) -> bool:
    """Whether the predictions that a shard was a part of are joined."""
    return predict.is_done(shard.parents[2], shard.parent.name)


def _files_of(passes: Sequence[Pass], part: Part) -> list[Path]:
    """All that a part leaves beside its record: its shards, and what is measured of their frames."""
    return [file for of in passes for file in _files_of_shards(of, part.of(of.lows))]


def _files_of_shards(of: Pass, lows: Sequence[int]) -> list[Path]:
    """What these shards of a pass leave."""
    files: list[Path] = []
    if not of.is_degraded:
        folder = records.folder_of(of.setup.base / "results" / of.setup.name)
        files += (appearances.file_of(folder, of.setup.frames["test"].digest, low) for low in lows)
    files += (predict.shard_file(target.folder, target.key, low) for target in of.targets for low in lows)
    return files
