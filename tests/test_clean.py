"""`bench clean`: shows everything, removes what nothing refers to, and never what it must not."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from bench import locks
from bench.results import store
from bench.variants import build
from tests.test_pipeline import bench

_done: list[Path] = []


@pytest.fixture
def shrunk(workplace: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose experiment has since lost its variant p50; made once, then copied."""
    monkeypatch.chdir(workplace)
    if _done:
        shutil.copytree(_done[0], workplace, dirs_exist_ok=True)
        return workplace
    path = workplace / "experiments.yaml"
    text = re.sub(r"( +)baseline: \[\].*", r"\1baseline: []\n\1q16: [cast: fp16]\n", path.read_text(), flags=re.DOTALL)
    path.write_text(text + "      p50: [prune: 0.5]\n      q16-p50: [prune: 0.5, cast: fp16]\n")
    assert bench("run")[0] == 0
    path.write_text(text + "      q16-p50: [prune: 0.5, cast: fp16]\n")
    _done.append(tmp_path_factory.mktemp("done"))
    shutil.copytree(workplace, _done[0], dirs_exist_ok=True)
    return workplace


def names(folder: Path) -> set[str]:
    """What the built variants are called."""
    return {json.loads(path.read_text())["name"] for path in folder.glob("variants/*/variant.json")}


def test_shows_without_touching_and_removes_on_request(shrunk: Path) -> None:
    before = sorted(shrunk.rglob("*"))
    code, output = bench("clean")
    assert code == 0
    assert sorted(path for path in shrunk.rglob("*") if "/.locks" not in str(path)) == [
        path for path in before if "/.locks" not in str(path)
    ]
    assert re.search(r"results/first/p50 .* MiB  results of first, p50: can go", output)
    assert "variant q16 (weights > cast: fp16): used by first" in output
    # q16-p50 goes on from the pruned one, so that is in use though no variant of the file is called so any more.
    assert "variant p50 (weights > prune: 0.5): used by first" in output
    assert "`bench clean --yes`" in output

    (shrunk / "variants/thesis.txt").touch()
    (shrunk / "experiments.yaml").write_text(
        (shrunk / "experiments.yaml").read_text().replace("      q16-p50: [prune: 0.5, cast: fp16]\n", "")
    )
    code, output = bench("clean", "--yes")
    assert code == 0, output
    assert names(shrunk) == {"baseline", "q16"}
    assert {path.name for path in (shrunk / "results/first").iterdir() if path.is_dir()} == {"baseline", "q16"}
    assert (shrunk / "variants/thesis.txt").exists()
    assert "in use" in bench("clean")[1].splitlines()[-1]
    assert bench("run")[0] == 0


def test_what_a_run_holds_stays(shrunk: Path) -> None:
    with (
        locks.announced(shrunk / "variants" / build.LOCKS, "running other"),
        store.locked(shrunk / "results/first", "running first"),
    ):
        (shrunk / "experiments.yaml").write_text(
            (shrunk / "experiments.yaml").read_text().replace("      q16-p50: [prune: 0.5, cast: fp16]\n", "")
        )
        code, output = bench("clean", "--yes")
    assert code == 0
    assert f"in use by process {os.getpid()} that is running other" in output
    assert f"in use by process {os.getpid()} that is running first" in output
    assert names(shrunk) == {"baseline", "q16", "p50", "q16-p50"}
    assert (shrunk / "results/first/p50").exists()


def test_without_the_frames_variants_are_kept(shrunk: Path) -> None:
    (shrunk / "faces").rename(shrunk / "faces away")
    code, output = bench("clean", "--yes")
    assert code == 0, output
    assert "perhaps used by first" in output
    assert "the variants of first cannot be told" in output
    assert names(shrunk) == {"baseline", "q16", "p50", "q16-p50"}
    assert not (shrunk / "results/first/p50").exists(), "whether results are referred to does not depend on frames"


def test_other_experiment_files_count_and_foreign_files_stay(shrunk: Path) -> None:
    text = (shrunk / "experiments.yaml").read_text()
    (shrunk / "other.yaml").write_text(text.replace("  first:", "  second:") + "      p50: [prune: 0.5]\n")
    (shrunk / "experiments.yaml").write_text(text.replace("      q16-p50: [prune: 0.5, cast: fp16]\n", ""))
    (shrunk / "results/first/p50/notes.txt").touch()
    output = bench("clean", "--yes")[1]
    assert "variant p50 (weights > prune: 0.5): used by second" in output
    assert "results of first, p50: holds what is not bench's: notes.txt" in output
    assert (shrunk / "results/first/p50/predictions.parquet").exists()
    assert not (shrunk / "results/first/q16-p50").exists()


def test_leftovers_of_killed_runs_go(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    dead = 2**22 + 1
    mine, left = (
        "0123456789abcdef",
        [
            Path(f"variants/.tmp-0123456789abcdef-{dead}/model.onnx"),
            Path("variants/.scratch/0123456789abcdef/checkpoint.pt"),
            Path(f"datasets/.cache/.bench-{dead}-0123456789ab.tmp"),
            Path(f"datasets/.bench-{dead}-0123456789ab.tmp/drawn/test/x.jpg"),
        ],
    )
    alive = Path(f"datasets/.bench-{os.getpid()}-0123456789ab.tmp")
    for path in (*left, alive, Path("results/gone/.lock"), Path("results/gone/run.json")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(mine)
    output = bench("clean", "--yes")[1]
    assert [path for path in left if path.exists()] == []
    assert not Path("results/gone").exists(), output
    assert alive.exists()
