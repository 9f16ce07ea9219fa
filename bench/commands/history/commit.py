"""Which commit a folder is at, read from the files of its git repository: git itself is never started.

A repository may come from a stranger, and git runs what its configuration says (hooks, filters, `core.fsmonitor`).
"""

from __future__ import annotations

import re
from pathlib import Path

from bench import stored

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REFERENCE = re.compile(r"refs/[A-Za-z0-9._/+@=#-]{1,250}")
_MOST_BYTES = 4096
_MOST_PACKED_BYTES = 64 * stored.MIB


def commit_of(folder: Path) -> str | None:
    """The id of the commit that is checked out in the folder or one above it; None where no file says one."""
    absolute = folder.absolute()
    for above in (absolute, *absolute.parents):
        if (above / ".git").exists():
            try:
                return _head(_repository(above / ".git"))
            except (OSError, ValueError):
                return None
    return None


def _repository(git: Path) -> Path:
    """The folder of the repository; in a work tree of its own, and in a submodule, `.git` is a file that names it."""
    if git.is_dir():
        return git
    text = stored.read_text(git, _MOST_BYTES, links=False).strip()
    return git.parent / text.removeprefix("gitdir:").strip()


def _head(repository: Path) -> str | None:
    """The commit that HEAD names, itself or by a branch; None where that has no commit yet."""
    text = stored.read_text(repository / "HEAD", _MOST_BYTES, links=False).strip()
    if _COMMIT.fullmatch(text):
        return text
    name = text.removeprefix("ref:").strip()
    if not _REFERENCE.fullmatch(name) or ".." in name:
        return None
    common = _common(repository)
    try:
        commit = stored.read_text(common / name, _MOST_BYTES, links=False).strip()
    except FileNotFoundError:
        commit = _packed(common, name)
    return commit if _COMMIT.fullmatch(commit) else None


def _common(repository: Path) -> Path:
    """Where branches lie: with several work trees, in the repository of the first."""
    try:
        return repository / stored.read_text(repository / "commondir", _MOST_BYTES, links=False).strip()
    except FileNotFoundError:
        return repository


def _packed(repository: Path, name: str) -> str:
    """The commit of a branch whose own file git has packed together with others'."""
    lines = stored.read_text(repository / "packed-refs", _MOST_PACKED_BYTES, links=False).splitlines()
    return next((line.split(" ")[0] for line in lines if line.partition(" ")[2] == name), "")
