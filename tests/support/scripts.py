"""Scripts of benchmarks/, and the tables that they print."""

from __future__ import annotations

import importlib.util
import re
import sys
from typing import Any

from tests.support import ROOT

FOLDER = ROOT / "benchmarks"


def script(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # A dataclass looks its own module up while it is made.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def table(printed: str) -> list[dict[str, str]]:
    """The rows of the one Markdown table, by column; every number in it is above zero."""
    assert re.search(r"^\d{4}-\d\d-\d\d \d\d:\d\d UTC; cpu: ", printed, flags=re.MULTILINE)
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines() if line.startswith("|")]
    header, line, *rows = lines
    assert set(line) == {"---"}
    assert all(len(row) == len(header) for row in rows)
    rows_by_column = [dict(zip(header, row, strict=True)) for row in rows]
    assert rows_by_column
    return rows_by_column


def numbers(cell: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", cell)]
