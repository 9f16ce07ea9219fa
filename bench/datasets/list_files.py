"""Reading the lists that data sets bring: JSON, CSV, lines of text; `UserError` names what can't be read."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from bench.datasets.layouts import LEADS_NOWHERE
from bench.errors import UserError

_LARGEST_BYTES = 2**30


def read_json(file: Path) -> Any:
    """What a JSON file holds; `UserError` where it can't be read, is none, or is far too large."""
    return _parsed(file, _text(file))


def _parsed(file: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{file}, line {error.lineno}: is no JSON: {error.msg}; fetch or write the file again"
        ) from None
    except (RecursionError, ValueError) as error:
        raise UserError(f"{file}: is no JSON that can be read: {error}") from None


def read_lines(file: Path) -> list[str]:
    """The lines of a text file; `UserError` where it can't be read as UTF-8."""
    return _text(file).splitlines()


def read_csv(file: Path) -> list[list[str]]:
    """The rows of a CSV file; `UserError` where it can't be read."""
    try:
        return list(csv.reader(read_lines(file)))
    except csv.Error as error:
        raise UserError(f"{file}: can't be read: {error}") from None


def _text(file: Path) -> str:
    """What a text file holds; `UserError` where it is none, far too large, or can't be read as UTF-8."""
    if not file.is_file():
        raise UserError(
            f"{file}: is {'a folder, a pipe or a device; expected a file' if file.exists() else LEADS_NOWHERE}"
        )
    if file.stat().st_size > _LARGEST_BYTES:
        raise UserError(f"{file}: {file.stat().st_size:,} bytes: far too large for a list of videos")
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{file}: can't be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: is no UTF-8 (byte {error.start:,}); save it as UTF-8") from None
