"""The way of `bench run` from the command to the report stays short."""

from __future__ import annotations

import pytest
import spine

MOST_FILES = 23


def test_every_stop_is_reached_by_few_files() -> None:
    modules = spine.spine()
    assert {stop.split(":")[0] for stop in spine.STOPS} <= set(modules)
    assert len(modules) <= MOST_FILES, modules


def test_a_stop_that_has_moved_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spine, "STOPS", (*spine.STOPS, "bench.pipeline.prepare:elsewhere"))
    with pytest.raises(SystemExit, match=r"bench\.pipeline\.prepare: defines no elsewhere"):
        spine.spine()


def test_a_name_that_a_package_passes_on_is_followed_to_its_file() -> None:
    assert spine.origin("bench.datasets", "read_batches") == "bench.datasets.decoding"
