"""One finished experiment for all tests of the service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.inference.served import Served
from tests.conftest import quick_folder
from tests.support import service
from tests.support.served_process import serving


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with quick_folder(tmp_path_factory, "served") as folder:
        service.write_experiment(folder)
        yield folder


@pytest.fixture(scope="session")
def served(finished: Path) -> tuple[Served, ...]:
    return service.served_of(finished, "q8", "baseline")


@pytest.fixture(scope="session")
def started(finished: Path) -> Iterator[str]:
    """The address of a process that serves the tiny experiment."""
    with serving(finished, "--variant", "q8", "--variant", "baseline") as process:
        yield process.address
