"""A folder that came from a stranger: nothing in it is executed, and nothing is handed out that is not an artifact."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnx.numpy_helper
import pandas as pd
import pytest

from bench import seals
from bench.pipeline import handover
from bench.reports.text import plain
from bench.variants import build
from tests.conftest import write_workplace
from tests.test_pipeline import bench

ROOT = Path(__file__).parent.parent

# Modules that Python and libraries import late, those that every process imports first, and libraries themselves.
POISONED = (
    "socket", "random", "struct", "typing", "torch", "numpy", "sitecustomize", "pickle", "signal", "tempfile", "runpy",
    "multiprocessing", "encodings", "onnxruntime", "psutil", "json", "selectors", "usercustomize", "cv2", "secrets",
)  # fmt: skip

PROGRAM = """
import sys
sys.path[0] = {root!r}
from tests import interrupted_runs
interrupted_runs.prepare()
from bench import cli
from bench.results import timing
timing.start = interrupted_runs._start
sys.argv = ["bench", {command!r}]
cli.main()
"""


def poison(folder: Path) -> None:
    for name in POISONED:
        marker = folder / f"executed-{name}"
        (folder / f"{name}.py").write_text(f"open({str(marker)!r}, 'w').close()\nraise ImportError('poisoned')\n")


def executed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("executed*"))


def started(folder: Path, program: Path, command: str) -> subprocess.CompletedProcess[str]:
    """As the command `bench` is started: by a script that lies elsewhere."""
    program.write_text(PROGRAM.format(root=str(ROOT), command=command))
    variables = {key: value for key, value in os.environ.items() if key not in ("PYTHONSAFEPATH", "PYTHONPATH")}
    return subprocess.run(
        [sys.executable, str(program)], cwd=folder, env=variables, capture_output=True, text=True, check=False
    )


def test_modules_in_the_working_folder_are_not_imported(tmp_path: Path) -> None:
    """A whole run with its timing processes; the same folder without them is as fast."""
    folder = tmp_path / "received"
    folder.mkdir()
    write_workplace(folder)
    text = (folder / "experiments.yaml").read_text().partition("      q8: ")[0]
    (folder / "experiments.yaml").write_text(text)
    poison(folder)
    done = started(folder, tmp_path / "program.py", "run")
    assert (done.returncode, executed(folder)) == (0, []), done.stderr
    assert "failed" not in (folder / "reports/first/report.md").read_text()


def test_python_m_bench_takes_nothing_from_the_working_folder(tmp_path: Path) -> None:
    """But for `runpy` and what every start of Python imports, which Python itself looks for there: `python -P -m`."""
    for name in sorted({*POISONED} - {"runpy", "encodings", "sitecustomize", "usercustomize"}):
        (tmp_path / f"{name}.py").write_text(f"open('executed-{name}', 'w').close()\n")
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    variables.pop("PYTHONSAFEPATH", None)
    for command in (["--version"], ["list"]):
        done = subprocess.run(
            [sys.executable, "-m", "bench", *command], cwd=tmp_path, env=variables, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert (done.returncode, executed(tmp_path)) == (0, []), done.stderr
