"""A report with all its pictures in one file that survives moving."""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote_to_bytes

from bench import stored
from bench.errors import UserError
from bench.files import write_atomically

# Alternative texts are escaped, so a bracket that ends one has no backslash before it.
_LINK = re.compile(r"(\[(?:\\.|[^\]\\\n])*\]\()([^()\s]+)(\))")


def is_whole(report: Path) -> bool:
    """Whether a rendered report is there with its page, its numbers and every file that it links."""
    source = report / "report.md"
    if not all((report / name).is_file() for name in ("report.md", "report.html", "scores.json")):
        return False
    try:
        text = stored.read_text(source)
    except (OSError, ValueError):
        return False
    return all(_target(report, match[2]).is_file() for match in _LINK.finditer(text))


def _target(report: Path, link: str) -> Path:
    return Path(os.path.normpath(report.absolute() / os.fsdecode(unquote_to_bytes(link))))


def bundle(report: Path, results: Path, out: Path) -> None:
    """Write the zip `out`: report.md, and below it every file that it links, links rewritten.

    `report` and `results` are the experiment's folders. Overlays come to lie in `overlays/`, ordered as in `results`.
    UserError where there is no report or a linked file is missing.
    """
    source = report / "report.md"
    if not source.is_file():
        raise UserError(f"{source}: no such report. Render one first: bench report {report.name}")
    members: dict[str, Path] = {}

    def rewritten(match: re.Match[str]) -> str:
        target = _target(report, match[2])
        inside = _place(target, report, results)
        if not target.is_file():
            raise UserError(f"{source}: links {target}, which does not exist. Render again: bench report {report.name}")
        members[inside] = target
        return f"{match[1]}{quote(os.fsencode(inside), safe='/')}{match[3]}"

    text = _LINK.sub(rewritten, source.read_text(encoding="utf-8"))
    write_atomically(out, lambda file: _zip(file, report.name, text, members))


def _place(target: Path, report: Path, results: Path) -> str:
    """Where a linked file lies in the bundle."""
    for folder, prefix in ((report, Path()), (results, Path("overlays"))):
        if target.is_relative_to(folder.absolute()):
            return (prefix / target.relative_to(folder.absolute())).as_posix()
    raise UserError(f"{report / 'report.md'}: links {target}, which is neither in {report} nor in {results}")


def _zip(file: BinaryIO, root: str, text: str, members: dict[str, Path]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
        archive.writestr(f"{root}/report.md", text)
        for inside, path in sorted(members.items()):
            archive.write(path, f"{root}/{inside}")
