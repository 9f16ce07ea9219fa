"""What people call the two classes, for hints: such words are never taken for labels by themselves."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from bench.errors import quoted
from bench.records import CLASS_WORDS, label_word, meaning

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]*")
_NOT_TEXT = re.compile(r"[0-9_.eE+-]+|y|n|yes|no|on|off|true|false|null|~|0[xo].*", re.IGNORECASE)


def line_to_write(names: Iterable[str]) -> str:
    """The line `labels: {…}` for names that mean a class, as YAML spells it; "" where none does."""
    by_label: dict[int, list[str]] = {0: [], 1: []}
    for name in names:
        label = meaning(name)
        if label is not None and label_word(name) not in CLASS_WORDS:
            by_label[label].append(in_list(name))
    parts = [f"{key}: [{', '.join(by_label[label])}]" for key, label in CLASS_WORDS.items() if by_label[label]]
    return f"labels: {{{', '.join(parts)}}}" if parts else ""


def in_list(name: str) -> str:
    """A name as it stands in a list of YAML: in quotes where it would be read as a number or otherwise."""
    is_plain = _PLAIN.fullmatch(name) and not name.endswith(" ") and not _NOT_TEXT.fullmatch(name)
    return name if is_plain else quoted(name)


def hint(names: Iterable[str]) -> str:
    """A hint that starts with a colon and ends in the line to write; "" where no name means a class."""
    line = line_to_write(names)
    return f": if they are the classes, write `{line}`" if line else ""


def folder_between(path: Path, folders: Iterable[str]) -> str:
    """The one folder in which the classes lie, a step further down than was looked; "" without."""
    for name in folders:
        try:
            with os.scandir(path / name) as children:
                inside = {meaning(child.name) for child in children if child.is_dir()}
        except OSError:
            continue
        if inside >= {0, 1}:
            return name
    return ""
