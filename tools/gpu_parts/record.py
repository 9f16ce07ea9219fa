"""The one JSON file of results: every row is in it as soon as it is measured, and no reader sees half of it."""

from __future__ import annotations

import json
import math
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from bench.provenance import write_json

SCHEMA = 1
JSON_FILE, TABLE_FILE, LOG_FILE = "gpu-check.json", "gpu-check.md", "log.txt"
FINISHED, FAILED, STOPPED, RUNNING = "finished", "failed", "stopped", "running"
NEEDS_CUDA = "needs CUDA"

Cells: TypeAlias = Mapping[str, "str | int | float | bool | None"]


def now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"


def read(path: Path) -> dict[str, Any]:
    """What the file holds; ValueError where that is no result of tools/gpu_check.py."""
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise ValueError(f"{path} holds no results of tools/gpu_check.py of this version")
    return content


def write(path: Path, content: Mapping[str, Any]) -> None:
    write_json(path, content)


class Record:
    """One part's place in the file. The parts of a call run one after another, so nobody else writes meanwhile."""

    def __init__(self, path: Path, part: str) -> None:
        self.path, self.part = path, part

    def about(self, **facts: Any) -> None:
        """What is true of the whole part, such as its status."""
        content = read(self.path)
        content["parts"].setdefault(self.part, {"rows": {}, "notes": []}).update(facts)
        write(self.path, content)

    def rows(self) -> dict[str, dict[str, Any]]:
        rows: dict[str, dict[str, Any]] = read(self.path)["parts"].get(self.part, {}).get("rows", {})
        return rows

    def has(self, name: str) -> bool:
        """Whether this row was measured; one that failed is to be tried again."""
        row = self.rows().get(name)
        return row is not None and "failed" not in row

    def row(self, name: str, cells: Cells) -> None:
        """Write a row, in place of what stood there."""
        content = read(self.path)
        content["parts"][self.part]["rows"][name] = {key: _plain(value) for key, value in cells.items()} | {"at": now()}
        write(self.path, content)
        print(
            f"[{self.part}] {name}: {'; '.join(f'{key} {_plain(value)}' for key, value in cells.items())}", flush=True
        )

    def note(self, text: str) -> None:
        content = read(self.path)
        notes = content["parts"][self.part]["notes"]
        if text not in notes:
            notes.append(text)
            write(self.path, content)
            print(f"[{self.part}] {text}", flush=True)

    def measure(self, name: str, work: Callable[[], Cells]) -> None:
        """Write the row that `work` gives. One that fails says why, and the next are measured all the same."""
        if self.has(name):
            return
        try:
            self.row(name, work())
        except Exception as error:
            traceback.print_exc()
            self.row(name, {"failed": " ".join(f"{type(error).__name__}: {error}".split())[:400]})


def _plain(value: Any) -> Any:
    """A number with the digits that mean something; what JSON cannot hold becomes None."""
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    return value
