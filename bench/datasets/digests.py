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
from pathlib import Path
from typing import Any

from bench import seals, stored
from bench.datasets.decoding import LIBRARIES, VERSION, fault
from bench.datasets.headers import dimensions
from bench.datasets.layouts import LEADS_NOWHERE, Entry
from bench.files import sweep, write_text
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
_FORMAT = 4  # raised whenever a file is checked otherwise

FileRecords = dict[str, tuple[int, int, str, str]]
"""Size in bytes, modification time in nanoseconds, SHA-256 and what is wrong, by path below the root."""


def of_set(frames: Iterable[tuple[str, int | None, str | None, str]]) -> str:
    """The digest of a split's frames, each as its path, label, source and the SHA-256 of its file."""
    digest = hashlib.sha256()
    for frame in frames:
        digest.update(json.dumps(frame).encode() + b"\n")
    return digest.hexdigest()


def digest_files(
    name: str, roots: Mapping[Path, Iterable[Entry]], cache: Path, on_event: OnEvent
) -> tuple[dict[str, str], dict[str, str]]:
    """SHA-256 by `Entry.file`, and what is wrong with each file that can't be decoded, by `Entry.file` too.

    A new file is read and decoded once; its header is looked at first, so that no picture is too
    large for the memory. `roots` are folders with entries below them; each has a cache file of its
    own in `cache`. Where that can't be written, files are simply read again the next time.
    """
    records = {root: _recall(_cache_file(cache, root)) for root in roots}
    digests: dict[str, str] = {}
    faults: dict[str, str] = {}
    fresh: dict[str, tuple[Path, Entry]] = {}
    for root, entries in roots.items():
        start, remembered = len(str(root)) + 1, records[root]
        for entry in entries:
            row = remembered.get(entry.file[start:])
            if row is not None and row[:2] == (entry.size_bytes, entry.mtime_ns):
                if row[3]:
                    faults[entry.file] = row[3]
                else:
                    digests[entry.file] = row[2]
            else:
                fresh[entry.file] = root, entry
    checked = _check(name, [entry for _, entry in fresh.values()], on_event)
    digests |= {file: digest for file, (digest, wrong) in checked.items() if not wrong}
    faults |= {file: wrong for file, (_, wrong) in checked.items() if wrong}
    for root in {root for root, _ in fresh.values()}:
        start = len(str(root)) + 1
        for file, (below, entry) in fresh.items():
            # Without a digest the file could not be read at all, which may pass.
            if below == root and checked[file][0]:
                records[root][file[start:]] = (entry.size_bytes, entry.mtime_ns, *checked[file])
        _remember(_cache_file(cache, root), records[root])
    return digests, faults


def _check(name: str, entries: Sequence[Entry], on_event: OnEvent) -> dict[str, tuple[str, str]]:
    """For every entry by `Entry.file`: its digest, and what is wrong with it, empty where nothing is."""
    if not entries:
        return {}
    work, total, reported = f"reading {name}", len(entries), time.monotonic()
    checked: dict[str, tuple[str, str]] = {}
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


def _digest_chunk(entries: Sequence[Entry]) -> dict[str, tuple[str, str]]:
    return {entry.file: _digest(entry) for entry in entries}


def _digest(entry: Entry) -> tuple[str, str]:
    """The digest, empty where the file can't be read, and what is wrong with it, empty where nothing is."""
    if wrong := _unread(entry):
        return "", wrong
    try:
        data = Path(entry.file).read_bytes()
    except OSError as error:
        return "", error.strerror or str(error)
    digest = hashlib.sha256(data).hexdigest()
    try:
        width, height = dimensions(data)
    except ValueError as error:
        return digest, str(error)
    if not 0 < width * height <= MOST_PIXELS:
        return digest, f"{width} × {height} pixels; a frame has between 1 and {MOST_PIXELS:,}"
    if width * height <= LARGE_PIXELS:
        return digest, fault(data)
    with _large:
        return digest, fault(data)


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
    try:
        if file.parent.is_symlink():
            return {}
        data = seals.unsealed(stored.read_bytes(file, stored.MOST_CACHE_BYTES, links=False), _key(file))
        if data is None:
            return {}
        remembered: Any = json.loads(data)
        if remembered["format"] != _FORMAT:
            return {}
        same = remembered["decoder"] == _decoder()
        return {path: row for path, row in map(_row, remembered["files"].items()) if same or not row[3]}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _row(item: tuple[str, Any]) -> tuple[str, tuple[int, int, str, str]]:
    path, (size, mtime, digest, wrong) = item
    if not (type(size) is type(mtime) is int and isinstance(wrong, str) and _DIGEST.fullmatch(digest)):
        raise stored.DamagedError("a file's row is none")
    return path, (size, mtime, digest, wrong)


def _key(file: Path) -> str:
    """The file's name tells which folder it is of: one folder's cache is not another's."""
    return f"digests {file.stem}"


def _decoder() -> dict[str, str]:
    return {"version": str(VERSION), **versions(LIBRARIES)}


def _remember(file: Path, records: FileRecords) -> None:
    if file.parent.is_symlink():  # it may lead to anybody's folder
        return
    try:
        data = json.dumps({"format": _FORMAT, "decoder": _decoder(), "files": records})
        write_text(file, seals.sealed(data, _key(file)))
        sweep(file.parent)
    except OSError:
        # A cache that can't be written costs time, not results.
        return
