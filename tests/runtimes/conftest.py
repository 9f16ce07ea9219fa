"""Artifacts that several runtimes are tested with."""

from __future__ import annotations

import pytest

from bench.records import Built
from tests.support import b0
from tests.support.quantised import quantised


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return b0.written(tmp_path_factory.mktemp("int8"), quantised(), "int8")


@pytest.fixture(scope="module")
def float32(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return b0.written(tmp_path_factory.mktemp("float"), b0.model(), "fp32")
