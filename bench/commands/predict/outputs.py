"""What `bench predict` writes, whose it is, and with which settings it was made.

predictions.csv                   a row for each picture, frame of a video, or face
predictions.embedding.parquet     with --embedding: a vector for each row that was judged
predictions.html, .md             the summary
predictions.json                  the same for programs; settings and digest, by which the files are known again
predictions.pictures/             figures, and heatmaps
.predictions.work/                what is finished of a prediction that is not
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import stored
from bench.errors import UserError, in_yaml, quoted
from bench.files import advice, make_folder, unwritable_above, write_text

SCHEMA = 1
MADE_BY = "bench predict"
_MARK_BYTES = 16 * stored.MIB

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Outputs:
    """The files of one prediction, by the name of its CSV file."""

    table: Path

    def _beside(self, ending: str) -> Path:
        return self.table.with_name(f"{self.table.stem}{ending}")

    @property
    def embedding(self) -> Path:
        return self._beside(".embedding.parquet")

    @property
    def page(self) -> Path:
        return self._beside(".html")

    @property
    def text(self) -> Path:
        return self._beside(".md")

    @property
    def numbers(self) -> Path:
        return self._beside(".json")

    @property
    def pictures(self) -> Path:
        return self._beside(".pictures")

    @property
    def heatmaps(self) -> Path:
        return self.pictures / "heatmaps"

    @property
    def work(self) -> Path:
        return self.table.with_name(f".{self.table.stem}.work")

    @property
    def lock(self) -> Path:
        return self.work / "lock"

    @property
    def under_way(self) -> Path:
        """The settings of a prediction that is not finished: all that lies here is its."""
        return self.work / "settings.json"

    @property
    def all(self) -> tuple[Path, ...]:
        return self.table, self.embedding, self.page, self.text, self.numbers, self.pictures


def refuse_unwritable(outputs: Outputs) -> None:
    """Raise `UserError` where nothing can be written."""
    try:
        blocked = unwritable_above(outputs.table)
    except OSError as error:
        raise UserError(advice(error) or f"--to {outputs.table}: {error.strerror}") from error
    if blocked is not None:
        raise UserError(f"--to {outputs.table}: {blocked} cannot be written to; choose another folder")
    for path in (outputs.table, outputs.work, outputs.pictures, outputs.heatmaps):
        if path.is_symlink():
            raise UserError(f"--to {outputs.table}: {path} is a link, and may lead elsewhere; remove it")


def refuse_others(outputs: Outputs, settings: Settings) -> None:
    """Raise `UserError` where some files are not `bench predict`'s, or of a prediction with other settings."""
    before = _settings_at(outputs.under_way) or _finished_settings(outputs)
    if before is None:
        if present := next((path for path in outputs.all if os.path.lexists(path)), None):
            raise UserError(
                f"--to {outputs.table}: {present.name} is there, and no prediction of bench as it was written; move it "
                "away, or choose another name"
            )
    elif differences := _differences(before, settings):
        raise UserError(
            f"--to {outputs.table}: holds predictions that were made otherwise ({differences}); choose another name, "
            f"or remove {outputs.table.name} and {outputs.work.name}"
        )


def take(outputs: Outputs, settings: Settings) -> None:
    """Make these files those of a prediction with these settings, or go on with it."""
    refuse_others(outputs, settings)
    make_folder(outputs.work)
    write_text(outputs.under_way, json.dumps({"settings": settings}, indent=1))


def finished(outputs: Outputs, settings: Settings, inputs: str) -> Mapping[str, Any] | None:
    """What predictions.json says, where these settings and `inputs` (their digest) are all there; None elsewhere."""
    content = _read(outputs.numbers)
    if content is None or outputs.under_way.exists() or content.get("inputs") != inputs:
        return None
    needed = [outputs.page, outputs.text, *([outputs.embedding] if settings["embedding"] else [])]
    needed += [outputs.heatmaps] if settings["heatmaps"] else []
    if not all(path.exists() for path in needed) or _differences(content["settings"], settings):
        return None
    return content if _is_intact(outputs, content) else None


def is_of_prediction(folder: Path) -> bool:
    """Whether a folder holds the figures and heatmaps of a prediction, finished or under way."""
    suffix = ".pictures"
    made = Outputs(folder.with_name(f"{folder.name.removesuffix(suffix)}.csv"))
    return folder.name.endswith(suffix) and (
        _read(made.numbers) is not None or _settings_at(made.under_way) is not None
    )


def digest_of(path: Path) -> dict[str, Any]:
    """Size and content of a file, as predictions.json has them."""
    digest, size = stored.digest(path, links=False)
    return {"bytes": size, "sha256": digest}


def _finished_settings(outputs: Outputs) -> Settings | None:
    content = _read(outputs.numbers)
    if content is None or (os.path.lexists(outputs.table) and not _is_intact(outputs, content)):
        return None
    settings = content["settings"]
    return settings if isinstance(settings, dict) else None


def _is_intact(outputs: Outputs, content: Mapping[str, Any]) -> bool:
    try:
        return bool(content["csv"] == digest_of(outputs.table))
    except (OSError, ValueError, KeyError):
        return False


def _read(path: Path) -> Mapping[str, Any] | None:
    """What a predictions.json holds; None where it is none."""
    try:
        content = stored.read_json(path, _MARK_BYTES, links=False)
    except (OSError, ValueError):
        return None
    is_made_here = isinstance(content, dict) and (content.get("made_by"), content.get("schema")) == (MADE_BY, SCHEMA)
    return content if is_made_here and isinstance(content.get("settings"), dict) else None


def _settings_at(path: Path) -> Settings | None:
    try:
        settings = stored.read_json(path, _MARK_BYTES, links=False)["settings"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return settings if isinstance(settings, dict) else None


def _differences(before: Settings, now: Settings) -> str:
    """Which settings are others, the first five of them."""
    present = json.loads(json.dumps(now))
    names = [name for name in {**present, **before} if before.get(name) != present.get(name)]
    return ", ".join(
        f"{name} {_shown(before.get(name))} → {_shown(present.get(name))}" if name != "versions" else "library versions"
        for name in names[:5]
    )


def _shown(value: Any) -> str:
    return ", ".join(map(quoted, value))[:200] if isinstance(value, list) else in_yaml(value)[:200]
