"""`source_pattern`: the sources that `re` finds, and an end for patterns that have none."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from bench.datasets import sources
from bench.datasets.sources import find_sources
from bench.errors import UserError

PATHS = [
    "fake/id0_id16_0002/00012.png", "real/id1/3.jpg", "real/ä b/大.png", "fake/a\nb.png", "real/\udcff.png", "x", "=",
    "!3", "real/.png", "fake/\x01.png", "aaa", "fake/id2_/id3_",
]  # fmt: skip


@pytest.mark.parametrize(
    "pattern",
    [
        r"(id\d+)_", r"([^/]+)/[^/]+$", "(.+)", "(x)?", "(x*)", r"(?i)(ID\d+)", r"(?P<video>id\d+)", r"(a)\1", "(ä|大)",
        r"(?<=/)(.)", r"\bid(\d+)(?:_id(\d+))?", "(\n|=|!)", "(?s)^(.*)$",
    ],
)  # fmt: skip
def test_what_re_finds(pattern: str) -> None:
    matches = [re.search(pattern, path) for path in PATHS]
    if re.compile(pattern).groups == 1:
        assert find_sources(pattern, PATHS) == [match.group(1) if match else None for match in matches]
    else:
        names = [sorted({*match.groups()} - {None}) if match else [] for match in matches]
        assert find_sources(pattern, PATHS) == [";".join(of_path) or None for of_path in names]


def test_no_paths() -> None:
    assert find_sources("(x)", []) == []


@pytest.mark.parametrize("pattern", ["((.+)+)+X", "(a+)+$", "(a|aa)+$", "(.*)*(.*)*X", "^(([a-z])+.)+[A-Z]([a-z])+$"])
def test_one_path_that_takes_for_ever(pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_SECONDS", 0.3)
    slow = "a" * 60 + ".b"
    with pytest.raises(UserError, match=f"takes too long at '{slow}'"):
        find_sources(pattern, [*["b"] * 100, slow, "c"])


@pytest.mark.slow
def test_a_search_that_hears_no_signal_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, where there are none."""
    command: list[str] = [sys.executable, "-c", "import time; time.sleep(60)"]
    run = subprocess.run
    monkeypatch.delattr("signal.setitimer")
    monkeypatch.setattr(sources, "_SECONDS", 0.3)
    monkeypatch.setattr(subprocess, "run", lambda _, **options: run(command, **options))
    with pytest.raises(UserError, match=r"takes too long\. A repetition"):
        find_sources("(x)", ["x"])
