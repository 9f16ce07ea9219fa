"""`bench clean`: what lies in variants/, results/ and datasets/, what is in use, and removing what is not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from bench import addresses, locks, remote
from bench.commands.clean.references import References, find_references
from bench.errors import UserError
from bench.experiment import Experiments
from bench.files import is_stale, is_temporary, remove, rename, size_bytes, temporary_name
from bench.footage.folder import LOCK, is_extraction
from bench.pipeline import journal, log_runs, reasons, remembered
from bench.pipeline.footage import FOLDER as EXTRACTED
from bench.pipeline.former import OF_A_VARIANT
from bench.pipeline.sharding import records as sharding_records
from bench.records import OUTCOMES, OnEvent, silent
from bench.reports.content.text import plain
from bench.results import appearance, attributes, copies, predict, store
from bench.variants import cache, description

_ID = re.compile(r"[0-9a-f]{16}")
_UNFINISHED = re.compile(r"\.tmp-([0-9a-f]{16})-\d+")
_OF_AN_EXPERIMENT = {
    store.RUN,
    reasons.RECORD,
    log_runs.RECORD,
    appearance.APPEARANCE,
    attributes.ATTRIBUTES,
    copies.COPIES,
    store.LOCK,
    f"{store.LOCK}.holder",
}
_LEFT_BEHIND = "left by a killed run"


@dataclass(frozen=True)
class Item:
    """Something that bench made. `in_use` says why it stays; empty, it can be removed while nobody holds `lock`."""

    path: Path
    what: str
    size_bytes: int
    in_use: str = ""
    lock: Path | None = None


@dataclass(frozen=True)
class Inventory:
    """Everything that bench made, the paths that were removed, and notes on what could not be found out."""

    items: tuple[Item, ...]
    notes: tuple[str, ...] = ()
    removed: tuple[Path, ...] = ()

    @property
    def unused(self) -> tuple[Item, ...]:
        return tuple(item for item in self.items if not item.in_use)


def inventory(experiments: Experiments, path: Path, on_event: OnEvent = silent) -> Inventory:
    """List what lies beside the experiment file, with what is in use by it or by another experiment file there.

    Listed is only what is known to be bench's. What a running process holds counts as in use, and so does what may
    belong to an experiment that cannot be read.
    """
    base = path.parent
    references = find_references(experiments, path, on_event)
    made = (*_variants(base, references), *_results(base, references), *_extracted(base, references))
    items = (*made, *_copies(base, references), *_caches(base / "datasets"))
    return Inventory(items, references.notes)


def remove_unused(inventory: Inventory) -> Inventory:
    """Remove what is not in use; an item that a process has taken hold of meanwhile stays."""
    return replace(inventory, removed=tuple(item.path for item in inventory.unused if _remove(item)))


# ------------------------------------------------------------------------------------------------- listing
def _variants(base: Path, references: References) -> Iterator[Item]:
    """Built variants, and what interrupted runs left of unfinished ones."""
    folder = base / "variants"
    running = ", ".join(locks.running(folder / cache.LOCKS))
    busy = f"in use by {running}" if running else ""
    for path in _inside(folder):
        if _ID.fullmatch(path.name) and (path / description.DESCRIPTION).exists():
            in_use = references.of_variant(path.name) or busy
            item = Item(path, _title(path), size_bytes(path), in_use, cache.lock_file(folder, path.name))
            yield from _apart(item, _stale(path))
        elif unfinished := _UNFINISHED.fullmatch(path.name):
            lock = cache.lock_file(folder, unfinished[1])
            yield Item(path, _LEFT_BEHIND, size_bytes(path), busy, lock)
    readings = folder / remembered.FOLDER
    if readings.is_dir():
        what, in_use = "how weights were read", "saves reading them again"
        yield from _apart(Item(readings, what, size_bytes(readings), in_use), _stale(readings))
    for path in _inside(folder / cache.SCRATCH):
        if _ID.fullmatch(path.name):
            in_use = references.of_variant(path.name) or busy
            what = "half-done step of a run that was interrupted"
            yield Item(path, what, size_bytes(path), in_use, cache.lock_file(folder, path.name))


def _title(path: Path) -> str:
    variant = description.find(path.parent, path.name)
    if variant is None:
        return "variant (its description is damaged)"
    return plain(f"variant {variant.name} ({' > '.join(link.step for link in variant.lineage)})")


def _results(base: Path, references: References) -> Iterator[Item]:
    """The results of all experiments; only a folder in which a run has left its lock is known to be results."""
    # A run that times does not hold its results meanwhile.
    running = ", ".join(locks.running(base / "variants" / cache.LOCKS))
    for folder in _inside(base / "results"):
        lock = folder / store.LOCK
        if not lock.exists():
            continue
        with locks.tried(lock) as free:
            holder = running if free else locks.holder(lock) or "another run"
        yield from _results_of(folder, lock, f"in use by {holder}" if holder else "", references)


def _results_of(folder: Path, lock: Path, busy: str, references: References) -> Iterator[Item]:
    """The results of one experiment: those of each variant, then the experiment's own files, its lock last."""
    experiment = folder.name
    named = {folder / part for part in references.folders[experiment]}
    below = sorted(path for path in named | _of_former(folder) if not _is_link(path, folder))
    for part in (folder, *below):
        for path in _inside(part):
            if path.is_dir() and any((path / name).exists() for name in OF_A_VARIANT):
                variant = path.relative_to(folder).as_posix()
                in_use = references.of_results(experiment, variant) or _other_files(path) or busy
                item = Item(path, f"results of {experiment}, {variant}", size_bytes(path), in_use, lock)
                yield from _apart(item, (*_temporary(path, lock, busy), *_levels(path, item, experiment, references)))
        yield from _temporary(part, lock, busy)
    for part in below:
        records = (path for path in _inside(part) if path.name in _OF_AN_EXPERIMENT)
        in_use = (references.of_results(experiment) if part in named else "") or busy
        yield from (Item(path, f"record of {experiment}", size_bytes(path), in_use, lock) for path in records)
    in_use = references.of_results(experiment) or busy
    if (parts := folder / sharding_records.FOLDER).is_dir() and not parts.is_symlink():
        yield Item(parts, f"records of shards of {experiment}", size_bytes(parts), in_use, lock)
    files = [path for path in _inside(folder) if path.name in _OF_AN_EXPERIMENT or journal.is_log(path)]
    for path in sorted(files, key=lambda file: (file == lock, file.name)):
        # A lock that stays is not worth a line.
        if path.name not in (store.LOCK, f"{store.LOCK}.holder") or not in_use:
            what = f"{'log' if journal.is_log(path) else 'record'} of {experiment}"
            yield Item(path, what, size_bytes(path), in_use, lock)


def _levels(path: Path, results: Item, experiment: str, references: References) -> Iterator[Item]:
    """Predictions of a variant for re-compressed frames, at levels that nobody asks for, apart from its `results`."""
    for level in _inside(path / predict.DEGRADED):
        if references.of_level(experiment, level.name) or level.is_symlink() or not level.is_dir():
            continue
        if not _other_files(level):
            yield Item(level, f"{results.what}: {level.name}", size_bytes(level), "", results.lock)


def _of_former(folder: Path) -> set[Path]:
    """Folders of results of a detector or on a frame set that is called so; a copy under another name is somebody's."""
    former = set()
    for path in (path for inside in _inside(folder) if inside.is_dir() for path in (inside, *_inside(inside))):
        if path.is_dir() and (path / store.RUN).exists():
            with suppress(UserError):
                run = store.read_run(path)
                names = path.relative_to(folder).parts
                levels = ((run.detector,), (run.frame_set,), (run.detector, run.frame_set))
                former |= {path} if names in levels else set()
    return former


def _is_link(path: Path, folder: Path) -> bool:
    """Whether a folder below another one is a link, or lies behind one."""
    return any(each.is_symlink() for each in (path, *path.parents) if folder in each.parents)


def _other_files(path: Path) -> str:
    """Why a folder of results stays that holds a file which is not bench's; empty where there is none."""
    names = [file.name for file in _inside(path)]
    others = [name for name in names if name not in OF_A_VARIANT and not name.startswith(".bench-")]
    others += [file.name for file in _inside(path / "result") if file.name not in OUTCOMES]
    others += [other for level in _inside(path / predict.DEGRADED) if (other := _other_files(level))]
    return f"holds what is not bench's: {others[0]}" if others else ""


def _extracted(base: Path, references: References) -> Iterator[Item]:
    """Frames that were extracted from videos."""
    for path in _inside(base / "datasets" / EXTRACTED):
        if _ID.fullmatch(path.name) and is_extraction(path):
            lock = path / LOCK
            holder = ""
            if lock.exists():
                with locks.tried(lock) as free:
                    holder = "" if free else locks.holder(lock) or "another run"
            in_use = references.of_extracted(path.name) or (f"in use by {holder}" if holder else "")
            yield Item(path, "frames of videos", size_bytes(path), in_use, lock)


def _copies(base: Path, references: References) -> Iterator[Item]:
    """Copies of frames and weights at addresses; another user's, which cannot be read, are not listed."""
    for path in _inside(base / addresses.FOLDER):
        if _ID.fullmatch(path.name) and (address := remote.address_of(path)):
            lock = path / remote.LOCK
            with locks.tried(lock) as free:
                running = remote.readers_of(path) if free else [locks.holder(lock) or "another run"]
            in_use = references.of_copy(address) or (f"in use by {', '.join(running)}" if running else "")
            yield Item(path, f"copy of {address}", size_bytes(path), in_use, lock)
    yield from _stale(base / addresses.FOLDER)


def _caches(folder: Path) -> Iterator[Item]:
    digests = folder / ".cache"
    if digests.is_dir():
        what, in_use = "digests of frames, to read none twice", "saves reading every frame again"
        yield from _apart(Item(digests, what, size_bytes(digests), in_use), _stale(digests))
    yield from _stale(folder)


def _stale(folder: Path) -> Iterator[Item]:
    """Temporary files old enough that no process can be writing them."""
    for path in _inside(folder):
        if is_stale(path):
            yield Item(path, _LEFT_BEHIND, size_bytes(path))


def _temporary(folder: Path, lock: Path, busy: str) -> Iterator[Item]:
    """Temporary files of any age, where only the holder of the lock writes."""
    for path in _inside(folder):
        if is_temporary(path):
            yield Item(path, _LEFT_BEHIND, size_bytes(path), busy, lock)


def _apart(item: Item, leftovers: Iterable[Item]) -> Iterator[Item]:
    """A folder, and what killed runs left in it; an unused folder goes whole, so it is one item."""
    apart = list(leftovers) if item.in_use else []
    yield replace(item, size_bytes=item.size_bytes - sum(leftover.size_bytes for leftover in apart))
    yield from apart


def _inside(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


# ------------------------------------------------------------------------------------------------ removing
def _remove(item: Item) -> bool:
    """Remove an item unless a process holds its lock; whether it is gone."""
    if item.lock is None:
        remove(item.path)
        return not item.path.exists()
    with locks.tried(item.lock) as free:
        if free and not remote.readers_of(item.path):  # a run may have begun to read a copy meanwhile
            # Renamed first, so that it is whole or gone even if this process is killed.
            doomed = item.path.with_name(temporary_name())
            with suppress(FileNotFoundError):  # another process was faster
                rename(item.path, doomed)
            remove(doomed)
            _remove_if_empty(item.path.parent)
    return not item.path.exists()


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
