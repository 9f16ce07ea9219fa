"""SHA-256 of every frame, and whether it can be decoded, remembered by path, size and modification time."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from bench import seals, stored
from bench.datasets.decoding import LIBRARIES, VERSION, fault, is_mask, size_of
from bench.datasets.headers import dimensions
from bench.datasets.layouts import LEADS_NOWHERE, Entry
from bench.provenance import cpu_cores, versions
from bench.records import Event, OnEvent

MOST_PIXELS = 34_000_000
"""A larger picture is taken for a decompression bomb. A video's frame in 8K (7680 x 4320) is smaller.

Measured with so many pixels: decoding takes 450 MiB for a moment as JPEG and PNG, 700 MiB as WebP.
"""
LARGE_PIXELS = 4_000_000
_large = threading.Lock()
"""Larger pictures than `LARGE_PIXELS` are decoded one at a time, or the threads together would fill the memory."""
_MOST_BYTES = 256 * 2**20
_DIGEST = re.compile(r"[0-9a-f]{64}")
_THREADS = max(4, min(cpu_cores(), 16))  # a disk that is slow wants some, decoding wants the cores
_CHUNK, _EVENT_SECONDS = 32, 0.1
_FORMAT = 5  # raised whenever a file is checked otherwise


class Checked(NamedTuple):
    """The SHA-256 of a file, empty where it can't be read, what is wrong with it, and whether it is a mask."""

    digest: str
    wrong: str = ""
    is_mask: bool = False


class FileRecord(NamedTuple):
    """What is remembered of a file of this size in bytes and this modification time in nanoseconds."""

    size_bytes: int
    mtime_ns: int
    checked: Checked


FileRecords = dict[str, FileRecord]
"""By path below the root."""


@dataclass
class Digests:
    """What reading files has shown, by `Entry.file`: SHA-256 of frames and of masks, and what is wrong with others.

    Files that were not read yet, where only what is remembered counts, are `unread`: the digest of each is made up of
    its name alone.
    """

    frames: dict[str, str] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    masks: dict[str, str] = field(default_factory=dict)
    unread: set[str] = field(default_factory=set)

    def add(self, file: str, checked: Checked) -> None:
        if checked.wrong:
            self.faults[file] = checked.wrong
        elif checked.is_mask:
            self.masks[file] = checked.digest
        else:
            self.frames[file] = checked.digest


def of_set(frames: Iterable[tuple[str, int | None, str | None, str]]) -> str:
    """The digest of a split's frames, each as its path, label, source and the SHA-256 of its file."""
    digest = hashlib.sha256()
    for frame in frames:
        digest.update(json.dumps(frame).encode() + b"\n")
    return digest.hexdigest()


def digest_files(
    name: str, roots: Mapping[Path, Iterable[Entry]], cache: Path, on_event: OnEvent, *, reads: bool = True
) -> Digests:
    """What is in the files below each of `roots`.

    A new file is read and decoded once; its header is looked at first, so that no picture is too
    large for the memory. `roots` are folders with entries below them; each has a cache file of its
    own in `cache`. Where that can't be written, files are simply read again the next time. Without `reads`, no file is
    read, and new ones are `unread`.
    """
    records = {root: _recall(_cache_file(cache, root)) for root in roots}
    digests = Digests()
    fresh: dict[str, tuple[Path, Entry]] = {}
    for root, entries in roots.items():
        start, remembered = len(str(root)) + 1, records[root]
        for entry in entries:
            record = remembered.get(entry.file[start:])
            if record is not None and record[:2] == (entry.size_bytes, entry.mtime_ns):
                digests.add(entry.file, record.checked)
            else:
                fresh[entry.file] = root, entry
    if not reads:
        digests.unread |= fresh.keys()
        digests.frames |= {file: hashlib.sha256(os.fsencode(f"unread {file}")).hexdigest() for file in fresh}
        return digests
    checked = _check(name, [entry for _, entry in fresh.values()], on_event)
    for file, each in checked.items():
        digests.add(file, each)
    for root in {root for root, _ in fresh.values()}:
        start = len(str(root)) + 1
        for file, (below, entry) in fresh.items():
            # Without a digest the file could not be read at all, which may pass.
            if below == root and checked[file].digest:
                records[root][file[start:]] = FileRecord(entry.size_bytes, entry.mtime_ns, checked[file])
        _remember(_cache_file(cache, root), records[root])
    return digests


def _check(name: str, entries: Sequence[Entry], on_event: OnEvent) -> dict[str, Checked]:
    """What each entry's file is, by `Entry.file`."""
    if not entries:
        return {}
    work, total, reported = f"reading {name}", len(entries), time.monotonic()
    checked: dict[str, Checked] = {}
    on_event(Event(work, 0, total))
    pool = ThreadPoolExecutor(_THREADS, "digest")
    try:
        chunks = [pool.submit(_digest_chunk, entries[i : i + _CHUNK]) for i in range(0, total, _CHUNK)]
        for chunk in as_completed(chunks):
            checked |= chunk.result()
            if len(checked) == total or time.monotonic() - reported >= _EVENT_SECONDS:
                reported = time.monotonic()
                on_event(Event(work, len(checked), total))
    finally:
        pool.shutdown(cancel_futures=True)
    return checked


def _digest_chunk(entries: Sequence[Entry]) -> dict[str, Checked]:
    return {entry.file: _digest(entry) for entry in entries}


def _digest(entry: Entry) -> Checked:
    """Read a file, and decode it, if its header says that it fits the memory."""
    if wrong := _unread(entry):
        return Checked("", wrong)
    try:
        data = Path(entry.file).read_bytes()
    except OSError as error:
        return Checked("", error.strerror or str(error))
    digest = hashlib.sha256(data).hexdigest()
    try:
        width, height = dimensions(data) or size_of(data)
    except ValueError as error:
        return Checked(digest, str(error))
    if not 0 < width * height <= MOST_PIXELS:
        return Checked(digest, f"{width} × {height} pixels; a frame has between 1 and {MOST_PIXELS:,}")
    if width * height <= LARGE_PIXELS:
        return _decoded(digest, data)
    with _large:
        return _decoded(digest, data)


def _decoded(digest: str, data: bytes) -> Checked:
    wrong = fault(data)
    return Checked(digest, wrong, not wrong and is_mask(data))


def _unread(entry: Entry) -> str:
    """Why this is not even opened, empty where it is a file for a frame: who opens a pipe waits for its other end."""
    if entry.size_bytes > _MOST_BYTES:
        return f"{entry.size_bytes:,} bytes, far too large for a frame"
    try:
        mode = os.stat(entry.file).st_mode  # noqa: PTH116 - a Path for every frame takes long
    except FileNotFoundError:
        return LEADS_NOWHERE if os.path.islink(entry.file) else "it is gone"  # noqa: PTH114 - as above
    except OSError as error:
        return error.strerror or str(error)
    return "" if stat.S_ISREG(mode) else "a pipe, a socket or a device, and no file"


def _cache_file(cache: Path, root: Path) -> Path:
    """One for each folder and user: each believes only what they have written themselves."""
    return cache / f"{seals.seal_of(os.fsencode(root.resolve()), seals.lasting_secret(), 'name')[:32]}.json"


def _recall(file: Path) -> FileRecords:
    """What the cache file says; a missing or damaged one says nothing, nor does one that this user did not write.

    A stranger's would say that two files are the same, or that a broken one is whole. What another decoder could not
    decode is forgotten, since this one may.
    """
    remembered = seals.recall(file, _key(file))
    try:
        if remembered is None or remembered["format"] != _FORMAT:
            return {}
        same = remembered["decoder"] == _decoder()
        return {path: row for path, row in map(_row, remembered["files"].items()) if same or not row.checked.wrong}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}


def _row(item: tuple[str, Any]) -> tuple[str, FileRecord]:
    path, (size, mtime, (digest, wrong, is_mask_file)) = item
    is_record = type(size) is type(mtime) is int and isinstance(wrong, str) and isinstance(is_mask_file, bool)
    if not (is_record and _DIGEST.fullmatch(digest)):
        raise stored.DamagedError("a file's row is none")
    return path, FileRecord(size, mtime, Checked(digest, wrong, is_mask_file))


def _key(file: Path) -> str:
    """The file's name tells which folder it is of: one folder's cache is not another's."""
    return f"digests {file.stem}"


def _decoder() -> dict[str, str]:
    return {"version": str(VERSION), **versions(LIBRARIES)}


def _remember(file: Path, records: FileRecords) -> None:
    seals.remember(file, _key(file), {"format": _FORMAT, "decoder": _decoder(), "files": records})
