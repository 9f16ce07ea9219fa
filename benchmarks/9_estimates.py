"""How often a run ends within the time that `bench plan` foresees just before it, quiet and beside busy loops."""

from __future__ import annotations

import argparse
import contextlib
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed import show, spread, working_folder

from bench.commands.init import write_starter

_BENCH = "from bench.cli import main; main()"
# What starts is not yet what goes on.
_STARTING_SECONDS = 2.0
_UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}
_TOTAL = re.compile(r"^total +≈ (?:([\d.,]+)–)?([\d.,]+) (s|min|h)$", re.M)


@dataclass(frozen=True)
class Trial:
    """What was foreseen, in seconds, and what it took."""

    low_s: float
    high_s: float
    took_s: float

    @property
    def hit(self) -> bool:
        return self.low_s <= self.took_s <= self.high_s


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    given = _options().parse_args(arguments)
    rows: list[list[object]] = []
    with working_folder(given.folder) as folder:
        write_starter(folder)
        if given.seconds is not None:
            file = folder / "experiments.yaml"
            file.write_text(file.read_text().replace("timing: {seconds: 3}", f"timing: {{seconds: {given.seconds:g}}}"))
        # The first run draws the frames; it is a trial of its own kind, and left out.
        _output(folder, ["run", "--only", given.draw])
        for loops in given.loops:
            for from_records in (False, True) if given.known else (False,):
                trials = [_trial(folder, given.only, loops, from_records=from_records) for _ in range(given.runs)]
                rows.append(_row(loops, from_records, trials))
    show(
        f"9. Time foreseen, demo, variants {given.only}",
        ["busy loops", "earlier runs", "ended within the range", "widest range", "took / middle", "took, s"],
        rows,
        "The range is the total of `bench plan`, taken just before the run; its middle is the geometric mean of its "
        "ends. Without earlier runs nothing is built yet; with them, all is built and measured again, by what the "
        "folder knows. Medians (quartiles).",
    )


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder if left out")
    parser.add_argument("--runs", type=int, default=10, help="runs of each kind")
    parser.add_argument("--only", default="q16,q8", help="variants, as for `bench run`")
    parser.add_argument("--draw", default="baseline", help="variants of the first run, which draws the frames")
    parser.add_argument("--loops", type=int, nargs="+", default=[0, 1], help="busy loops beside the runs")
    parser.add_argument("--known", action="store_true", help="also with what earlier runs in the folder tell")
    parser.add_argument("--seconds", type=float, help="of timing, a variant and batch size; the demo's 3 if left out")
    return parser


def _trial(folder: Path, only: str, loops: int, *, from_records: bool) -> Trial:
    """What `bench plan` foresees, and what the run right after it takes."""
    _forget(folder, from_records=from_records)
    with _busy(loops):
        time.sleep(_STARTING_SECONDS)
        foreseen = _TOTAL.search(_output(folder, ["plan", "--only", only]))
        assert foreseen, "plan foresees nothing"
        low, high, unit = foreseen.groups()
        began = time.perf_counter()
        _output(folder, ["run", "--only", only])
        took_s = time.perf_counter() - began
    low_s, high_s = (float(end.replace(",", "")) * _UNITS[unit] for end in (low or high, high))
    return Trial(low_s, high_s, took_s)


def _forget(folder: Path, *, from_records: bool) -> None:
    """Have everything made again; where earlier runs are to be `from_records`, their records stay, and nothing else."""
    for room in ("reports", *(() if from_records else ("results", "variants"))):
        shutil.rmtree(folder / room, ignore_errors=True)
    for file in (*(folder / "variants").glob("*/model*"), *(folder / "results").glob("*/*/predictions.json")):
        file.unlink()
    for file in (folder / "results").glob("*/*/measurements.json"):
        file.unlink()


@contextlib.contextmanager
def _busy(loops: int) -> Iterator[None]:
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(loops)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _row(loops: int, from_records: bool, trials: Sequence[Trial]) -> list[object]:
    middles = [trial.took_s / (trial.low_s * trial.high_s) ** 0.5 for trial in trials]
    widest = max(trial.high_s / trial.low_s for trial in trials)
    hits = f"{sum(trial.hit for trial in trials)} of {len(trials)}"
    took = spread([trial.took_s for trial in trials], 0)
    return [loops, "known" if from_records else "none", hits, f"{widest:.2f}", spread(middles), took]


def _output(folder: Path, words: Sequence[str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _BENCH, *words], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout


if __name__ == "__main__":
    main()
