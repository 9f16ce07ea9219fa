"""What `bench inspect` is asked for, checked before anything is loaded."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal

from bench.datasets.layouts import SUFFIXES
from bench.errors import UserError, counted, in_yaml, nearest, printable
from bench.files import advice, unwritable_above
from bench.records import CLASSES, VIDEO_SUFFIXES, ClassName
from bench.records.inspection import FACES_OPTIONS, FacesOption

TABLE, GALLERY = "explanations.parquet", "gallery"
"""Files that lie beside the folders of a folder's pictures; the second with `.html` and `.md` behind it."""
_BESIDE = frozenset({TABLE, f"{GALLERY}.html", f"{GALLERY}.md"})
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
    picture of a folder, sorted. `left_out` says what else of a folder is not looked into.
    """

    file: Path
    kind: Literal["picture", "folder", "video"]
    to: Path
    options: Options
    names: Mapping[Path, str]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Written:
    """What was written, by what it is, and what a terminal shows."""

    pages: Mapping[str, Path]
    lines: tuple[str, ...]


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
    if options.above is not None and kind != "folder":
        raise UserError(f"--above: chooses among the pictures of a folder, and {given} is a {kind}; leave it out")
    to = options.to or default
    _refuse_unwritable(to)
    if kind == "folder" and to.resolve() == given.resolve():
        raise UserError(f"--to {to}: is the folder of the pictures; expected another one")
    left_out: tuple[str, ...] = ()
    if kind == "folder":
        pictures, left_out = _pictures_below(given, to)
        names = _names_of(pictures, given)
    elif _is_utf_8(given):
        names = {given: given.stem}
    else:
        raise UserError(f"{printable(str(given))}: {_NOT_UTF_8}")
    may_meet = kind == "folder" and not _is_inside(to, given)
    for name in names.values():
        inspection.refuse_others(to / name)
        if may_meet and _is_inside(to / name, given):
            raise UserError(f"--to {to}: {name} would be written into the folder of the pictures; expected another one")
    return Request(given, kind, to, options, names, left_out)


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
    """By file its path below `root`, without the ending unless something else would lie in the same place."""
    whole = {file: PurePath(file.relative_to(root)) for file in files}
    names = {file: path.with_suffix("").as_posix() for file, path in whole.items()}
    while True:
        count = Counter(name.casefold() for name in names.values())
        folders = {parent.as_posix().casefold() for name in names.values() for parent in PurePath(name).parents}
        taken = _BESIDE | folders | {name for name, times in count.items() if times > 1}
        clashing = {file for file, name in names.items() if name.casefold() in taken} - {
            file for file, name in names.items() if name == whole[file].as_posix()
        }
        if not clashing:
            return names
        names |= {file: whole[file].as_posix() for file in clashing}


def _pictures_below(folder: Path, to: Path) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """The pictures below a folder, sorted, without hidden ones and what an earlier call wrote into `to`; and what else
    is not looked into.

    `UserError` where there are no pictures.
    """
    inside, problems, videos = [], [], 0
    # A folder above this one is written to as well: then nothing below this one is from an earlier call.
    ours = to.resolve() if _is_inside(to, folder) else None
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or (ours is not None and ours in path.resolve().parents) or not path.is_file():
            continue
        videos += path.suffix.lower() in VIDEO_SUFFIXES
        if path.suffix.lower() not in SUFFIXES:
            continue
        if _is_utf_8(path):
            inside.append(path)
        else:
            problems.append(f"{printable(str(path))}: {_NOT_UTF_8}")
    if not inside:
        hint = f"; it holds {counted(videos, 'video')}: give one of them" if videos else ""
        raise UserError(f"{folder}: holds no pictures; expected files such as .jpg or .png{hint}", *problems[:10])
    if videos:
        problems.append(f"{counted(videos, 'video')}: give one of them")
    return tuple(inside), tuple(problems)


_NOT_UTF_8 = "its name is not UTF-8, and pages and tables could not name it; rename it"


def _is_inside(path: Path, folder: Path) -> bool:
    """Whether a path is a folder, or lies in it."""
    return folder.resolve() in (path.resolve(), *path.resolve().parents)


def _is_utf_8(path: Path) -> bool:
    """Whether a path can be written as text: Python reads other bytes of names as lone surrogates."""
    return printable(str(path)) == str(path)


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
