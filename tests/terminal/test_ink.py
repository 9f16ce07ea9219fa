"""Colour: for terminals alone, never where it was not wanted, and never in place of words."""

from __future__ import annotations

import io
import re

import pytest

from bench.ink import painted

SUMMARY = """Model             MiB reduct.    AUC    diff      ms speed-up ran as
baseline       108.86       - 0.9686       -    11.2        - ort fp32
q8: stable (-0.0013, 95 % -0.0087 to +0.0061)
p50: degraded (-0.0813, 95 % -0.1087 to -0.0561)
p80: inconclusive (-0.0100, 95 % -0.0201 to +0.0001); about 350 further frames
stable: degraded: is a name; failed: it is
q4 failed: out of memory
ship: q8; runner-up: baseline
note: look at this"""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def test_a_terminal_gets_colours_and_the_same_words() -> None:
    coloured = painted(SUMMARY, Terminal())
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == SUMMARY
    for word in (
        "\x1b[32mstable\x1b[0m (",
        "\x1b[31;1mdegraded\x1b[0m (",
        "\x1b[33minconclusive\x1b[0m (",
        "\x1b[31;1mfailed:\x1b[0m out",
        "\x1b[1mship: q8; runner-up: baseline\x1b[0m",
        "\x1b[33mnote:\x1b[0m",
    ):
        assert word in coloured
    assert painted("error: no such file", Terminal()) == "\x1b[31;1merror:\x1b[0m no such file"


def test_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    assert painted(SUMMARY, io.StringIO()) == SUMMARY
    monkeypatch.setenv("TERM", "dumb")
    assert painted(SUMMARY, Terminal()) == SUMMARY
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert painted(SUMMARY, Terminal()) == SUMMARY
    monkeypatch.setenv("NO_COLOR", "")
    assert painted(SUMMARY, Terminal()) != SUMMARY
