"""The log of a run: what happened, how it ended, and none where nothing did."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from bench.errors import UserError
from bench.pipeline import journal
from bench.records import Event, silent


def test_tells_what_happened_in_order(tmp_path: Path) -> None:
    heard: list[Event] = []
    with journal.recording(tmp_path, heard.append) as log:
        for event in (
            Event("building q8", 0, 1, "step"), Event("building q8", 3, 4, "steps", "loss 0.500"),
            Event("building q8", 4, 4, "steps", "loss 0.400"), Event("building q8", 1, 1, "step"),
        ):  # fmt: skip
            log(event)
        try:
            raise ValueError("volcano")
        except ValueError as error:
            logging.getLogger("bench").error("%s failed", "timing q8", exc_info=error)
        log.ended("ended: 1 variants")
    assert [event.done for event in heard] == [0, 3, 4, 1]
    path = log.path
    assert path is not None
    assert journal.is_log(path)
    text = path.read_text()
    parts = ["bench ", "torch ", "cpu: ", "building q8: begins (1 step)", "4 steps done, loss 0.400"]
    parts += ["building q8: ended after", "timing q8 failed", "Traceback", "ValueError: volcano", "ended: 1 variants"]
    positions = [text.index(part) for part in parts]
    assert positions == sorted(positions)
    assert text.count("\n") < 25


@pytest.mark.parametrize(
    ("error", "ending"),
    [
        (KeyboardInterrupt(), "interrupted"),
        (UserError("no such variant"), "stopped: no such variant"),
        (OSError(28, "No space left", "/x"), "stopped: /x: the disk is full"),
        (ZeroDivisionError(), "stopped by a bug"),
    ],
)
def test_says_how_it_ended(error: BaseException, ending: str, tmp_path: Path) -> None:
    def work() -> None:
        with journal.recording(tmp_path, silent) as log:
            log(Event("timing", 0, 2))
            raise error

    with pytest.raises(type(error)):
        work()
    assert ending in next(tmp_path.glob("run-*.log")).read_text()


def test_nothing_done_leaves_no_log_and_twenty_are_kept(tmp_path: Path) -> None:
    with journal.recording(tmp_path / "e", silent) as log:
        log.ended("ended")
    assert log.path is None
    assert not (tmp_path / "e").exists()
    for day in range(1, 26):
        (tmp_path / f"run-202601{day:02d}T000000Z-1.log").touch()
    (tmp_path / "run-mine.log").touch()
    with journal.recording(tmp_path, silent) as log:
        log(Event("timing", 0, 2))
    assert len(list(tmp_path.glob("run-2*.log"))) == journal.MOST_LOGS
    assert not (tmp_path / "run-20260106T000000Z-1.log").exists()
    assert (tmp_path / "run-mine.log").exists()
