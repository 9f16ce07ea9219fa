"""SHA-256 of every frame, remembered by path, size and modification time."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from bench.datasets.headers import dimensions
from bench.datasets.layouts import Entry
from bench.records import Event, OnEvent

MOST_PIXELS = 64_000_000
"""A larger picture is taken for a decompression bomb: decoded it would need 200 MB and more."""
_MOST_BYTES = 256 * 2**20
_THREADS, _CHUNK, _EVENT_SECONDS = 4, 32, 0.1
_FORMAT = 1

Known = dict[str, tuple[int, int, str]]
"""Size in bytes, modification time in nanoseconds and SHA-256, by path below the root."""


def digest_files(
    name: str, roots: Mapping[Path, Iterable[Entry]], cache: Path, on_event: OnEvent
) -> tuple[dict[str, str], list[str]]:
    """SHA-256 by `Entry.file`, and "file: what is wrong" for each file that is no whole JPEG, PNG or WebP.

    `roots` are folders with entries below them; each has a cache file of its own in `cache`. Where
    that can't be written, files are simply read again the next time.
    """
    known = {root: _recall(_cache_file(cache, root)) for root in roots}
    digests: dict[str, str] = {}
    fresh: dict[str, tuple[Path, Entry]] = {}
    for root, entries in roots.items():
        start, remembered = len(str(root)) + 1, known[root]
        for entry in entries:
            row = remembered.get(entry.file[start:])
            if row is not None and row[0] == entry.size_bytes and row[1] == entry.mtime_ns:
                digests[entry.file] = row[2]
            else:
                fresh[entry.file] = root, entry
    problems = _read(name, [entry for _, entry in fresh.values()], digests, on_event)
    for root in {root for root, _ in fresh.values()}:
        start = len(str(root)) + 1
        for file, (below, entry) in fresh.items():
            if below == root and file in digests:
                known[root][file[start:]] = (entry.size_bytes, entry.mtime_ns, digests[file])
        _remember(_cache_file(cache, root), known[root])
    return digests, problems


def _read(name: str, entries: Sequence[Entry], digests: dict[str, str], on_event: OnEvent) -> list[str]:
    """Fill `digests` with the digest of every entry that is a whole picture; the others' faults."""
    if not entries:
        return []
    work, total, done, told = f"reading {name}", len(entries), 0, time.monotonic()
    faults: dict[str, str] = {}
    on_event(Event(work, 0, total))
    pool = ThreadPoolExecutor(_THREADS, "digest")
    try:
        chunks = [pool.submit(_digest_chunk, entries[i : i + _CHUNK]) for i in range(0, total, _CHUNK)]
        for chunk in as_completed(chunks):
            for file, digest, fault in chunk.result():
                if fault:
                    faults[file] = fault
                else:
                    digests[file] = digest
                done += 1
            if done == total or time.monotonic() - told >= _EVENT_SECONDS:
                told = time.monotonic()
                on_event(Event(work, done, total))
    finally:
        pool.shutdown(cancel_futures=True)
    return [f"{file}: {faults[file]}" for file in sorted(faults)]


def _digest_chunk(entries: Sequence[Entry]) -> list[tuple[str, str, str]]:
    return [(entry.file, *_digest(entry)) for entry in entries]


def _digest(entry: Entry) -> tuple[str, str]:
    """The digest, and what is wrong with the file, empty where nothing is."""
    if entry.size_bytes > _MOST_BYTES:
        return "", f"{entry.size_bytes:,} bytes, far too large for a frame"
    try:
        data = Path(entry.file).read_bytes()
        width, height = dimensions(data)
    except (OSError, ValueError) as error:
        return "", getattr(error, "strerror", None) or str(error)
    if not 0 < width * height <= MOST_PIXELS:
        return "", f"{width} × {height} pixels; a frame has between 1 and {MOST_PIXELS:,}"
    return hashlib.sha256(data).hexdigest(), ""


def _cache_file(cache: Path, root: Path) -> Path:
    return cache / f"{hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:32]}.json"


def _recall(file: Path) -> Known:
    """What the cache file says; a missing, foreign or damaged one says nothing."""
    try:
        stored: Any = json.loads(file.read_bytes())
        if stored["format"] != _FORMAT:
            return {}
        return {path: (int(size), int(mtime), str(digest)) for path, (size, mtime, digest) in stored["files"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _remember(file: Path, known: Known) -> None:
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps({"format": _FORMAT, "files": known}), encoding="utf-8")
        temporary.replace(file)
    except OSError:
        # A cache that can't be written costs time, not results.
        return
