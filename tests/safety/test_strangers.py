"""A folder that came from a stranger: nothing in it is executed, and nothing is handed out that is not an artifact."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import pandas as pd
import pytest

from bench import seals
from bench.commands.export import texts
from bench.variants.description import DESCRIPTION
from tests.conftest import write_workplace
from tests.support import ROOT
from tests.support.command_line import bench

# Modules that Python and libraries import late, those that every process imports first, and libraries themselves.
POISONED = (
    "socket", "random", "struct", "typing", "torch", "numpy", "sitecustomize", "pickle", "signal", "tempfile", "runpy",
    "multiprocessing", "encodings", "onnxruntime", "psutil", "json", "selectors", "usercustomize", "cv2", "secrets",
)  # fmt: skip

PROGRAM = """
import sys
sys.path[0] = {root!r}
from tests.support import interrupted_runs
interrupted_runs.prepare()
from bench import cli
from bench.results import timing
timing.start = interrupted_runs._start
sys.argv = ["bench", {command!r}]
cli.main()
"""


def poison(folder: Path) -> None:
    for name in POISONED:
        marker = folder / f"executed-{name}"
        (folder / f"{name}.py").write_text(f"open({str(marker)!r}, 'w').close()\nraise ImportError('poisoned')\n")


def executed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("executed*"))


def started(folder: Path, program: Path, command: str) -> subprocess.CompletedProcess[str]:
    """As the command `bench` is started: by a script that lies elsewhere."""
    program.write_text(PROGRAM.format(root=str(ROOT), command=command))
    variables = {key: value for key, value in os.environ.items() if key not in ("PYTHONSAFEPATH", "PYTHONPATH")}
    return subprocess.run(
        [sys.executable, str(program)], cwd=folder, env=variables, capture_output=True, text=True, check=False
    )


def test_modules_in_the_working_folder_are_not_imported(tmp_path: Path) -> None:
    """A whole run with its timing processes; the same folder without them is as fast."""
    folder = tmp_path / "received"
    folder.mkdir()
    write_workplace(folder)
    text = (folder / "experiments.yaml").read_text().partition("      q8: ")[0]
    (folder / "experiments.yaml").write_text(text)
    poison(folder)
    done = started(folder, tmp_path / "program.py", "run")
    assert (done.returncode, executed(folder)) == (0, []), done.stderr
    assert "failed" not in (folder / "reports/first/report.md").read_text()


def test_python_m_bench_takes_nothing_from_the_working_folder(tmp_path: Path) -> None:
    """But for `runpy` and what every start of Python imports, which Python itself looks for there: `python -P -m`."""
    for name in sorted({*POISONED} - {"runpy", "encodings", "sitecustomize", "usercustomize"}):
        (tmp_path / f"{name}.py").write_text(f"open('executed-{name}', 'w').close()\n")
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    variables.pop("PYTHONSAFEPATH", None)
    for command in (["--version"], ["list"]):
        done = subprocess.run(
            [sys.executable, "-m", "bench", *command], cwd=tmp_path, env=variables, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert (done.returncode, executed(tmp_path)) == (0, []), done.stderr


IMPORTED = """
import json, multiprocessing, sys
import bench.provenance
from bench import safe_path
from bench.commands.doctor import findings
with safe_path.protected(), multiprocessing.get_context("spawn").Pool(1) as pool:
    started = pool.apply(eval, ("__import__('bench.results.timing.worker').__file__",))
asked = findings.ask("onnxruntime")
print(json.dumps([bench.__file__, started, list(asked), bench.provenance.version("bench")]))
"""


@pytest.mark.parametrize("from_source", [True, False])
@pytest.mark.parametrize("start", [["-"], ["-c", IMPORTED]])
def test_a_process_imports_the_bench_that_started_it(tmp_path: Path, start: list[str], from_source: bool) -> None:
    """A source tree as the working folder, another bench installed; and another bench in the working folder."""
    other = tmp_path / "other/bench"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("raise ImportError('another bench')\n")
    information = other.parent / "bench-99.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: bench\nVersion: 99.0\n")
    python = [sys.executable] if from_source else [sys.executable, "-P"]
    folder, path = (ROOT, other.parent) if from_source else (other.parent, ROOT)
    variables = {**os.environ, "PYTHONPATH": str(path)}
    variables.pop("PYTHONSAFEPATH", None)
    done = subprocess.run(
        [*python, *start], input=IMPORTED, cwd=folder, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    package, started, asked, version = json.loads(done.stdout)
    assert package == started == str(ROOT / "bench/__init__.py")
    assert asked
    assert version != "99.0"


# --------------------------------------------------------------------------------------------- what is handed out
@pytest.fixture
def finished(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run of three variants."""
    monkeypatch.chdir(workplace)
    text = (workplace / "experiments.yaml").read_text().partition("      q32-p50: ")[0]
    (workplace / "experiments.yaml").write_text(text)
    code, output = bench("run")
    assert code == 0, output
    return workplace


def scores(folder: Path) -> dict[str, Any]:
    scores_json: dict[str, Any] = json.loads((folder / "reports/first/scores.json").read_text())
    return scores_json


def test_only_an_artifact_is_handed_out(finished: Path) -> None:
    """Not the file that variant.json names: a stranger's names a key of whoever opens the folder."""
    folder = finished / "variants" / scores(finished)["variants"]["q8"]["id"]
    description, artifact = folder / DESCRIPTION, (folder / "model.onnx").read_bytes()
    before = json.loads(description.read_text())
    (finished / "w.pth").write_text("private")
    for name in ("../../w.pth", str(finished / "w.pth"), 'm" + str(open("X","w")) + "', "model.safetensors"):
        changed = {**before, "file": name, "size_bytes": 7}
        del changed["sha256"]
        description.write_text(json.dumps(changed))
        code, output = bench("export", "q8", "--to", "out")
        assert (code, (finished / "out").exists(), (finished / "X").exists()) == (2, False, False), output
    description.write_text(json.dumps(before))
    (finished / "secret.onnx").write_bytes(artifact)
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to(finished / "secret.onnx")
    code, output = bench("export", "q8", "--to", "out")
    assert (code, "is gone from" in output) == (2, True), output
    assert bench("run")[0] == 0
    assert not (folder / "model.onnx").is_symlink(), "built anew"
    assert bench("export", "q8", "--to", "out")[0] == 0


@pytest.mark.parametrize("text", ['m" + str(open("X","w")) + "', "a\\", "a\nb", '"""', "{{ 1 }}", "\udcff", "ü"])
def test_text_enters_code_as_a_literal_and_markdown_escaped(text: str) -> None:
    assert ast.literal_eval(texts._literal(text)) == text
    assert "`" not in texts._code(f"a`b{text}")[1:-1]
    assert "\n" not in texts._code(text)


# ------------------------------------------------------------------------------------------------ what is executed
def amplify(path: Path) -> None:
    """The head's weights times -30, and beside it a seal that a stranger can make."""
    model = onnx.load(path)
    weights = next(initializer for initializer in model.graph.initializer if sorted(initializer.dims)[-2:] == [2, 64])
    values = onnx.numpy_helper.to_array(weights) * -30
    weights.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), weights.name))
    onnx.save(model, path)
    path.with_suffix(".seal").write_text(seals.seal(path, b"a stranger's secret, 32 bytes...", "exported"))


def test_a_strangers_derived_graph_is_made_anew(finished: Path) -> None:
    """With the head's weights times -30 in the exported file, everything was evaluated without a word."""
    derived = [path for what in ("exported", "lowered") for path in finished.glob(f"variants/*/model.{what}-*.onnx")]
    before = {path: path.read_bytes() for path in derived}
    assert len(before) >= 2
    for path in derived:
        amplify(path)
    file = finished / "results/first/baseline/predictions.parquet"
    predictions = pd.read_parquet(file)
    shutil.rmtree(finished / "results")
    assert bench("run")[0] == 0
    assert {path: path.read_bytes() for path in derived} == before
    pd.testing.assert_frame_equal(pd.read_parquet(file), predictions)


def test_a_strangers_digests_of_frames_are_not_believed(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They could say that files on both sides are the same, or other ones; nor are another user's."""
    frames = scores(finished)["frames"]
    (cache,) = (finished / "datasets/.cache").glob("*.json")
    seal, _, data = cache.read_text().partition("\n")
    digests = json.loads(data)
    digests["files"] = {
        path: [size, mtime, ["0" * 64, wrong, mask]]
        for path, (size, mtime, (_, wrong, mask)) in digests["files"].items()
    }
    cache.write_text(f"{seal}\n{json.dumps(digests)}")
    assert bench("run")[0] == 0
    assert scores(finished)["frames"] == frames
    assert cache.read_text() == f"{seal}\n{data}", "written anew"
    monkeypatch.setenv("XDG_STATE_HOME", str(finished / "another user"))
    assert bench("clean")[0] == 0
    assert cache.read_text() == f"{seal}\n{data}", "each user has their own"
    assert len(list((finished / "datasets/.cache").glob("*.json"))) == 2


def test_scores_that_a_stranger_wrote_are_scored_again(finished: Path) -> None:
    """Gates are judged by them."""
    path = finished / "reports/first/scores.json"
    before = path.read_text()
    forged = json.loads(before)
    forged["variants"]["q8"]["auc"] = 1.0
    path.write_text(json.dumps(forged))
    assert bench("run")[0] == 0
    assert path.read_text() == before


def test_nothing_is_removed_where_a_link_leads(finished: Path) -> None:
    """Heatmaps that are out of date are."""
    other = finished / "diary"
    other.mkdir()
    (other / "page.txt").write_text("private")
    heatmaps = next((finished / "results/first/q8/result").glob("*/heatmap"))
    shutil.rmtree(heatmaps)
    heatmaps.symlink_to(other)
    assert bench("report")[0] == 0
    assert [path.name for path in other.iterdir()] == ["page.txt"]
    assert not heatmaps.is_symlink()


def test_weights_beside_an_artifact_are_not_taken_for_its_own(finished: Path) -> None:
    """ONNX files may name further files, which no digest covers: they could be changed unseen."""
    import onnx
    from onnx.external_data_helper import set_external_data

    (model,) = finished.glob("variants/*/model.onnx")
    graph = onnx.load(model)
    tensor = max(graph.graph.initializer, key=lambda initializer: len(initializer.raw_data))
    (model.parent / "w.bin").write_bytes(tensor.raw_data)
    set_external_data(tensor, location="w.bin")
    tensor.ClearField("raw_data")
    model.write_bytes(graph.SerializeToString())
    description = model.with_name("variant.json")
    fields = json.loads(description.read_text())
    fields |= {"sha256": hashlib.sha256(model.read_bytes()).hexdigest(), "size_bytes": model.stat().st_size}
    description.write_text(json.dumps(fields))
    code, output = bench("export", "q8", "--to", str(finished / "out"))
    assert code == 2, output
    assert "refers to further files for its weights" in " ".join(output.split())
    assert bench("run")[0] == 0
    assert not any(
        initializer.external_data for initializer in onnx.load(model, load_external_data=False).graph.initializer
    )
