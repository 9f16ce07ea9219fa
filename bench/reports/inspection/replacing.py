"""The folder of an inspection: an earlier one in it is replaced at once, and nothing that bench did not write."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.errors import UserError
from bench.files import make_folder, remove, rename, sweep, temporary_name
from bench.reports.inspection import pictures

NUMBERS, STEPS, MAPS, MEMBERS = "inspection.json", "steps", "maps", "members"
_FRAME = re.compile(r"frame_\d{6,}")
"""The folder of a frame of a video that was looked into."""


def refuse_others(folder: Path) -> None:
    """Raise `UserError` where folders would be replaced that hold what no inspection wrote.

    Maps are known by the numbers beside them; steps by their names, since earlier versions wrote them first; frames of
    a video and members of an ensemble by their own numbers.
    """
    is_ours = (folder / NUMBERS).is_file()
    for path in _inspections(folder):
        if not (path / NUMBERS).is_file():
            raise UserError(f"{path}: was not written by bench; choose another folder with `--to`")
    for name in (STEPS, MAPS):
        path = folder / name
        inside = sorted(path.iterdir()) if path.is_dir() else [path] if path.exists() else []
        for child in inside:
            if not (child.name in pictures.STEPS if name == STEPS else is_ours and child.is_dir()):
                raise UserError(f"{child}: was not written by bench; choose another folder with `--to`")


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """A new folder to write an inspection into, which takes the place of the one in `folder` once it is whole.

    Its numbers go first, since they tell whose the folders of pictures are.
    """
    refuse_others(folder)
    make_folder(folder)
    sweep(folder)
    of_frames = (path for path in folder.iterdir() if _FRAME.fullmatch(path.name))
    before = {folder / name for name in (STEPS, MAPS, MEMBERS)} | set(of_frames)
    new = folder / temporary_name()
    make_folder(new)
    try:
        yield new
        written = sorted(new.iterdir(), key=lambda path: path.name != NUMBERS)
        for path in written:
            if path.is_dir():
                remove(folder / path.name)
            rename(path, folder / path.name)
        for earlier in before - {folder / path.name for path in written}:
            remove(earlier)
    finally:
        remove(new)


def _inspections(folder: Path) -> list[Path]:
    """The folders below an inspection that hold one of their own: of frames, and of members."""
    below = list(folder.iterdir()) if folder.is_dir() else []
    members = folder / MEMBERS
    of_members = list(members.iterdir()) if members.is_dir() else []
    return sorted([*(path for path in below if _FRAME.fullmatch(path.name)), *of_members])
