"""One finished experiment for all tests of the service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.inference.served import Served
from tests.conftest import quick_folder, run_quickly
from tests.support import service
from tests.support.served_process import serving


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder. What lets it run quickly is taken back: other tests of the session are not to have it."""
    with quick_folder(tmp_path_factory, "served") as folder:
        service.write_experiment(folder)
        return folder


@pytest.fixture(scope="session")
def served(finished: Path) -> tuple[Served, ...]:
    with pytest.MonkeyPatch.context() as patch:
        run_quickly(patch)
        return service.served_of(finished, "q8", "baseline")


@pytest.fixture(scope="session")
def started(finished: Path) -> Iterator[str]:
    """The address of a process that serves the tiny experiment."""
    with serving(finished, "--variant", "q8", "--variant", "baseline") as process:
        yield process.address
