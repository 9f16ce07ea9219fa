"""A store for the tests of a module: its server is started once, and empty at each test's beginning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import stores


@pytest.fixture(scope="module")
def server() -> Iterator[stores.Server]:
    with stores.served() as server:
        yield server


@pytest.fixture
def s3(server: stores.Server, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of a server with the bucket `BUCKET`, to which the environment leads."""
    return server.emptied(monkeypatch)


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Google Cloud Storage with the bucket `BUCKET`, to which the environment leads."""
    with stores.google(monkeypatch):
        yield
