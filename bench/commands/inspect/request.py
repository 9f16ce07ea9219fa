"""What `bench inspect` is asked for, checked before anything is loaded."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal

from bench.datasets.layouts import SUFFIXES
from bench.errors import UserError, counted, in_yaml, nearest
from bench.files import advice, unwritable_above
from bench.records import CLASSES, VIDEO_SUFFIXES, ClassName
from bench.records.inspection import FACES_OPTIONS, FacesOption, Inspection

_MOST_LEVELS, _MOST_FRAMES = 8, 1000


@dataclass(frozen=True)
class Options:
    """How pictures are looked into.

    `variants` are named as on the command line. `above` is the P(fake) of any variant from which on a frame of a folder
    is explained, None for all. `frames` are those that are taken of a video.
    """

    variants: tuple[str, ...] = ()
    to: Path | None = None
    faces: FacesOption = "auto"
    target: ClassName | None = None
    levels: int = 2
    above: float | None = None
    frames: int = 16


@dataclass(frozen=True)
class Request:
    """The input, what it is, and the folder that is written to.

    `names` has the folder below `to` in which the inspection of a file lies: of the one that is given, or of each
    picture of a folder, sorted.
    """

    file: Path
    kind: Literal["picture", "folder", "video"]
    to: Path
    options: Options
    names: Mapping[Path, str]


@dataclass(frozen=True)
class Written:
    """What was looked into, and the files that say so, by what they are. `skipped` says which pictures were not."""

    inspections: tuple[Inspection, ...]
    pages: Mapping[str, Path]
    skipped: tuple[str, ...] = ()
    summary: tuple[str, ...] = ()


def checked(given: Path, options: Options, default: Path) -> Request:
    """The request; `UserError` where there is nothing to look at, or nowhere to write."""
    from bench.reports import inspection

    if not 1 <= options.levels <= _MOST_LEVELS:
        raise UserError(f"--levels: expected a number from 1 to {_MOST_LEVELS}, found {options.levels}")
    if not 1 <= options.frames <= _MOST_FRAMES:
        raise UserError(f"--frames: expected a number from 1 to {_MOST_FRAMES:,}, found {options.frames}")
    if options.above is not None and not 0 <= options.above <= 1:
        raise UserError(f"--above: expected P(fake), from 0 to 1, found {options.above:g}")
    kind = _kind(given)
    to = options.to or default
    _refuse_unwritable(to)
    if kind == "folder" and to.resolve() == given.resolve():
        raise UserError(f"--to {to}: is the folder of the pictures; expected another one")
    names = _names_of(_pictures_below(given, to), given) if kind == "folder" else {given: given.stem}
    for name in names.values():
        inspection.refuse_other_steps(to / name)
    return Request(given, kind, to, options, names)


def as_faces(text: str) -> FacesOption:
    """What `--faces` says; `UserError` for anything else."""
    for option in FACES_OPTIONS:
        if text == option:
            return option
    raise UserError(
        f"--faces: expected {', '.join(FACES_OPTIONS)}, found {in_yaml(text)}{nearest(text, FACES_OPTIONS)}"
    )


def as_target(text: str | None) -> ClassName | None:
    """The class that `--target` names, None without one; `UserError` for anything else."""
    if text is None:
        return None
    for name in CLASSES:
        if text == name:
            return name
    raise UserError(f"--target: expected fake or real, found {in_yaml(text)}")


def _kind(given: Path) -> Literal["picture", "folder", "video"]:
    if given.is_dir():
        return "folder"
    if not given.exists():
        siblings = [path.name for path in given.parent.iterdir()] if given.parent.is_dir() else []
        raise UserError(f"{given}: no such file or folder{nearest(given.name, siblings)}")
    if not given.is_file():
        raise UserError(f"{given}: is no file; expected a picture, a video, or a folder of pictures")
    return "video" if given.suffix.lower() in VIDEO_SUFFIXES else "picture"


def _names_of(files: Sequence[Path], root: Path) -> dict[Path, str]:
    """By file its path below `root` without the ending, where no two are so."""
    short = {file: PurePath(file.relative_to(root)).with_suffix("").as_posix() for file in files}
    count = Counter(name.casefold() for name in short.values())
    return {
        file: name if count[name.casefold()] == 1 else PurePath(file.relative_to(root)).as_posix()
        for file, name in short.items()
    }


def _pictures_below(folder: Path, to: Path) -> tuple[Path, ...]:
    """The pictures below a folder, sorted, without hidden ones and what an earlier call wrote into `to`.

    `UserError` where there are none.
    """
    target, inside, videos = to.resolve(), [], 0
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or target in path.resolve().parents or not path.is_file():
            continue
        videos += path.suffix.lower() in VIDEO_SUFFIXES
        if path.suffix.lower() in SUFFIXES:
            inside.append(path)
    if not inside:
        hint = f"; it holds {counted(videos, 'video')}: give one of them" if videos else ""
        raise UserError(f"{folder}: holds no pictures; expected files such as .jpg or .png{hint}")
    return tuple(inside)


def _refuse_unwritable(to: Path) -> None:
    """Raise `UserError` where nothing can be written into the folder `to`, which need not exist yet."""
    if to.exists() and not to.is_dir():
        raise UserError(f"--to {to}: is a file; expected a folder")
    try:
        blocked = unwritable_above(to)
    except OSError as error:
        raise UserError(advice(error) or f"--to {to}: {error.strerror}") from error
    if blocked is not None:
        raise UserError(f"--to {to}: {blocked} cannot be written to; choose another folder")
    if to.is_dir() and not os.access(to, os.W_OK):
        raise UserError(f"--to {to}: cannot be written to; choose another folder")
