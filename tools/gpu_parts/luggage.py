"""What is taken home: few files, none too large, with plain names, and no folder below another's folder."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

MOST_FILES, MOST_BYTES, MOST_FOLDERS = 8, 16 * 2**20, 2
_PLAIN = re.compile(r"[A-Za-z0-9._-]+")


def take(file: Path, out: Path, name: str) -> str | None:
    """Copy a file into `out`; where it may not travel, the reason, and nothing is copied."""
    size = file.stat().st_size
    if size > MOST_BYTES:
        return f"left out {name}: {size / 2**20:.1f} MiB are more than {MOST_BYTES // 2**20}"
    shutil.copyfile(file, out / name)
    return None


def problems(out: Path) -> list[str]:
    """What of the folder would not travel, and why; hidden files among it."""
    files = sorted(path for path in out.rglob("*") if not path.is_dir())
    wrong = [f"{file.relative_to(out)}: {reason}" for file in files if (reason := _reason(file, out))]
    if len(files) > MOST_FILES:
        wrong.append(f"{len(files)} files are more than {MOST_FILES}")
    return wrong


def _reason(file: Path, out: Path) -> str | None:
    parts = file.relative_to(out).parts
    if not all(_PLAIN.fullmatch(part) for part in parts):
        return "names may have letters, digits, '.', '_' and '-' only"
    if len(parts) > MOST_FOLDERS + 1:
        return f"more than {MOST_FOLDERS} folders deep"
    if file.is_symlink():
        return "a link, not a file"
    if file.stat().st_size > MOST_BYTES:
        return f"{file.stat().st_size / 2**20:.1f} MiB are more than {MOST_BYTES // 2**20}"
    return None
