"""SHA-256 of videos, remembered by path, size and time of change: no video is read twice for it."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench import seals, stored
from bench.errors import UserError, counted, listed
from bench.provenance import file_digest
from bench.records import Event, OnEvent, Video

_FORMAT = 1
_THREADS = 4
_EVENT_SECONDS, _SAVE_SECONDS = 0.1, 30.0
_DIGEST = re.compile(r"[0-9a-f]{64}")

_Remembered = dict[str, tuple[int, int, str]]
"""Size in bytes, time of change in nanoseconds and SHA-256, by path."""


def digest_videos(name: str, videos: Sequence[Video], cache: Path, on_event: OnEvent) -> dict[str, str]:
    """The SHA-256 of each video by `Video.file`; `cache` is a folder for what is remembered.

    Raises `UserError` where one can't be read.
    """
    file = cache / f"videos-{seals.seal_of(name.encode(), seals.lasting_secret(), 'name')[:32]}.json"
    remembered = _recall(file)
    digests, due = {}, []
    for video in videos:
        size, changed, digest = remembered.get(video.file, (-1, -1, ""))
        if (size, changed) == (video.size_bytes, video.mtime_ns):
            digests[video.file] = digest
        else:
            due.append(video)
    if due:
        digests |= _read(name, due, remembered, file, on_event)
        now = {v.file: (v.size_bytes, v.mtime_ns, digests[v.file]) for v in videos}
        _remember(file, now)
    return digests


def _read(name: str, videos: Sequence[Video], remembered: _Remembered, file: Path, on_event: OnEvent) -> dict[str, str]:
    """Read videos, and remember now and then what was read: a killed run goes on from there."""
    work, digests, wrong = f"reading the videos of {name}", dict[str, str](), list[str]()
    reported = saved = time.monotonic()
    on_event(Event(work, 0, len(videos), "videos"))
    with ThreadPoolExecutor(_THREADS, "digest") as pool:
        for done, (video, digest) in enumerate(zip(videos, pool.map(_digest, videos), strict=True), start=1):
            if isinstance(digest, OSError):
                wrong.append(f"{video.name}: {digest.strerror or digest}")
            else:
                digests[video.file] = digest
                remembered[video.file] = video.size_bytes, video.mtime_ns, digest
            if time.monotonic() - reported >= _EVENT_SECONDS:
                reported = time.monotonic()
                on_event(Event(work, done, len(videos), "videos"))
            if time.monotonic() - saved >= _SAVE_SECONDS:
                saved = time.monotonic()
                _remember(file, remembered)
    on_event(Event(work, len(videos), len(videos), "videos"))
    if wrong:
        _remember(file, remembered)
        raise UserError(f"{name}: {counted(len(wrong), 'video')} can't be read: {listed(wrong, 5)}")
    return digests


def _digest(video: Video) -> str | OSError:
    try:
        stored.refuse_other_than_file(Path(video.file))
        return file_digest(Path(video.file))
    except OSError as error:
        return error
    except stored.DamagedError as error:
        return OSError(0, str(error))


def _recall(file: Path) -> _Remembered:
    """What this user remembered there; nothing where it is damaged, or another's."""
    content = seals.recall(file, _key(file))
    try:
        if content is None or content.get("format") != _FORMAT:
            return {}
        return dict(map(_row, content["videos"].items()))
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}


def _row(item: tuple[str, Any]) -> tuple[str, tuple[int, int, str]]:
    path, (size, changed, digest) = item
    if not (type(size) is type(changed) is int and _DIGEST.fullmatch(digest)):
        raise stored.DamagedError("a video's row is none")
    return path, (size, changed, digest)


def _remember(file: Path, videos: _Remembered) -> None:
    seals.remember(file, _key(file), {"format": _FORMAT, "videos": videos})


def _key(file: Path) -> str:
    return f"videos {file.stem}"
