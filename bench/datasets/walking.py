"""Walking through folders of frames or videos: links are followed, and each folder is visited once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path


def walk(
    top: Path, prefix: str, enters: Callable[[os.DirEntry[str]], bool]
) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
    """The folder `top` and those below it: the path of each, that of `top` being `prefix`, and what lies in it.

    Paths are empty or end with a slash. What `enters` says yes to is a folder that is visited too, and is not listed.
    """
    pending, seen = [(str(top), prefix)], set[str]()
    while pending:
        current, path = pending.pop()
        real = os.path.realpath(current)
        if real in seen:
            continue
        seen.add(real)
        others = []
        with os.scandir(current) as children:
            for child in children:
                if enters(child):
                    pending.append((child.path, f"{path}{child.name}/"))
                else:
                    others.append(child)
        yield path, others


def sub_folders(path: Path) -> list[str]:
    """The names of the folders in a folder, sorted; no hidden ones."""
    with os.scandir(path) as children:
        return sorted(child.name for child in children if not child.name.startswith(".") and child.is_dir())


def leads_nowhere(child: os.DirEntry[str]) -> bool:
    """Whether it is a link to what is not there."""
    return child.is_symlink() and not os.path.exists(child.path)  # noqa: PTH110 - a Path for every file takes long
