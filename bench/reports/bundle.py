"""A report with all its pictures in one file that survives moving."""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import unicodedata
import zipfile
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote_to_bytes

from bench import stored
from bench.errors import UserError
from bench.files import write_atomically

# Alternative texts are escaped, so a bracket that ends one has no backslash before it.
_LINK = re.compile(r"(\[(?:\\.|[^\]\\\n])*\]\()([^()\s]+)(\))")
_ABOVE = re.compile(r"(\.\./)+report\.md")
# What no name on Windows may hold, and what makes a name look like another.
_NOWHERE = re.compile(r"""[<>:"|?*\\\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]""")
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\..*)?", re.IGNORECASE)


def is_whole(report: Path) -> bool:
    """Whether a rendered report is there with its page, its numbers and every file that it links."""
    source = report / "report.md"
    if not all((report / name).is_file() for name in ("report.md", "report.html", "scores.json")):
        return False
    try:
        text = stored.read_text(source)
    except (OSError, ValueError):
        return False
    links = (match[2] for match in _LINK.finditer(text))
    # The report of all detectors or frame sets, which leads here, is rendered after this one.
    return all(_target(report, link).is_file() for link in links if not _ABOVE.fullmatch(link))


def _target(report: Path, link: str) -> Path:
    return Path(os.path.normpath(report.absolute() / os.fsdecode(unquote_to_bytes(link))))


def bundle(report: Path, results: Path, out: Path) -> None:
    """Write the zip `out`: report.md, and below it every file that it links, links rewritten; of several detectors
    or frame sets, the report of each with its files too.

    `report` and `results` are the experiment's folders. Overlays come to lie in `overlays/`, ordered as in `results`.
    Members are called like the files as far as every system can unpack such names, also beside each other.
    UserError where there is no report or a linked file is missing.
    """
    source = report / "report.md"
    if not source.is_file():
        raise UserError(f"{source}: no such report. Render one first: bench report {report.name}")
    names, pages, members = _Names(), dict[str, str](), dict[str, Path]()
    _add_page(source, "report.md", (report, results), (names, pages, members))
    write_atomically(out, lambda file: _zip(file, _everywhere(report.name), pages, members))


def _add_page(
    source: Path,
    inside: str,
    folders: tuple[Path, Path],
    content: tuple[_Names, dict[str, str], dict[str, Path]],
) -> None:
    """Add a page as `inside` the zip with all that it links, pages among that: those of several detectors.

    `folders` are the experiment's, of reports and of results; `content` are names, pages and members so far.
    """
    report, results = folders
    names, pages, members = content
    pages[inside] = ""

    def rewritten(match: re.Match[str]) -> str:
        target = _target(source.parent, match[2])
        member = names.member(_member_path(target, report, results))
        if not target.is_file():
            raise UserError(f"{source}: links {target}, which does not exist. Render again: bench report {report.name}")
        if target.name != source.name:
            members[member] = target
        elif member not in pages:
            _add_page(target, member, folders, content)
        link = posixpath.relpath(member, posixpath.dirname(inside) or ".")
        return f"{match[1]}{quote(os.fsencode(link), safe='/')}{match[3]}"

    pages[inside] = _LINK.sub(rewritten, source.read_text(encoding="utf-8"))


class _Names:
    """The names of members, folder by folder: no two in one folder are alike but for case or composed letters."""

    def __init__(self) -> None:
        self.parts: dict[tuple[str, ...], str] = {("report.md",): "report.md"}
        self.taken: dict[str, set[str]] = {"": {_alike("report.md")}}

    def member(self, path: Path) -> str:
        """What the file at `path` is called, the same each time."""
        inside = ""
        for depth in range(1, len(path.parts) + 1):
            original = path.parts[:depth]
            if original not in self.parts:
                self.parts[original] = self._free(original[-1], self.taken.setdefault(inside, set()))
            inside += ("/" if inside else "") + self.parts[original]
        return inside

    def _free(self, original: str, taken: set[str]) -> str:
        name = plain = _everywhere(original)
        digits = hashlib.sha256(os.fsencode(original)).hexdigest()
        for count in range(8, len(digits)):
            if _alike(name) not in taken:
                break
            name = f"{Path(plain).stem}-{digits[:count]}{Path(plain).suffix}"
        taken.add(_alike(name))
        return name


def _alike(name: str) -> str:
    """Equal for names that some file system takes for one."""
    return unicodedata.normalize("NFC", name).casefold()


def _everywhere(name: str) -> str:
    """The name, changed where Windows could not make such a file, or would make another."""
    name = re.sub(r"[. ]$", "_", _NOWHERE.sub("_", name))
    return f"_{name}" if _DEVICE.fullmatch(name) else name


def _member_path(target: Path, report: Path, results: Path) -> Path:
    """Where a linked file lies in the bundle, by its own name."""
    for folder, prefix in ((report, Path()), (results, Path("overlays"))):
        if target.is_relative_to(folder.absolute()):
            return prefix / target.relative_to(folder.absolute())
    raise UserError(f"{report / 'report.md'}: links {target}, which is neither in {report} nor in {results}")


def _zip(file: BinaryIO, root: str, pages: dict[str, str], members: dict[str, Path]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
        for inside, text in pages.items():
            archive.writestr(f"{root}/{inside}", text)
        for inside, path in sorted(members.items()):
            archive.write(path, f"{root}/{inside}")
