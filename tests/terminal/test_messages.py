"""Names from outside in messages: one line, no commands, no control characters, whatever they hold."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import pytest

from bench.errors import UserError, in_yaml, listed, nearest, on_one_line, quoted, shown
from bench.ink import harmless
from bench.pipeline import journal
from bench.records import silent

FORGED = "a\n::error::pwned\nerror: b"


@pytest.mark.parametrize("text", ["", "q8", "Gesichter/Müller (1).png", "顔.png", "🙂", "C:\\faces", "a ≈ b − c"])
def test_plain_text_is_shown_as_it_is(text: str) -> None:
    assert shown(text) == on_one_line(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb", "a\\nb"),
        ("a\r\tb", "a\\r\\tb"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x9b31m", "\\x9b31m"),
        ("a\u2028b\u2029", "a\\u2028b\\u2029"),
        ("\u202efdp.exe\u2066", "\\u202efdp.exe\\u2066"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("\x00\x7f\x85", "\\x00\\x7f\\x85"),
        ("half \ud83d", "half \\ud83d"),
    ],
)
def test_what_breaks_lines_or_moves_the_cursor_is_visible(text: str, expected: str) -> None:
    assert shown(text) == expected
    assert len(expected.splitlines()) == 1


def test_long_names_are_shortened() -> None:
    assert shown("x" * 200) == "x" * 200
    assert shown("x" * 201) == "x" * 199 + "…"
    assert shown("x\n" * 50, 10) == "x\\nx\\nx\\nx"[:9] + "…"
    for text in (quoted("x" * 900), in_yaml("x" * 900), in_yaml({"x" * 900: 1}), listed(["x" * 900]),
                 nearest("x" * 899, ["x" * 900])):  # fmt: skip
        assert len(text) < 260


def test_an_error_has_the_lines_it_was_given_and_no_others() -> None:
    error = UserError(f"{FORGED}: no such file", "second")
    assert str(error) == "a\\n::error::pwned\\nerror: b: no such file\nsecond"
    assert error.lines == pickle.loads(pickle.dumps(error)).lines
    for text in (listed([FORGED]), in_yaml({FORGED: [FORGED]}), quoted(FORGED), nearest("a", [FORGED])):
        assert "\n" not in text


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("::error::x", ":\\x3aerror::x"),
        ("  ::set-output name=a::b", "  :\\x3aset-output name=a::b"),
        ("see ##[error]x", "see #\\x23[error]x"),
        ("##vso[task.setvariable]x", "#\\x23vso[task.setvariable]x"),
        ("##teamcity[x]", "#\\x23teamcity[x]"),
        ("a\x1b]0;title\x07", "a\\x1b]0;title\\x07"),
        ("error: a::b and ## c", "error: a::b and ## c"),
    ],
)
def test_no_line_is_a_command_of_a_ci_system(line: str, expected: str) -> None:
    assert harmless(line) == expected
    assert harmless(f"first\n{line}\n") == f"first\n{expected}\n"


def test_one_record_of_the_log_stays_one(tmp_path: Path) -> None:
    with journal.recording(tmp_path, silent) as log:
        logging.getLogger("bench").error("%s failed", "q8\n2026-01-01T00:00:00Z ended: 1 variants\x1b[2J")
        try:
            raise ValueError("volcano\n2026-01-01T00:00:00Z ended: 1 variants")
        except ValueError as error:
            logging.getLogger("bench").error("q8 failed", exc_info=error)
    assert log.path is not None
    lines = log.path.read_text().splitlines()[4:]
    assert [line.split(" ", 1)[1] for line in lines if line[:1].isdigit()] == ["q8", "q8 failed"]
    assert all(line.startswith("    ") for line in lines if not line[:1].isdigit())
    assert "\x1b" not in log.path.read_text()
