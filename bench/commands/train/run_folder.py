"""The folder of a run of a training, by name and time: a new one, or that of a run that goes on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import stored
from bench.files import is_temporary, make_folder, remove
from bench.provenance import write_json

TRAININGS, RUN = "trainings", "run.json"
_NAME = re.compile(r"\d{8}-\d{6}(-again)*", re.ASCII)


def runs(base: Path, name: str) -> list[Path]:
    """The folders of a training's runs, the newest last."""
    folder = base / TRAININGS / name
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if (path / RUN).is_file())


def choose(base: Path, name: str, key: str, about: Mapping[str, Any], *, again: bool) -> tuple[Path, bool]:
    """The newest run of these settings and frames, or a new one; and whether it was begun before.

    With `again` it is a new one. The caller holds the lock of the training.
    """
    _remove_unbegun(base / TRAININGS / name)
    if not again:
        for folder in reversed(runs(base, name)):
            if _key_of(folder) == key:
                return folder, True
    began = datetime.now(UTC)
    folder = base / TRAININGS / name / f"{began:%Y%m%d-%H%M%S}"
    while folder.exists():
        folder = folder.with_name(f"{folder.name}-again")
    make_folder(folder)
    write_json(folder / RUN, {"key": key, "began": began.isoformat(timespec="seconds"), **about})
    return folder, False


def _remove_unbegun(home: Path) -> None:
    """Remove the folder of a run that was killed before it had begun: it holds nothing that has a name."""
    for folder in home.iterdir() if home.is_dir() else ():
        is_run = _NAME.fullmatch(folder.name) and folder.is_dir() and not folder.is_symlink()
        if is_run and all(map(is_temporary, folder.iterdir())):
            remove(folder)


def read(folder: Path) -> dict[str, Any]:
    """What `choose` wrote when the run began."""
    about: dict[str, Any] = stored.read_json(folder / RUN)
    return about


def _key_of(folder: Path) -> str:
    try:
        return str(read(folder).get("key"))
    except (OSError, ValueError, AttributeError):
        return ""
