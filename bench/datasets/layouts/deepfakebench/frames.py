"""Where listed frames lie, or the videos that they are of: below some folders, by the end of their paths."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

from bench.datasets import native
from bench.datasets.layouts import Options, Tally
from bench.datasets.native import File
from bench.records import Unused

_DEEPEST, _MOST_FOLDERS, _MOST_SEARCHES = 2, 500, 20


class Frames:
    """Finds files below the folders `starts`, the last of which holds the others.

    The beginning of a path may be another machine's. What all `paths` have in common ends with the data set's folder,
    so that and what follows it must be there, of which the folder that is looked in may be a part: of two versions of
    a data set, with the same names in it, neither is taken for the other. Where one folder of frames was found tells
    where the others are: most are found without a search.
    """

    def __init__(self, starts: Sequence[Path], paths: Iterable[str], options: Options) -> None:
        self.starts, self.root, self.options, self.tally = starts, starts[-1], options, Tally()
        shared = posixpath.commonpath({posixpath.dirname(path) for path in paths})
        self.before = shared.count("/")
        self.bases: list[tuple[str, int]] = []
        self.searches = self.listed = 0
        self.folders: dict[str, dict[str, File]] = {}
        self.stems: dict[str, dict[str, str]] = {}

    def at(self, path: str) -> File | None:
        """The file whose path ends like this one; None where there is none."""
        folder, _, name = path.rpartition("/")
        file = self._in(folder).get(name)
        self.listed += file is not None
        return file

    def names(self, folder: str) -> dict[str, str]:
        """The names of the files in a folder whose path ends like this one, by what they are without their endings."""
        if folder not in self.stems:
            self.stems[folder] = {name.rpartition(".")[0]: name for name in self._in(folder)}
        return self.stems[folder]

    def _in(self, folder: str) -> dict[str, File]:
        """The files in a folder whose path ends like this one, by name."""
        if folder not in self.folders:
            base = self._folder(folder.split("/"))
            self.folders[folder] = dict(self._files(base)) if base else {}
        return self.folders[folder]

    @property
    def unused(self) -> tuple[Unused, ...]:
        """What lies in the folders of frames and is not listed, or left out."""
        tally = Tally()
        tally.add("unlisted", count=max(sum(map(len, self.folders.values())) - self.listed, 0))
        return (*self.tally.unused, *tally.unused)

    def _files(self, folder: str) -> Iterator[tuple[str, File]]:
        inside = os.path.relpath(folder, self.root).replace(os.sep, "/")
        prefix = "" if inside == "." else f"{inside}/"
        with os.scandir(folder) as children:
            for child in children:
                if child.name.lower().endswith(self.options.suffixes) and not child.is_dir():
                    yield child.name, native.as_file(child, prefix, self.options, self.tally)

    def _folder(self, parts: list[str]) -> str | None:
        """The folder whose path ends like these parts: as the others were found, or after a search."""
        for base, dropped in self.bases:
            if folder := _existing(base, parts[dropped:]):
                return folder
        self.searches += 1
        if self.searches > _MOST_SEARCHES:
            return None
        before = min(self.before, max(len(parts) - 2, 0))  # a last name alone, such as 000, could be any folder's
        for dropped in range(len(parts)):
            for base in self._candidates:
                left_out = "/".join(["", *parts[before:dropped]])
                if base.endswith(left_out) and (folder := _existing(base, parts[dropped:])):
                    self.bases.append((base, dropped))
                    return folder
        return None

    @cached_property
    def _candidates(self) -> list[str]:
        """The folders in which paths may begin: those that were given, then what lies a few folders below."""
        folders = [str(start) for start in self.starts]
        level: Iterable[str] = list(folders)
        for _ in range(_DEEPEST):
            level = [f"{folder}/{name}" for folder in level for name in native.sub_folders(Path(folder)).values()]
            folders += level
            if len(folders) > _MOST_FOLDERS:
                break
        return list(dict.fromkeys(folders))[:_MOST_FOLDERS]


def _existing(base: str, parts: Sequence[str]) -> str | None:
    folder = "/".join([base, *parts])
    return folder if parts and os.path.isdir(folder) else None  # noqa: PTH112 - a Path for each takes long
