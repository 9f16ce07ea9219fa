"""The tests marked `cuda`, in one process, each with its outcome as it comes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from gpu_parts import Job

ROOT = Path(__file__).resolve().parents[2]
_REHEARSAL = ("tests/runtimes/test_contract.py", "-k", "test_timed_calls and cpu and pytorch")


class Outcomes:
    """A plugin of pytest: writes the outcome of every test as soon as there is one."""

    def __init__(self, job: Job) -> None:
        self.record = job.record

    def pytest_runtest_logreport(self, report: Any) -> None:
        # Setting up and taking down only count where they go wrong; a test is skipped while it is set up.
        if report.when == "call" or report.outcome == "failed" or report.skipped:
            self._write(report)

    def pytest_collectreport(self, report: Any) -> None:
        if report.outcome == "failed":
            self._write(report)

    def _write(self, report: Any) -> None:
        cells: dict[str, Any] = {"outcome": report.outcome, "s": float(getattr(report, "duration", 0.0))}
        if report.outcome == "failed":
            cells["failed"] = " ".join(str(report.longreprtext).split())[-400:]
        elif report.outcome == "skipped":
            cells["reason"] = " ".join(str(report.longrepr[-1] if report.longrepr else "").split())[:200]
        self.record.row(report.nodeid or "collection", cells)


def run(job: Job) -> None:
    """Run the tests marked `cuda`, each a row; those that an earlier call finished are left out."""
    import pytest

    # Networks that are compiled take longer than this part has; the part `compiled` runs them.
    chosen = [*_files(), "-m", "cuda", "-k", "not inductor"] if job.device == "cuda" else list(_REHEARSAL)
    done = [name for name in job.record.rows() if job.record.has(name)]
    skip = [argument for name in done for argument in ("--deselect", name)]
    # pyproject's own options ask for plugins that need not be there.
    options = ["-o", "addopts=", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:logging", "-rf"]
    options += [
        "--tb=short",
        "--continue-on-collection-errors",
        "--rootdir",
        str(ROOT),
        "-c",
        str(ROOT / "pyproject.toml"),
    ]
    code = pytest.main([*_from_root(chosen), *options, *skip], plugins=[Outcomes(job)])
    _sum_up(job, int(code))


def _from_root(arguments: list[str]) -> list[str]:
    return [str(ROOT / argument) if argument.startswith("tests/") else argument for argument in arguments]


def _files() -> list[str]:
    """Only these are collected: others may import what is not there."""
    files = sorted((ROOT / "tests").glob("test_*.py"))
    marked = re.compile(r"\bmark\.cuda\b")
    return [f"tests/{file.name}" for file in files if marked.search(file.read_text(encoding="utf-8"))]


def _sum_up(job: Job, code: int) -> None:
    rows = job.record.rows()
    counts = {outcome: sum(row.get("outcome") == outcome for row in rows.values()) for outcome in OUTCOMES}
    job.record.note(
        f"{', '.join(f'{count} {outcome}' for outcome, count in counts.items())}; pytest's exit code {code}"
    )
    if not rows:
        raise SystemExit("no test ran")


OUTCOMES = ("passed", "failed", "skipped")
