"""Whatever lies where a finished run left its files: an answer in time, exit code 0 to 3, and no harm done."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.conftest import write_frames
from tests.support import stored_damage, tiny
from tests.support.forked_runs import ForkingProcess
from tests.support.pace import limit
from tests.support.stored_damage import SECRET, Damage

PATIENCE_SECONDS = 20
DEFAULT_CASES, SLOW_CASES = 60, 6000
COMMANDS = ("plan", "clean", "export", "accept", "report", "check", "run")
QUICK = ("plan", "clean", "export", "accept", "run")
EXPORT, CHECK = ["export", "q8", "--to", "out"], ["check", "--against", "accepted.json"]

YAML = """
detectors: {mine: {architecture: tiny, weights: best_model.tar, preprocessing: {preset: fsbi, size: 32}}}
datasets: {faces: {path: faces}}
experiments:
  first:
    detector: mine
    frames: faces
    device: cpu
    threads: 1
    timing: {seconds: 0.02}
    gallery: {top: 1}
    gates: {all: {auc: 0}}
    variants:
      baseline: []
      q8: [quantize: int8]
      p50: [prune: 0.5, recover: {steps: 1, batch_size: 8}]
"""


class Benches(ForkingProcess):
    """Runs of `bench` that are forked from a process which has done a whole run already."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.log = folder / "output.log"

    def run(self, folder: Path, arguments: Sequence[str]) -> tuple[int | None, str]:
        """Exit code, None where it took too long, and all that was printed."""
        self.log.unlink(missing_ok=True)
        self.order(folder=str(folder), log=str(self.log), arguments=list(arguments))
        process = int(self.line(60) or 0)
        status = self.line(limit(PATIENCE_SECONDS))
        if status is None:
            os.kill(process, signal.SIGKILL)
            self.line(60)
            return None, self.log.read_text(errors="replace")
        return os.waitstatus_to_exitcode(int(status)), self.log.read_text(errors="replace")


@pytest.fixture(scope="module")
def benches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Benches]:
    benches = Benches(tmp_path_factory.mktemp("server"))
    yield benches
    benches.process.kill()
    benches.process.wait()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, benches: Benches) -> Path:
    """A folder in which `bench run` and `bench accept` were. It is copied back to the place where they were.

    Digests of frames are kept under that place.
    """
    folder = tmp_path_factory.mktemp("case") / "received"
    folder.mkdir()
    tiny.save_weights(folder / "best_model.tar")
    for seed, (split, count) in enumerate((("test", 6), ("validation", 2), ("calibration", 8), ("train", 8))):
        write_frames(folder / "faces" / split, count, count, seed)
        (folder / "faces" / split / "fake" / "method").mkdir()
        (folder / "faces" / split / "fake/000.png").rename(folder / "faces" / split / "fake/method/000.png")
    shutil.copy(folder / "faces/test/real/001.png", folder / "faces/test/real/copy.png")
    (folder / "experiments.yaml").write_text(YAML)
    benches.order(figures=False)
    benches.order(folder=str(folder), log=str(benches.log), here=True)
    assert (benches.line(limit(200)) or "").strip() == "0", benches.log.read_text()
    code, output = benches.run(folder, ["accept", "--anyway"])
    assert code == 0, output
    pristine = folder.parent.parent / "finished"
    shutil.copytree(folder, pristine)
    return pristine


def outside(root: Path) -> Path:
    """What belongs to whoever opens the folder."""
    folder = root / "outside" / "folder"
    folder.mkdir(parents=True)
    (folder.parent / "secret").write_text(SECRET)
    for name in ("diary.txt", "000.png.jpg", "run.json"):
        (folder / name).write_text(SECRET)
    return folder.parent


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def faults(code: int | None, output: str) -> list[str]:
    """What no command may end in."""
    lines = output.splitlines()
    wrong = [] if code in (0, 1, 2, 3) else [f"exit code {code}"]
    wrong += [line for line in lines if line.startswith("Traceback") or line.lstrip().startswith("::")]
    return wrong + (["a secret is told"] if SECRET in output else [])


def judge(benches: Benches, finished: Path, damage: Damage, commands: Sequence[str]) -> list[str]:
    """What is wrong after the damage with what these commands do, one after the other in the same folder."""
    root = finished.parent / "case0"
    shutil.rmtree(root, ignore_errors=True)
    folder, other = root / "received", outside(root)
    shutil.copytree(finished, folder)
    damage.make(folder)
    before, wrong = content(other), []
    for command in commands:
        arguments = {"export": EXPORT, "check": CHECK}.get(command, [command])
        code, output = benches.run(folder, arguments)
        wrong += [f"{command}: {fault}\n{output[-3000:]}" for fault in faults(code, output)]
        if content(other) != before:
            wrong.append(f"{command}: wrote or removed files elsewhere")
        if list(folder.rglob("executed*")):
            wrong.append(f"{command}: executed something")
        if any(SECRET.encode() in path.read_bytes() for path in _new_files(folder)):
            wrong.append(f"{command}: handed out a secret")
        if wrong:
            break
    return [f"{damage}: {fault}" for fault in wrong]


def _new_files(folder: Path) -> Iterator[Path]:
    """Pages and what is handed over."""
    yield from (path for path in (folder / "out").rglob("*") if path.is_file())
    yield from (
        path for path in (folder / "reports/first").glob("report.*") if path.is_file() and not path.is_symlink()
    )


def chosen(finished: Path, most: int) -> list[tuple[Damage, tuple[str, ...]]]:
    """Damages with the commands that meet them; of all of them the same `most` ones each time, of each file some."""
    random_ = random.Random(5)
    by_file: dict[str, list[Damage]] = {}
    for damage in stored_damage.of_all(finished):
        by_file.setdefault(damage.file, []).append(damage)
    each = most // len(by_file)
    sample = [damage for damages in by_file.values() for damage in random_.sample(damages, min(each, len(damages)))]
    return [(damage, (random_.choice(QUICK if most == DEFAULT_CASES else COMMANDS),)) for damage in sample]


def test_stored_files_may_be_anything(benches: Benches, finished: Path) -> None:
    wrong = []
    for damage, commands in chosen(finished, DEFAULT_CASES):
        wrong += judge(benches, finished, damage, commands)
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.slow
@pytest.mark.timeout(20_000)
def test_all_stored_files_may_be_anything(benches: Benches, finished: Path) -> None:
    """`FUZZ_PART=2/10` takes the second tenth of all damages."""
    part, parts = map(int, os.environ.get("FUZZ_PART", "1/1").split("/"))
    cases = chosen(finished, SLOW_CASES)[part - 1 :: parts]
    wrong = []
    for damage, commands in cases:
        wrong += judge(benches, finished, damage, commands)
    assert not wrong, f"{len(wrong)} of {len(cases)}\n" + "\n\n".join(wrong)
