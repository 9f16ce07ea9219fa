"""Control groups as Linux shows them."""

from __future__ import annotations

from pathlib import Path


def group_files(folder: Path, files: dict[str, str], lines: str) -> tuple[Path, Path]:
    for name, text in files.items():
        (folder / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "cgroup" / name).write_text(text)
    (folder / "groups").write_text(lines)
    return folder / "cgroup", folder / "groups"
