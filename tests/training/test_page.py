"""The examples of docs/training.md are experiment files that are read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.experiment import read
from tests.support import ROOT

PAGE = (ROOT / "docs/training.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"<!-- training: (\w+) -->\n```yaml\n(.*?)```", PAGE, re.DOTALL))


@pytest.mark.parametrize("name", BLOCKS)
def test_examples_are_read(name: str, tmp_path: Path) -> None:
    file = tmp_path / "experiments.yaml"
    file.write_text(BLOCKS[name])
    assert read(file).trainings
