"""Whoever reads a copy for hours says so beside it, from its own update on until it ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from bench import addresses
from bench.errors import UserError
from bench.remote import readers_of
from tests.support.bad_input_cases import yaml
from tests.support.command_line import bench

TRAINING = """
trainings:
  b0: {architecture: tiny, frames: [faces], preprocessing: {preset: fsbi, size: 32}, batch_size: 4}
"""


@pytest.mark.parametrize(
    ("arguments", "after_frames", "doing"),
    [
        (("run",), "bench.pipeline.search_variants", "running first"),
        (("run", "--build-only"), "bench.pipeline.sharding.running.search_variants", "building first"),
        (("run", "--shard", "1/2"), "bench.pipeline.sharding.running.search_variants", "evaluating 1/2 of first"),
        (("train", "b0"), "bench.commands.train._key", "training b0"),
    ],
)
def test_who_reads_a_copy_says_so(
    arguments: tuple[str, ...], after_frames: str, doing: str, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workplace)
    store: Any = MemoryFileSystem()
    address = f"memory://read-{workplace.name}/faces"
    for file in (file for file in (workplace / "faces").rglob("*") if file.is_file()):
        store.pipe_file(f"/read-{workplace.name}/{file.relative_to(workplace).as_posix()}", file.read_bytes())
    yaml("{path: faces}", f'{{path: "{address}"}}')(workplace)
    file = workplace / "experiments.yaml"
    file.write_text(file.read_text() + TRAINING)
    folder, readers = addresses.folder_of(workplace, address), list[str]()

    def stop(*_: object) -> None:
        readers.extend(readers_of(folder))
        raise UserError("as far as that")

    monkeypatch.setattr(after_frames, stop)
    code, output = bench(*arguments)
    assert (code, "as far as that" in output) == (2, True), output
    assert [doing in reader for reader in readers] == [True]
    assert not readers_of(folder)
