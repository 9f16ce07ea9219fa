"""The examples of docs/training.md are experiment files that are read, and its first one trains."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.experiment import read
from tests.conftest import write_frames
from tests.support import ROOT
from tests.support.command_line import bench

PAGE = (ROOT / "docs/training.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"<!-- training: (\w+) -->\n```yaml\n(.*?)```", PAGE, re.DOTALL))


@pytest.mark.parametrize("name", BLOCKS)
def test_examples_are_read(name: str, tmp_path: Path) -> None:
    file = tmp_path / "experiments.yaml"
    file.write_text(BLOCKS[name])
    assert read(file).trainings


def test_the_first_example_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, (split, count) in enumerate((("test", 4), ("validation", 4), ("train", 8))):
        write_frames(Path("faces") / split, count, count, seed)
    Path("experiments.yaml").write_text(BLOCKS["first"])
    (command,) = re.findall(r"^bench (train .*)$", PAGE.partition("<!-- training: first -->")[2], re.MULTILINE)[:1]
    code, output = bench(*command.split())
    assert code == 0, output
    assert list(Path("trainings/mine").glob("*/best.safetensors"))
