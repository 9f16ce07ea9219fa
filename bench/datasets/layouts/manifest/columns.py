"""What is wrong with a manifest's columns, and hints for columns that are called otherwise."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path

from bench.datasets.layouts import Options
from bench.datasets.layouts.manifest.tables import COLUMNS, DESCRIBING, SHAPE, further
from bench.errors import listed, nearest, quoted
from bench.records import PREDICTED


def wrong_columns(manifest: Path, columns: list[str], roles: Mapping[str, str], options: Options) -> list[str]:
    """`path` must be there, and what was named; a column that is nearly called like a missing one is a misprint."""
    problems = [
        f"{manifest}: no column {quoted(name)}, which {options.naming(role, '…')} names{nearest(name, columns)}; "
        f"found: {listed(filter(None, columns))}"
        for name, role in roles.items()
        if name != role and role not in columns
    ]
    if problems:
        return problems
    extra = [name for name in columns if name not in COLUMNS]
    if "path" not in columns:
        hint = nearest("path", extra)
        if len(columns) == 1 and any(sign in columns[0] for sign in ";\t|"):
            hint = " (its columns must be separated by commas)"
        hint = hint or usual(extra, "path", options)
        problems.append(f"{manifest}: no column `path`{hint}; found: {listed(columns) or 'nothing'}. Expected {SHAPE}")
    for name in ("label", "source", "split"):
        close = [] if name in columns else difflib.get_close_matches(name, extra, n=1, cutoff=0.75)
        problems += [
            f"{manifest}: column {quoted(similar)} is unknown (did you mean {quoted(name)}?)" for similar in close
        ]
    doubled = [name for name in (*COLUMNS, *sorted(DESCRIBING)) if columns.count(name) > 1]
    problems += [f"{manifest}: two columns are called {quoted(name)}" for name in doubled]
    return problems + _wrong_attributes(manifest, further(columns))


_USUAL = {
    "path": (
        "filename",
        "file",
        "file_name",
        "filepath",
        "file_path",
        "image",
        "image_path",
        "img",
        "img_path",
        "frame",
    ),
    "label": ("target", "class", "y", "is_fake", "category"),
}
"""What other manifests call these columns."""


def usual(columns: list[str], role: str, options: Options) -> str:
    """A hint where a column is called as others call that one."""
    alike = next((name for name in columns if name.lower() in _USUAL[role]), None)
    return f" (if it is {quoted(alike)}, write {options.naming(role, alike)})" if alike else ""


def _wrong_attributes(manifest: Path, further: list[str]) -> list[str]:
    """Attribute columns that differ by case alone, or are called like columns of predictions."""
    seen: dict[str, str] = {}
    problems = []
    for name in further:
        other = seen.setdefault(name.casefold(), name)
        if other is not name:
            problems.append(f"{manifest}: the columns {quoted(other)} and {quoted(name)} are called alike; rename one")
        if name.casefold() in PREDICTED:
            problems.append(
                f"{manifest}: a column is called {quoted(name)}, which is what predictions are called; rename it "
                f"(so are: {', '.join(PREDICTED)})"
            )
    return problems
