"""Processes that work for this one."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from bench.safe_path import SAFE_PATH, protected
from bench.system import worker_processes


def test_threads_start_processes_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    main, path, variable = sys.modules["__main__"], list(sys.path), os.environ.get(SAFE_PATH)

    @contextmanager
    def slowly() -> Iterator[None]:
        with protected():
            at_once.append(None)
            assert len(at_once) == 1
            time.sleep(0.1)
            yield
            at_once.pop()

    at_once: list[None] = []
    monkeypatch.setattr(worker_processes, "protected", slowly)
    with ThreadPoolExecutor(3) as threads:
        started = list(threads.map(lambda _: worker_processes.start(bool), range(3)))
    for process, connection in started:
        process.join()
        connection.close()
    assert (sys.modules["__main__"], sys.path, os.environ.get(SAFE_PATH)) == (main, path, variable)
