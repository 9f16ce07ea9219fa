"""The folder that an extraction writes: what lies where in it, and whose it is.

manifest.parquet           a row for each written crop
videos.csv                 a row for each video, also those without frames
extraction.json            how they were made, and how many
frames/<video>/000123.png  crops: the frame's number, and -1, -2 … for further faces
frames/<video>/masks/      what was forged in them, called like the crops, where the video has masks
contact-sheet/001.jpg      some faces of each video
.extraction/               what became of each video, by which a killed run goes on; what is under way
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import stored
from bench.errors import UserError, in_yaml, quoted
from bench.files import is_temporary, make_folder, write_text
from bench.footage import outcomes
from bench.footage.outcomes import PASSING, Outcome
from bench.provenance import digest
from bench.records import Extraction, Video

MANIFEST, VIDEOS, CARD, FRAMES, SHEETS, WORK = (
    "manifest.parquet", "videos.csv", "extraction.json", "frames", "contact-sheet", ".extraction",
)  # fmt: skip
LOCK = f"{WORK}/lock"
FORMAT = 1

_UNSAFE = re.compile(r"[^\w .()\[\]{}+,=@#&%!~^$\'-]")
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
_LONGEST = 100

Card = Mapping[str, Any]


def of_video(video: Video) -> str:
    """The folder of a video's frames, below the whole: its name, without what a file system may refuse.

    Names that had to be changed end with a part of a digest, so that no two videos share a folder.
    """
    return f"{FRAMES}/{'/'.join(map(_part, video.name.split('/')))}"


def _part(name: str) -> str:
    safe = _UNSAFE.sub("_", name)[:_LONGEST].rstrip(". ")
    is_safe = safe == name and safe.partition(".")[0].casefold() not in _RESERVED and not safe.startswith((".", "~"))
    return safe if is_safe else f"{safe.lstrip('.~') or 'video'}-{_short(name)}"


def _short(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:10]


def home_of(folder: Path, video: Video) -> Path:
    """The folder of a video's frames; `UserError` where a link leads out of the extraction's."""
    home = folder / of_video(video)
    if not home.parent.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{home.parent}: leads outside of {folder} by a link; remove it")
    return home


def key_of(video: Video) -> str:
    """What the outcome of a video is known by again, below one folder's settings.

    That is its name, and its content where that is known, else its size and time; and its masks where it has some.
    """
    state = [video.content] if video.content else [video.size_bytes, video.mtime_ns]
    return digest([FORMAT, video.name, *state, *([video.mask_state] if video.mask else [])])


def record_of(folder: Path, video: Video) -> Path:
    """The file that says what became of a video."""
    key = key_of(video)
    return folder / WORK / "videos" / key[:2] / f"{key}.json"


def outcome_of(folder: Path, video: Video) -> Outcome | None:
    """What became of a video; None where nothing says it, or its frames are those of another one of this name."""
    key = key_of(video)
    try:
        last = stored.read_bytes(_claim_of(folder, video), 100, links=False).decode("ascii")
    except FileNotFoundError:
        last = key  # as in folders that were begun before there were claims
    except (OSError, ValueError):
        return None
    return outcomes.read(record_of(folder, video), key) if last == key else None


def claim(folder: Path, video: Video) -> None:
    """Say, before its frames take the place of others, that those of this name are this video's from now on.

    Where there are no others, its record will do.
    """
    file = _claim_of(folder, video)
    if file.exists() or os.path.lexists(folder / of_video(video)):
        write_text(file, key_of(video))


def _claim_of(folder: Path, video: Video) -> Path:
    name = digest([FORMAT, video.name])
    return folder / WORK / "claims" / name[:2] / name


def take(folder: Path, extraction: Extraction, finder: str, version: int) -> None:
    """Make the folder one of this extraction, or go on in it. `finder` is the digest of the face finder's model.

    `version` is that of how frames are made.

    Raises `UserError` where it holds something else, or what was extracted with other settings.
    """
    settings = {**asdict(extraction), "finder": finder}
    before = _card(folder)
    if before is not None:
        if before.get("version", 1) != version:  # which unfinished folders of the first version do not say
            raise UserError(
                f"{folder}: holds frames that another version of bench extracted, in which some may be others; write "
                "to another folder, or remove this one"
            )
        if differences := _differences(before.get("settings", {}), settings):
            raise UserError(
                f"{folder}: holds frames that were extracted otherwise ({differences}); write to another folder, or "
                "remove this one"
            )
    elif others := _others(folder):
        raise UserError(f"{folder}: holds other files, such as {quoted(others[0])}; expected a new or an empty folder")
    make_folder(folder)
    for name in (FRAMES, SHEETS, WORK):
        if (folder / name).is_symlink():
            raise UserError(f"{folder / name}: is a link, and may lead elsewhere; remove it")
    make_folder(folder / WORK)
    if before is None:
        write_card(folder, extraction, finder, {"version": version})


def write_card(folder: Path, extraction: Extraction, finder: str, facts: Card) -> None:
    """Say how the folder's frames are made; `facts` are added where they are finished."""
    card = {"format": FORMAT, **facts, "settings": {**asdict(extraction), "finder": finder}}
    write_text(folder / CARD, json.dumps(card, indent=1, ensure_ascii=False) + "\n")


def is_finished(folder: Path) -> bool:
    """Whether an extraction into this folder came to its end, with no video that is worth another try."""
    counts = statuses(folder)
    return bool(counts) and not any(counts.get(status) for status in PASSING) and (folder / MANIFEST).is_file()


def has_ended(folder: Path) -> bool:
    """The same, whatever became of its videos."""
    return bool(statuses(folder)) and (folder / MANIFEST).is_file()


def is_extraction(folder: Path) -> bool:
    """Whether an extraction was begun in this folder, and in it itself: no link to one."""
    return _card(folder) is not None and not folder.is_symlink()


def is_made_so(folder: Path, extraction: Extraction, finder: str, version: int) -> bool:
    """Whether an extraction with these settings, by this version of it, was begun in this folder itself.

    Of each video its record says whether it came to its end.
    """
    card = None if folder.is_symlink() else _card(folder)
    if card is None or card.get("version") != version:
        return False
    return not _differences(card.get("settings", {}), {**asdict(extraction), "finder": finder})


def statuses(folder: Path) -> dict[str, int]:
    """How many videos ended how; empty where the extraction did not come to its end."""
    try:
        counts = (_card(folder) or {})["counts"]["statuses"]
        return {str(status): int(count) for status, count in counts.items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def _card(folder: Path) -> Card | None:
    """What the folder says of itself; None where it says nothing."""
    try:
        card = stored.read_json(folder / CARD, stored.MIB, links=False)
    except (OSError, ValueError):
        return None
    return card if isinstance(card, dict) and card.get("format") == FORMAT else None


def _differences(before: Any, now: Card) -> str:
    """Which settings are others; a face finder may have moved, if it is the same."""
    before = before if isinstance(before, dict) else {}
    names = [name for name in now if before.get(name) != now[name]]
    if names == ["faces"] and now["finder"]:
        return ""
    return ", ".join(f"{name} {in_yaml(before.get(name))} → {in_yaml(now[name])}" for name in names)


def _others(folder: Path) -> list[str]:
    if not folder.exists() and not folder.is_symlink():
        return []
    if not folder.is_dir():
        raise UserError(f"{folder}: is a file; expected a folder to write frames into")
    # A run that was killed at its very beginning has left the work folder alone.
    return sorted(path.name for path in folder.iterdir() if path.name != WORK and not is_temporary(path))
