"""`bench clean`: shows everything, removes what nothing refers to, and never what it must not."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from bench import locks
from bench.commands import clean
from bench.commands.clean.references import References
from bench.results import store
from bench.variants import cache
from tests.support.command_line import bench

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
        locks.announced(shrunk / "variants" / cache.LOCKS, "running other"),
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
    content, left = (
        "0123456789abcdef",
        [
            Path(f"variants/.tmp-0123456789abcdef-{dead}/model.onnx"),
            Path("variants/.scratch/0123456789abcdef/training.checkpoint"),
            Path(f"datasets/.cache/.bench-{dead}-0123456789ab.tmp"),
            Path(f"datasets/.bench-{dead}-0123456789ab.tmp/drawn/test/x.jpg"),
        ],
    )
    alive = Path(f"datasets/.bench-{os.getpid()}-0123456789ab.tmp")
    elsewhere = Path(f"datasets/.bench-{dead}-abcdefabcdef.tmp")
    in_results = Path(f"results/gone/.bench-{dead}-0123456789ab.tmp")
    for path in (*left, alive, elsewhere, in_results, Path("results/gone/.lock"), Path("results/gone/run.json")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    for path in (*left, *(path.parent for path in left if ".bench" in str(path.parent)), left[3].parents[2], alive):
        os.utime(path, (0, 0))
    output = bench("clean", "--yes")[1]
    assert [path for path in left if path.exists()] == []
    assert not Path("results/gone").exists(), output
    assert alive.exists()
    assert elsewhere.exists(), "another machine's process may be writing it"


def test_what_cannot_be_read_may_refer_to_results(shrunk: Path) -> None:
    text = (shrunk / "experiments.yaml").read_text()
    (shrunk / "other.yaml").write_text(text.replace("  first:", "  second:"))
    shutil.copytree(shrunk / "results/first", shrunk / "results/second")
    (shrunk / "other.yaml").write_text(text.replace("  first:", "  second:").replace("experiments:", "experimints:"))
    (shrunk / "folder.yaml").mkdir()
    code, output = bench("clean", "--yes")
    assert code == 0, output
    assert "what other.yaml refers to cannot be told" in output
    assert "results of second, q16: perhaps used by other.yaml" in output
    assert "record of second: perhaps used by other.yaml" in output
    assert (shrunk / "results/second/q16/predictions.parquet").exists()
    assert (shrunk / "results/second/run.json").exists()
    (shrunk / "other.yaml").unlink()
    bench("clean", "--yes")
    assert not (shrunk / "results/second").exists()


def test_a_leftover_goes_with_its_folder_and_counts_once(shrunk: Path) -> None:
    for variant in ("p50", "q16"):
        (shrunk / f"results/first/{variant}/.bench-{2**22 + 1}-0123456789ab.tmp").write_bytes(b"0" * 2**20)
    (going,) = [line for line in bench("clean")[1].splitlines() if line.endswith("can go") and "/p50" in line]
    assert 1.0 <= float(going.split()[1]) < 2.0
    lines = [line.split() for line in bench("clean")[1].splitlines() if "first/q16 " in line or "first/q16/" in line]
    assert sum(float(line[1]) for line in lines) < 2.0
    code, output = bench("clean", "--yes")
    assert code == 0, output
    assert not (shrunk / "results/first/p50").exists()
    assert [path.name for path in (shrunk / "results/first/q16").glob(".bench-*")] == []


def test_what_another_process_removes_meanwhile_stops_nothing(shrunk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (shrunk / "experiments.yaml").read_text()
    (shrunk / "experiments.yaml").write_text(text.replace("  first:", "  second:"))
    items = list(clean._results(Path("results"), References()))
    monkeypatch.setattr(clean, "_results", lambda *_: items)
    shutil.rmtree(shrunk / "results/first")
    code, output = bench("clean", "--yes")
    assert code == 0, output
    assert not (shrunk / "results/first").exists()


def test_ids_do_not_depend_on_what_runs_here(shrunk: Path) -> None:
    path = shrunk / "experiments.yaml"
    path.write_text(path.read_text().replace("device: cpu", "runtime: tensorrt"))
    code, output = bench("clean")
    assert code == 0, output
    assert "runtime: tensorrt" in path.read_text()
    assert "variant q16 (weights > cast: fp16): used by first" in output
    assert "cannot be told" not in output
