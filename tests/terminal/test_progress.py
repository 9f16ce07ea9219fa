"""What is seen of work under way: the clock ticks, nothing is wider than the terminal, nothing stays behind."""

from __future__ import annotations

import io
import os
import re
import select
import struct
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bench import phases
from bench.pipeline.estimates import Estimate
from bench.pipeline.forecast import Stage
from bench.pipeline.remaining import Remaining
from bench.progress import Bars
from bench.progress.painters import Screen, cells, line, spoken
from bench.progress.under_way import UnderWay, View
from bench.records import Event
from tests.support.pace import limit

LONG = "building q8-p50-of-the-run-before-last-with-a-name-that-goes-on-and-on: quantize: {weights: int8, frames: 64}"

SCRIPT = """
import sys, time
from bench import progress, streams
from bench.records import Event
streams.guard()
with progress.Bars("reading", tick_s=0.05, line_s=0.3) as bars:
    work = sys.argv[1]
    bars(Event(work, 0, 1, "step"))
    bars(Event(work, 0, 128, "frames", "calibrating"))
    bars(Event(work, 128, 128, "frames", "calibrating"))
    time.sleep(float(sys.argv[2]))
    bars(Event(work, 0, 0, "", "rounding"))
    print("from a library", file=sys.stderr)
    time.sleep(0.2)
    bars(Event("no locks here", 1, 1, "warning"))
    bars(Event(work, 1, 1, "step"))
print("done")
"""


@pytest.fixture
def terminal() -> Iterator[Any]:
    """Run the script on a terminal of so many columns: all that it wrote there."""
    pty, termios, fcntl = (pytest.importorskip(name) for name in ("pty", "termios", "fcntl"))
    ends: list[int] = []

    def run(columns: int, work: str, seconds: float, **environment: str) -> str:
        controller, terminal = pty.openpty()
        ends.append(controller)
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, work, str(seconds)],
            stdout=terminal,
            stderr=terminal,
            env=os.environ | environment,
        )
        os.close(terminal)
        written, until = b"", time.monotonic() + limit(30)
        while time.monotonic() < until:
            if not select.select([controller], [], [], 0.1)[0]:
                continue
            try:
                written += os.read(controller, 65536)
            except OSError:  # Linux says so where the other end is closed
                break
        assert process.wait(limit(10)) == 0
        return written.decode()

    yield run
    for end in ends:
        os.close(end)


def screen(written: str, columns: int) -> tuple[list[str], list[str]]:
    """What a terminal shows in the end, and everything that its lower line showed on the way there."""
    rows, column, on_the_way = [""], 0, []
    for part in re.findall(r"\x1b\[[0-9;]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", written):
        if part == "\r":
            column = 0
        elif part == "\n":
            rows.append("")
        elif part == "\x1b[J":
            rows[-1] = rows[-1][:column]
            on_the_way.append(rows[-1])
        elif not part.startswith("\x1b"):
            rows[-1] = rows[-1][:column].ljust(column) + part + rows[-1][column + cells(part) :]
            column += cells(part)
            assert column < columns, f"{part!r} is wider than {columns} columns"
    return [row for row in rows if row], on_the_way


@pytest.mark.parametrize("columns", [40, 80])
def test_a_terminal_sees_a_clock_that_ticks_and_nothing_of_it_in_the_end(terminal: Any, columns: int) -> None:
    left, on_the_way = screen(terminal(columns, LONG, 2.3), columns)
    assert left == ["from a library", "warning: no locks here", "done"]
    assert on_the_way[0].startswith("reading")
    clocks = {clock_time for row in on_the_way if (clock_time := "".join(re.findall(r"\d:\d\d", row)))}
    assert {"0:00", "0:01", "0:02"} <= clocks, "the clock stood while the work slept in one call"
    finished = [row for row in on_the_way if "finishing calibrating" in row]
    assert finished, on_the_way
    assert not any("128/128" in row or "100" in row for row in on_the_way), "all done, while work went on"
    assert any("rounding" in row for row in on_the_way)
    assert not any("0/1" in row for row in on_the_way)


def test_a_terminal_that_obeys_no_codes_gets_none(terminal: Any) -> None:
    written = terminal(80, "building q8", 0.1, TERM="dumb")
    assert "\x1b" not in written
    assert written.endswith("\r\n")


def test_a_pipe_gets_a_line_for_each_work_and_one_now_and_then() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, "building q8", "2.0"],
        capture_output=True,
        text=True,
        timeout=limit(30),
        check=True,
    )
    lines = ran.stderr.splitlines()
    assert "\r" not in ran.stderr
    assert "\x1b" not in ran.stderr
    assert lines[0] == "building q8"
    assert any(line.startswith("building q8: finishing calibrating, for 1 s") for line in lines)
    assert 4 <= sum(", for " in line for line in lines) <= 12, ran.stderr
    assert re.fullmatch(r"building q8: done in \d+ s", lines[-1])
    assert "warning: no locks here" in lines
    assert ran.stdout == "done\n"


def test_a_window_that_gets_narrower_keeps_nothing_of_the_wider_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its terminal has wrapped the line by then: the cursor is at its beginning, and what follows is erased."""
    window = [80]
    monkeypatch.setattr(os, "get_terminal_size", lambda descriptor: os.terminal_size((window[0], 24)))
    stream = io.StringIO()
    monkeypatch.setattr(stream, "fileno", lambda: 2)
    drawn = Screen(stream)
    view = View(LONG, "calibrating", 58, 128, "frames", 83.4, 700.0)
    drawn.tick(view)
    window[0] = 30
    drawn.tick(view)
    wide, narrow = (part.strip("\r").removesuffix("\x1b[J") for part in stream.getvalue().split("\r\r"))
    assert 70 < cells(wide) < 80
    assert cells(narrow) < 30
    before = stream.getvalue()
    drawn.tick(view)
    assert stream.getvalue() == before, "what has not changed need not be drawn"
    drawn.clear()
    assert stream.getvalue().endswith("\r\x1b[J")


@pytest.mark.parametrize("columns", [1, 10, 24, 40, 60, 80, 200])
@pytest.mark.parametrize("work", ["timing", LONG, "検出器を量子化する" * 9])
def test_a_line_fits_and_holds_the_clock(columns: int, work: str) -> None:
    for done, total, doing in ((0, 0, "rounding"), (58, 128, "calibrating"), (0, 0, ""), (58, 128, "")):
        drawn = line(View(work, doing, done, total, "frames", 83.4, 700.0), columns, blocks=True)
        assert cells(drawn) <= columns
        if columns >= 10:
            assert "1:23" in drawn
        if columns >= 40 and doing:
            assert doing in drawn
        if columns == 200:
            assert "about 12 min left" in drawn
            assert ("58/128 frames" in drawn) == bool(total)


def test_a_bar_is_full_only_at_the_end() -> None:
    drawn = line(View("evaluating", "", 9_999, 10_000, "frames", 5.0, None), 100, blocks=False)
    assert "#-" in drawn
    assert "100" not in drawn.replace("10,000", "")


def test_what_is_innermost_is_shown_and_ends_with_what_is_around_it() -> None:
    under_way = UnderWay("reading")
    assert under_way.view().work == "reading"
    assert under_way.take(Event("measuring", 0, 0)) == (False, None)
    assert under_way.view().work == "measuring"
    assert under_way.take(Event("loading", 0, 3, "variants", "q8: loading")) == (True, None)
    view = under_way.view()
    assert (view.work, view.doing, view.counted) == ("loading", "q8: loading", "0/3 variants")
    under_way.take(Event("loading", 0, 0, "", "q8: exporting"))
    view = under_way.view()
    assert (view.doing, view.counted) == ("q8: exporting", "0/3 variants")
    under_way.take(Event("waiting for another run", 0, 1, "run"))
    assert under_way.view().work == "waiting for another run"
    assert under_way.view().counted == ""
    begins, seconds = under_way.take(Event("waiting for another run", 1, 1, "run"))
    assert not begins
    assert seconds is not None
    assert under_way.view().doing == "q8: exporting"
    under_way.take(Event("comparing", 0, 64))
    assert under_way.take(Event("loading", 3, 3, "variants"))[1] is not None
    assert under_way.view().work == "preparing what is next"


def test_what_failed_is_no_longer_under_way_and_is_said_to_have_failed(capsys: pytest.CaptureFixture[str]) -> None:
    with Bars() as bars:
        bars(Event("building q8", 0, 1, "step", "loading"))
        bars(Event("building q8", 40, 128, "frames", "calibrating"))
        bars(Event("building q8", 1, 1, "step", Event.FAILED))
        assert bars._under_way.view().work == "preparing what is next"
    assert capsys.readouterr().err == "building q8\nbuilding q8: failed after 0 s\n"


def test_phases_are_told_from_deep_inside() -> None:
    events: list[Event] = []
    phases.begin("nobody listens")
    with phases.of("loading", events.append, "q8"):
        phases.begin("exporting")
        phases.begin("timing kernels", 3, 9, "layers")
    phases.begin("nobody listens any more")
    assert events == [
        Event("loading", 0, 0, "", "q8: exporting"),
        Event("loading", 3, 9, "layers", "q8: timing kernels"),
    ]


def test_bars_of_another_kind() -> None:
    """As notebooks have: whatever behaves as tqdm's class does."""
    from tqdm import tqdm

    shown = io.StringIO()

    with Bars(tqdm=partial(tqdm, file=shown, mininterval=0), tick_s=0.02) as bars:
        bars(Event("evaluating", 0, 100))
        bars(Event("evaluating", 40, 100))
        time.sleep(0.2)
        bars(Event("evaluating", 0, 0, "", "writing"))
        bars(Event("evaluating", 100, 100))
    written = shown.getvalue()
    assert "evaluating:  40%" in written
    assert "writing" in written
    assert "100%" not in written


class Clock:
    """Stands in for the module `time`."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


def test_what_is_left_follows_what_the_work_took(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("bench.pipeline.remaining.time", clock)
    build = Estimate(100, 100), Estimate(50, 50)
    stages = (
        Stage("build", "2", build[0] + build[1], (("building a", build[0]), ("building b", build[1]))),
        Stage("evaluate", "1", Estimate(30, 30), (("evaluating", Estimate(30, 30)),)),
        Stage("time", "1", Estimate(20, 20)),
        Stage("report", "due", Estimate(0, 0)),
    )
    heard: list[Event] = []
    remaining = Remaining(stages, heard.append)

    def left(event: Event, now: float) -> float:
        clock.now = now
        remaining(event)
        seconds_left = heard[-1].left_s
        assert seconds_left is not None
        return seconds_left

    assert left(Event("building a", 0, 1, "step"), 0) == pytest.approx(200)
    assert left(Event("building a", 0, 0, "", "rounding"), 50) == pytest.approx(150)
    # It took twice as long as was foreseen: so will the rest, more or less.
    assert 100 < left(Event("building b", 0, 1, "step"), 200) == pytest.approx(100 * 1.83, rel=0.01)
    begun = left(Event("evaluating 2 variants", 0, 100), 300)
    assert begun == pytest.approx(50 * 1.88, rel=0.01)
    # What is counted tells its own pace.
    assert left(Event("evaluating 2 variants", 90, 100), 327) < 0.6 * begun
    assert left(Event("rendering the report", 0, 1, "reports"), 400) == pytest.approx(0)
    assert heard[0].work == "building a"


def test_a_wait_is_no_sign_of_a_slow_machine_and_nobody_knows_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, heard, under_way = Clock(), list[Event](), UnderWay("reading")
    monkeypatch.setattr("bench.pipeline.remaining.time", clock)
    stages = (Stage("build", "1", Estimate(), (("building a", Estimate(100, 100)),)),)
    remaining = Remaining(stages, heard.append)
    before, wait = Event("building a", 0, 1, "step"), Event("waiting for another run (who)", 0, 1, "wait", "why")
    rounding = Event("building a", 0, 0, "", "rounding")
    for now, event in ((0, before), (20, wait), (620, replace(wait, done=1)), (660, rounding)):
        clock.now = now
        remaining(event)
        under_way.take(heard[-1])
        if event is wait:
            assert under_way.view().left_s is None
    assert [reported.left_s for reported in heard] == [pytest.approx(100), None, None, pytest.approx(40)]


def test_what_takes_no_time_leaves_none_to_tell() -> None:
    events: list[Event] = []
    stage = Stage("build", "1 artifact", Estimate(), (("building q8", Estimate()),))
    Remaining([stage], events.append)(Event("building q8", 0, 1, "step"))
    assert events == [Event("building q8", 0, 1, "step")]


def test_what_nobody_can_foresee_is_not_told() -> None:
    heard: list[Event] = []
    stages = (Stage("build", "1", Estimate(1, 2, unknown=frozenset({"recover on cuda"}))),)
    Remaining(stages, heard.append)(Event("evaluating", 0, 3))
    assert heard == [Event("evaluating", 0, 3)]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (132, "2 min 12 s"), (3900, "1 h 5 min")]
)
def test_durations_are_spoken(seconds: float, text: str) -> None:
    assert spoken(seconds) == text


def test_something_is_shown_before_anything_heavy_is_imported(tmp_path: Path) -> None:
    """Not even pandas and NumPy, which take most of the start."""
    code = textwrap.dedent(
        """
        import sys
        from bench import cli, progress
        def drawn(self):
            heavy = {"numpy", "pandas", "torch", "onnxruntime", "matplotlib"} & set(sys.modules)
            print("shown", sorted(heavy))
            sys.exit()
        progress.Bars.__enter__ = drawn
        sys.argv[1:] = ["run"]
        cli.main()
        """
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.stdout == "shown []\n", ran.stderr
