"""`bench clean` knows copies of what lies at addresses: those that no experiment file names can go."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from bench import addresses, datasets
from bench.datasets.settings import FrameSetSettings
from bench.detectors.weights import fetching
from bench.records import silent
from bench.remote import reading
from tests.support.bad_input_cases import yaml
from tests.support.command_line import bench


def test_copies_that_no_file_names_go(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    store: Any = MemoryFileSystem()
    top = f"of-{workplace.name}"
    faces, weights = f"memory://{top}/faces", f"memory://{top}/best.tar"
    for file in (file for file in (workplace / "faces").rglob("*") if file.is_file()):
        store.pipe_file(f"/{top}/{file.relative_to(workplace).as_posix()}", file.read_bytes())
    store.pipe_file(f"/{top}/best.tar", (workplace / "best_model.tar").read_bytes())
    fetches = (partial(datasets.fetching.fetch, FrameSetSettings(path=faces), workplace, silent),
               partial(fetching.fetch, weights, workplace, silent))  # fmt: skip
    copies = [addresses.folder_of(workplace, address) for address in (faces, weights)]
    others = workplace / addresses.FOLDER / "0123456789abcdef"
    others.mkdir(parents=True)
    with reading("running other"):
        for fetch in fetches:
            fetch()
        yaml("{path: faces}", f'{{path: "{faces}"}}')(workplace)
        output = bench("clean", "--yes")[1]
        assert f"copy of {faces}: used by experiments.yaml" in output
        assert f"copy of {weights}: in use by process {os.getpid()} that is running other" in output
        assert all(copy.exists() for copy in copies)
    output = bench("clean", "--yes")[1]
    assert f"copy of {weights}: removed" in output
    assert [copy.exists() for copy in copies] == [True, False]
    yaml(f'{{path: "{faces}"}}', "{path: faces}")(workplace)
    file = workplace / "experiments.yaml"
    file.rename(workplace / "other.yaml")
    file.write_text((workplace / "other.yaml").read_text().replace("best_model.tar", f'"{weights}"'))
    fetches[1]()
    output = bench("clean", "--yes")[1]
    assert f"copy of {weights}: used by experiments.yaml" in output
    assert [copy.exists() for copy in copies] == [False, True]
    assert others.exists(), "another user may have made it"
    fetches[0]()
    (workplace / "trained.yaml").write_text(
        f'datasets: {{set: {{path: "{faces}"}}}}\ntrainings: {{first: {{epoch: 1}}}}\n'
    )
    output = bench("clean", "--yes")[1]
    assert f"copy of {faces}: perhaps used by trained.yaml" in output
    assert copies[0].exists()
