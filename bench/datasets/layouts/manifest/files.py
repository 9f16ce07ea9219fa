"""The files that a manifest's rows name: found below its folder, also where Unicode spells their names otherwise."""

from __future__ import annotations

import os
import posixpath
import stat
import unicodedata
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench.datasets.layouts import Options, Tally

_HOW_INSIDE = (
    "copy the files in: `dvc config cache.type copy`, then `dvc checkout --relink`, or `dvc unprotect` for some; `git "
    "annex unlock`. Without the manifest, links in folders are followed"
)


@dataclass(frozen=True, slots=True)
class Located:
    """A file: `name` is its path below the manifest's folder as the disk spells it, `file` the whole path."""

    name: str
    file: str
    size_bytes: int
    mtime_ns: int


class Files:
    """The files below a manifest's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)
        self._real = os.path.realpath(self.folder)
        tops = (os.path.abspath(self.folder), self._real)  # noqa: PTH100 - links stay
        self._tops = [f"{top.replace(os.sep, '/').rstrip('/')}/" for top in tops]
        self._inside: dict[str, bool] = {}
        self._names: dict[str, dict[str, list[str]]] = {}
        self._used: defaultdict[str, set[str]] = defaultdict(set)

    def normal(self, written: str) -> str:
        """A path as a manifest writes it, relative to its folder where it lies inside; "" where there is none."""
        written = written.strip()
        path = posixpath.normpath(written.replace("\\", "/")) if written else ""
        top = next((top for top in self._tops if path.startswith(top)), "")
        return path.removeprefix(top)

    def locate(self, path: str, noun: str = "frame") -> tuple[Located | None, str]:
        """The file of a relative path, which is a `noun`, or what is wrong with it.

        macOS may spell `ë` as two characters, and other programs as one: a file whose name differs in that alone is
        found, unless there are several.
        """
        name: str | None = path
        of = "path" if noun == "frame" else noun
        status = self._status(path)
        if status is None and (name := self._spelled(path)):
            status = self._status(name)
        if name is None or status is None or stat.S_ISDIR(status.st_mode):
            return None, f"no such {noun} below {self.folder}"
        file, linked = f"{self.folder}/{name}", stat.S_ISLNK(status.st_mode)
        if not self._is_inside(file, linked):
            return None, f"{of} leads outside of {self.folder} by a link ({_HOW_INSIDE})"
        if linked:
            with suppress(OSError):  # a link to what is not there is found out by reading
                status = os.stat(file)  # noqa: PTH116 - a Path for every row is most of the time of a cached load
        if stat.S_ISDIR(status.st_mode):
            return None, f"no such {noun} below {self.folder}"
        folder, _, base = name.rpartition("/")
        self._used[folder].add(base)
        return Located(name, file, status.st_size, status.st_mtime_ns), ""

    def _status(self, path: str) -> os.stat_result | None:
        """The status of what lies at a relative path, links not followed."""
        try:
            return os.lstat(f"{self.folder}/{path}")
        except (OSError, ValueError):  # a name with a NUL in it is a ValueError
            return None

    def count_others(self, manifest: str, options: Options, tally: Tally) -> None:
        """Count what lies beside the manifest's frames, in their folders, and is not named by it."""
        for folder, used in self._used.items():
            with os.scandir(f"{self.folder}/{folder}") as children:
                for child in children:
                    name = child.name
                    if name in used or (name == manifest and not folder) or child.is_dir():
                        continue
                    if name.startswith("."):
                        tally.add("hidden")
                    elif not options.pattern_of(f"{folder}/{name}".lstrip("/")):
                        if name.lower().endswith(options.suffixes):
                            tally.add("unlisted")
                        else:
                            tally.add_file(name)

    def _spelled(self, path: str) -> str | None:
        """The path as the disk spells it, where that differs in Unicode's normal form alone; None otherwise."""
        if path.isascii():
            return None
        folder = ""
        for part in path.split("/"):
            names = self._listed(folder).get(unicodedata.normalize("NFC", part), [])
            name = part if part in names else names[0] if len(names) == 1 else None
            if name is None:
                return None
            folder = f"{folder}{name}/"
        return folder[:-1]

    def _listed(self, folder: str) -> dict[str, list[str]]:
        """The names in a folder below the manifest's, by their composed form."""
        if folder not in self._names:
            by_form: dict[str, list[str]] = {}
            with suppress(OSError):
                for name in os.listdir(f"{self.folder}/{folder}"):  # noqa: PTH208 - a Path for every file takes long
                    by_form.setdefault(unicodedata.normalize("NFC", name), []).append(name)
            self._names[folder] = by_form
        return self._names[folder]

    def _is_inside(self, file: str, linked: bool) -> bool:
        """Whether a frame lies below the manifest's folder; asked once a folder, as it costs as much as ten frames."""
        if linked:
            return os.path.realpath(file).startswith(f"{self._real}{os.sep}")
        folder = file.rpartition("/")[0]
        if folder not in self._inside:
            real = os.path.realpath(folder)
            self._inside[folder] = real == self._real or real.startswith(f"{self._real}{os.sep}")
        return self._inside[folder]
