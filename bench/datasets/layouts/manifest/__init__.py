"""A CSV or Parquet manifest: columns `path`, `label` and, where known, `source` and `split`.

`video` and `frame_index` say which frame of which video each is. When it was in the video, and where the face, is
read by `bench.datasets.annotations` alone. Every further column is an attribute of the frames, its name and values as
they are written. What is no text or number (nested values, bytes) is left out, and so are columns without a name.

Paths are relative to the manifest's folder, or absolute, and stay inside it, links included. A folder that holds
a `manifest.csv` or `manifest.parquet` is read by it: other frames there are counted, and not used. Where an extraction
wrote it, with train and without calibration, calibration is drawn from train.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.datasets import native
from bench.datasets.layouts import LEADS_NOWHERE, Listing, Options
from bench.datasets.layouts.manifest.columns import wrong_columns
from bench.datasets.layouts.manifest.extracted import is_of_extraction, missing_of
from bench.datasets.layouts.manifest.files import Files
from bench.datasets.layouts.manifest.rows import Reader
from bench.datasets.layouts.manifest.tables import COLUMNS, SHAPE, Row, sharing_of, table
from bench.errors import UserError, listed, quoted
from bench.records import CLASS_WORDS, LABEL_WORDS, label_word
from bench.text_encoding import not_utf8

RANK = 10

__all__ = ["NAMES", "RANK", "SHAPE", "Files", "manifests_at", "read", "recognises", "roles_of", "rows_at"]

NAMES = ("manifest.csv", "manifest.parquet")
_OF_REALS = frozenset(("real", "genuine", "authentic", "bonafide", "bona_fide", "live", "pristine"))
"""What a column of labels is called in which true means real, with or without "is_" before it."""


def recognises(path: Path) -> bool:
    return _is_manifest(path) or any(map(os.path.lexists, _manifests(path)))


def read(path: Path, options: Options) -> Listing:
    """List the rows of a manifest as frames; everything that is wrong with it is a problem of the listing."""
    try:
        manifest, columns, rows = rows_at(path, options)
    except UserError as error:
        return Listing(manifests_at(path)[0].parent, {}, error.lines)
    listing, sharing = Reader(manifest, columns, options).listing(rows), sharing_of(manifest)
    parts = {split: replace(part, sharing=sharing) for split, part in listing.parts.items()}
    if is_of_extraction(manifest):
        parts = native.with_calibration(parts)
    missing, more_problems = missing_of(manifest, options)
    return replace(listing, parts=parts, missing=missing, problems=(*listing.problems, *more_problems))


def rows_at(path: Path, options: Options) -> tuple[Path, list[str], list[Row]]:
    """The manifest that a path names, or that lies in its folder, with its columns and rows as text.

    Raises `UserError` where it can't be read, lacks a column, or has no rows.
    """
    manifests = manifests_at(path)
    manifest = manifests[0]
    for lost in manifests:
        if not lost.is_file():
            why = "a folder, a pipe or a device; expected a file" if lost.exists() else LEADS_NOWHERE
            raise UserError(f"{lost}: is {why}")
    if len(manifests) > 1:
        raise UserError(f"{path}: holds both {' and '.join(NAMES)}; keep the one that is right")
    try:
        columns, rows = table(manifest, roles_of(options))
    except MemoryError:
        raise
    except UnicodeDecodeError as error:
        raise UserError(f"{manifest}: can't be read: {not_utf8(manifest) or error}") from error
    except Exception as error:  # damaged files make the readers fail in many ways
        reason = " ".join((str(error) or type(error).__name__).split())[:300]
        raise UserError(f"{manifest}: can't be read: {reason}") from error
    problems = wrong_columns(manifest, columns, roles_of(options), options)
    if not problems:
        problems = _turned_round(manifest, rows, options) if rows else [f"{manifest}: has no rows"]
    if problems:
        raise UserError(*problems)
    return manifest, columns, rows


def _turned_round(manifest: Path, rows: Sequence[Row], options: Options) -> list[str]:
    """What is wrong where the column of labels is called for real ones, and holds numbers, of which 1 means fake."""
    name = (options.columns or {}).get("label", "")
    if name.strip().casefold().removeprefix("is").lstrip("_- ") not in _OF_REALS or options.labels:
        return []
    words = {label_word(cells.get("label", "")) for _, cells in rows} - {""}
    if not words or words & CLASS_WORDS.keys() or not words <= LABEL_WORDS.keys():
        return []
    yes, no = ("true", "false") if words & {"true", "false"} else ("1", "0")
    return [
        f"{manifest}: the column {quoted(name)} holds {listed(sorted(words))}, of which {yes} would be read as fake; "
        f"write `labels: {{real: ['{yes}'], fake: ['{no}']}}` where it means real, or the other way round"
    ]


def roles_of(options: Options) -> dict[str, str]:
    """What each column is that the program knows, by what the manifest calls it, in lower case."""
    return {name: role for role, name in (options.columns or dict(zip(COLUMNS, COLUMNS, strict=True))).items()}


def manifests_at(path: Path) -> list[Path]:
    """The manifests that a path names, or that lie in its folder."""
    return [path] if _is_manifest(path) else list(filter(os.path.lexists, _manifests(path)))


def _is_manifest(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in (".csv", ".parquet")


def _manifests(folder: Path) -> list[Path]:
    return [folder / name for name in NAMES] if folder.is_dir() else []
