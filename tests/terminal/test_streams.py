"""Streams that are closed, full or not there: all work is done, and the exit code is what it earned."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bench import streams
from bench.progress import Bars
from bench.records import Event
from tests.support.bad_input_cases import ENDINGS, Ending
from tests.support.pace import limit

BENCH = f"bench() {{ {sys.executable} -c 'from bench.cli import main; main()' \"$@\"; }}; set -o pipefail; "


@pytest.mark.parametrize("ending", ENDINGS, ids=[ending.what for ending in ENDINGS])
def test_ending(ending: Ending, tmp_path: Path) -> None:
    ran = subprocess.run(
        ["bash", "-c", BENCH + ending.shell], cwd=tmp_path, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert ran.returncode == ending.code, ran
    assert ending.stderr_text in ran.stderr
    assert bool(ran.stderr) == bool(ending.stderr_text), ran.stderr
    assert "Traceback" not in ran.stderr


WORK = """
import sys
from bench import interrupts, progress, streams
from bench.records import Event
streams.guard()
interrupts.catch()
if sys.argv[1] == "show":
    with progress.Bars() as bars:
        for done in range(3001):
            bars(Event("evaluating", done, 3000))
            bars(Event(f"warning {done}", 1, 1, "warning"))
    print("all done", flush=True)
else:
    try:
        print("ready", flush=True)
        sys.stdin.read()
    except KeyboardInterrupt:
        sys.exit(130)
sys.exit(streams.ended(0))
"""


def test_progress_that_nobody_reads_any_more_stops_nothing() -> None:
    reading, writing = os.pipe()
    process = subprocess.Popen([sys.executable, "-c", WORK, "show"], stdout=subprocess.PIPE, stderr=writing)
    os.close(writing)
    assert os.read(reading, 10)
    os.close(reading)
    assert process.communicate(timeout=limit(20))[0] == b"all done\n"
    assert process.returncode == 0


@pytest.mark.parametrize("ignored", [False, True], ids=["a terminal that closes", "nohup"])
def test_hangup(ignored: bool) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", WORK, "wait"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGHUP, before)
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGHUP)
    process.stdin.close()
    assert process.wait(limit(10)) == (0 if ignored else 130)


def test_a_file_does_not_take_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    code = """
import os, sys
from bench import streams
streams.guard()
with open(sys.argv[1], "w") as file:
    os.write(1, b"what a library prints")
    print("and Python", flush=True)
"""
    command = f'{sys.executable} -c "$CODE" "$FILE" <&- >&- 2>&-'
    file = tmp_path / "results"
    environment = os.environ | {"CODE": code, "FILE": str(file)}
    assert subprocess.run(["bash", "-c", f'{command} "{file}"'], env=environment, check=False).returncode == 0
    assert file.read_bytes() == b""


def test_a_pipe_that_does_not_wait_gets_all() -> None:
    """Some programs leave theirs so to whoever they start."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    parts: list[bytes] = []

    def read() -> None:
        while part := os.read(reading, 1000):
            parts.append(part)

    reader = threading.Thread(target=read)
    outlet = streams._Outlet(writing)
    reader.start()
    data = os.urandom(300_000)
    sent = 0
    while sent < len(data):
        sent += outlet.write(data[sent:])
    os.close(writing)
    reader.join(limit(10))
    os.close(reading)
    assert b"".join(parts) == data
    assert outlet.trouble is None


def test_without_standard_error_bars_show_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with Bars() as bars:
        bars(Event("evaluating", 0, 2))
        bars(Event("evaluating", 2, 2))
