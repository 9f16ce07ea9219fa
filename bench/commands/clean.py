"""What lies in variants/ and results/, who refers to it, and what can go."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench import locks, stored
from bench.datasets import demo
from bench.errors import UserError, on_one_line
from bench.experiment import Experiments, read
from bench.files import is_stale, is_temporary, remove, rename, size_bytes, temporary_name
from bench.pipeline import journal, reasons
from bench.pipeline.build import build_context
from bench.pipeline.prepare import DEMO_FRAMES, prepare
from bench.records import OUTCOMES, OnEvent, silent
from bench.reports.content.text import plain
from bench.results import attributes, predict, store
from bench.variants import cache, description, ids

_ID = re.compile(r"[0-9a-f]{16}")
_UNFINISHED = re.compile(r"\.tmp-([0-9a-f]{16})-\d+")
_OF_A_VARIANT = {predict.PREDICTIONS, predict.CAMS, predict.MARK, predict.SHARDS, store.MEASUREMENTS, "result"}
_OF_AN_EXPERIMENT = {store.RUN, reasons.RECORD, attributes.ATTRIBUTES, store.LOCK, f"{store.LOCK}.holder"}


@dataclass(frozen=True)
class Item:
    """Something that bench made. `kept` says why it stays; what has no such reason can go."""

    path: Path
    what: str
    size_bytes: int
    kept: str = ""
    lock: Path | None = None


@dataclass(frozen=True)
class Inventory:
    """Everything found, and of what was removed the paths. `notes` tell what could not be found out."""

    items: tuple[Item, ...]
    notes: tuple[str, ...] = ()
    removed: tuple[Path, ...] = ()

    @property
    def can_go(self) -> tuple[Item, ...]:
        return tuple(item for item in self.items if not item.kept)


@dataclass
class _Referred:
    """Which experiments refer to what.

    `unreadable` says of experiment files why they cannot be read, `unknown` of experiments why their ids
    cannot be computed.
    """

    variants: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    results: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    unreadable: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)

    def variant(self, variant: str) -> str:
        """Why the variant of this id stays; empty if nothing refers to it."""
        return _used_by(self.variants.get(variant, ())) or _perhaps_used_by(self.unreadable | self.unknown)

    def result(self, experiment: str, variant: str | None = None) -> str:
        """Why an experiment's results of a variant stay, or its own files."""
        known = self.results.get(experiment)
        used = known is not None and (variant is None or variant in known)
        return _used_by([experiment]) if used else _perhaps_used_by(self.unreadable)


def _used_by(names: Iterable[str]) -> str:
    return f"used by {', '.join(sorted(names))}" if names else ""


def _perhaps_used_by(names: Iterable[str]) -> str:
    return f"perhaps used by {', '.join(names)}" if names else ""


def clean(experiments: Experiments, path: Path, *, remove_it: bool = False, on_event: OnEvent = silent) -> Inventory:
    """List what lies beside the experiment file, and remove what nothing refers to if `remove_it`.

    Other experiment files in the same folder count too. What a running process holds stays, and so
    does everything that is not known to be bench's own, or whose use cannot be told.
    """
    base = path.parent
    referred = _referred(experiments, path, on_event)
    items = (*_variants(base, referred), *_results(base, referred), *_caches(base / "datasets"))
    notes = (
        *(f"what {name} refers to cannot be told: {why}" for name, why in referred.unreadable.items()),
        *(f"the variants of {name} cannot be told: {why}" for name, why in referred.unknown.items()),
    )
    removed = [item.path for item in items if not item.kept and _removed(item)] if remove_it else []
    return Inventory(items, notes, tuple(removed))


# ---------------------------------------------------------------------------------- who refers to what
def _referred(experiments: Experiments, path: Path, on_event: OnEvent) -> _Referred:
    found = _Referred()
    beside = sorted(file for file in path.parent.glob("*.y*ml") if file.is_file())
    for file in dict.fromkeys([path, *beside]):
        try:
            told = experiments if file == path else read(file)
        except UserError as error:
            if _is_meant(file):
                found.unreadable[file.name] = str(error).splitlines()[0]
            continue
        for name, settings in told.experiments.items():
            found.results[name] |= set(settings.variants)
            try:
                for variant in _ids(told, file, name, on_event):
                    found.variants[variant].add(name)
            except UserError as error:
                found.unknown[name] = str(error).splitlines()[0]
    return found


def _is_meant(file: Path) -> bool:
    """Whether a file that cannot be read as experiments is meant to be one; a typo may be in any of its keys."""
    try:
        text = stored.read_bytes(file, stored.MIB).decode("utf-8", errors="replace")
    except (OSError, ValueError):
        return True
    return "experiments:" in text or ("detectors:" in text and "datasets:" in text)


def _ids(experiments: Experiments, path: Path, name: str, on_event: OnEvent) -> set[str]:
    """The ids of all links of an experiment's chains; `UserError` where frames or weights are not there."""
    frames = experiments.datasets[experiments.experiments[name].frames]
    if frames.path == DEMO_FRAMES and not demo.is_drawn(path.parent / DEMO_FRAMES):
        raise UserError("the demo's frames are not drawn")
    # Ids depend on neither, and another machine's runtime would be refused on this one.
    anywhere = experiments.experiments[name].model_copy(update={"runtime": "auto", "device": "cpu"})
    experiments = experiments.model_copy(update={"experiments": {name: anywhere}})
    prepared = prepare(experiments, path, name, on_event=on_event)
    context = build_context(prepared, on_event)
    return {one for chain in prepared.chains.values() for one in ids.of_chain(prepared.source, chain, context)}


# ------------------------------------------------------------------------------------- what lies there
def _variants(base: Path, referred: _Referred) -> Iterator[Item]:
    folder = base / "variants"
    running = ", ".join(locks.running(folder / cache.LOCKS))
    busy = f"in use by {running}" if running else ""
    for path in _inside(folder):
        if _ID.fullmatch(path.name) and (path / description.DESCRIPTION).exists():
            kept = referred.variant(path.name) or busy
            item = Item(path, _title(path), size_bytes(path), kept, cache.lock_file(folder, path.name))
            yield from _parted(item, _leftovers(path))
        elif unfinished := _UNFINISHED.fullmatch(path.name):
            lock = cache.lock_file(folder, unfinished[1])
            yield Item(path, "left by a killed run", size_bytes(path), busy, lock)
    for path in _inside(folder / cache.SCRATCH):
        if _ID.fullmatch(path.name):
            kept = referred.variant(path.name) or busy
            what = "half-done step of a run that was interrupted"
            yield Item(path, what, size_bytes(path), kept, cache.lock_file(folder, path.name))


def _title(path: Path) -> str:
    told = description.find(path.parent, path.name)
    if told is None:
        return "variant (its description is damaged)"
    return plain(f"variant {told.name} ({' > '.join(link.step for link in told.lineage)})")


def _results(base: Path, referred: _Referred) -> Iterator[Item]:
    # A run that takes times does not hold its results meanwhile.
    running = ", ".join(locks.running(base / "variants" / cache.LOCKS))
    for experiment in _inside(base / "results"):
        # Only folders in which a run has been are known to be results.
        lock = experiment / store.LOCK
        if not lock.exists():
            continue
        with locks.tried(lock) as free:
            holder = running if free else locks.holder(lock) or "another run"
        busy = f"in use by {holder}" if holder else ""
        for path in _inside(experiment):
            if path.is_dir() and any((path / name).exists() for name in _OF_A_VARIANT):
                kept = referred.result(experiment.name, path.name) or _foreign(path) or busy
                item = Item(path, f"results of {experiment.name}, {path.name}", size_bytes(path), kept, lock)
                yield from _parted(item, _left_behind(path, lock, busy))
        yield from _left_behind(experiment, lock, busy)
        own = [path for path in _inside(experiment) if path.name in _OF_AN_EXPERIMENT or journal.is_log(path)]
        kept = referred.result(experiment.name) or busy
        # The lock itself goes last, and is no use to anyone then.
        for path in sorted(own, key=lambda one: (one == lock, one.name)):
            if path.name not in (store.LOCK, f"{store.LOCK}.holder") or not kept:
                yield Item(path, f"{'log' if journal.is_log(path) else 'record'} of {experiment.name}",
                           size_bytes(path), kept, lock)  # fmt: skip


def _foreign(path: Path) -> str:
    """Why a folder of results may not go: something in it is not bench's."""
    inside = [one for one in _inside(path) if one.name not in _OF_A_VARIANT and not one.name.startswith(".bench-")]
    inside += [one for one in _inside(path / "result") if one.name not in OUTCOMES]
    return f"holds what is not bench's: {inside[0].name}" if inside else ""


def _caches(folder: Path) -> Iterator[Item]:
    cache = folder / ".cache"
    if cache.is_dir():
        what, kept = "digests of frames, to read none twice", "saves reading every frame again"
        yield from _parted(Item(cache, what, size_bytes(cache), kept), _leftovers(cache))
    yield from _leftovers(folder)


def _leftovers(folder: Path) -> Iterator[Item]:
    for path in _inside(folder):
        if is_stale(path):
            yield Item(path, "left by a killed run", size_bytes(path))


def _left_behind(folder: Path, lock: Path, busy: str) -> Iterator[Item]:
    """What killed runs left where nobody writes without the lock, however new it is."""
    for path in _inside(folder):
        if is_temporary(path):
            yield Item(path, "left by a killed run", size_bytes(path), busy, lock)


def _parted(item: Item, left: Iterable[Item]) -> Iterator[Item]:
    """A folder, and what killed runs left in it: an item of its own only where the folder stays."""
    apart = list(left) if item.kept else []
    yield replace(item, size_bytes=item.size_bytes - sum(one.size_bytes for one in apart))
    yield from apart


def _inside(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


# --------------------------------------------------------------------------------------------- removing
def _removed(item: Item) -> bool:
    """Remove it unless somebody has just taken hold of it."""
    if item.lock is None:
        remove(item.path)
        return not item.path.exists()
    with locks.tried(item.lock) as free:
        if free:
            # Renamed first, so that it is there whole or not at all even if this is killed.
            doomed = item.path.with_name(temporary_name())
            with suppress(FileNotFoundError):  # another process was faster
                rename(item.path, doomed)
            remove(doomed)
            _prune(item.path.parent)
    return not item.path.exists()


def _prune(folder: Path) -> None:
    """Remove the folder if nothing is in it but its lock."""
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


# ------------------------------------------------------------------------------------------------ as text
def describe(inventory: Inventory, path: Path) -> str:
    """The inventory as text: one line an item, with sizes in MiB, and what to do."""
    base = path.parent
    paths = [on_one_line(str(item.path.relative_to(base))) for item in inventory.items]
    width = max(map(len, paths), default=0)
    lines = [
        f"{name:{width}}  {_mib(item.size_bytes):>11}  {_state(item, inventory)}"
        for name, item in zip(paths, inventory.items, strict=True)
    ]
    lines += [f"note: {on_one_line(note)}" for note in inventory.notes]
    total = sum(item.size_bytes for item in inventory.items)
    going = sum(item.size_bytes for item in inventory.can_go)
    gone = sum(item.size_bytes for item in inventory.items if item.path in inventory.removed)
    if inventory.removed:
        count = f"{len(inventory.removed)} of {len(inventory.items)}"
        lines.append(f"removed {count}: {_mib(gone)}; {_mib(total - gone)} left")
    elif inventory.can_go:
        lines.append(f"{_mib(going)} of {_mib(total)} can go: `bench clean --yes` removes what nothing refers to")
    else:
        lines.append(f"{_mib(total)}, all of it in use" if inventory.items else "nothing there")
    return "\n".join(lines)


def _mib(size_bytes: int) -> str:
    """ "12.3 MiB"; of what would be rounded to nothing, more digits."""
    mib = size_bytes / 2**20
    return f"{max(mib, 0.001):.3f} MiB" if 0 < mib < 0.05 else f"{mib:,.1f} MiB"


def _state(item: Item, inventory: Inventory) -> str:
    end = "removed" if item.path in inventory.removed else item.kept or "can go"
    return on_one_line(f"{item.what}: {end}")
