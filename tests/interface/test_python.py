"""`import bench` from scripts and notebooks: the same work and numbers as the commands, and nothing printed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from PIL import Image

import bench
from bench import interrupts, stored
from bench.interface.results import Results
from bench.interface.variant_scores import VariantScores
from bench.records import Event, OnEvent
from tests.conftest import run_quickly, write_workplace
from tests.support import ROOT
from tests.support.command_line import bench as command
from tests.support.pace import limit
from tests.support.published_rules import check_predictions, check_verdicts, stored_predictions

# Random weights remember nothing of any frames.
pytestmark = pytest.mark.filterwarnings("ignore:These weights look trained:UserWarning")

VARIANTS = {"baseline": "[]", "q16": "[cast: fp16]", "q8": "[quantize: int8]"}


def write_small_workplace(folder: Path) -> Path:
    """That of conftest, with a few variants."""
    write_workplace(folder)
    file = folder / "experiments.yaml"
    head = file.read_text(encoding="utf-8").split("    variants:")[0]
    lines = [f"      {name}: {steps}\n" for name, steps in VARIANTS.items()]
    file.write_text(f"{head}    variants:\n{''.join(lines)}", encoding="utf-8")
    return file


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    run_quickly(monkeypatch)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `bench.run` was called once."""
    path = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        run_quickly(patch)
        bench.run(file=write_small_workplace(path))
    return path


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    shutil.copytree(folder, tmp_path / "copy")
    return tmp_path / "copy"


def run_python(program: str, *arguments: str, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments],
        input=program,
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
        timeout=limit(240),
        check=False,
        **options,
    )


# ------------------------------------------------------------------------------------------- import
def test_importing_is_fast_and_imports_nothing_heavy(tmp_path: Path) -> None:
    program = """
import sys, time
began = time.perf_counter()
import bench
bench.UserError, bench.run, bench.read, bench.load, bench.score
heavy = [name for name in ("torch", "pandas", "numpy", "onnxruntime", "pydantic", "sklearn") if name in sys.modules]
print(heavy, bench.__all__)
"""
    done = run_python(program, "-", cwd=tmp_path)
    assert done.stdout.strip() == "[] ['UserError', 'load', 'read', 'run', 'score']", done.stderr
    times = []
    for _ in range(3):
        report = run_python("", "-X", "importtime", "-c", "import bench", cwd=tmp_path).stderr
        times.append(
            next(int(line.split("|")[1]) for line in report.splitlines() if line.split("|")[-1].strip() == "bench")
        )
    assert min(times) < limit(0.1) * 1e6


def test_only_the_promised_names_are_there() -> None:
    assert set(bench.__all__) <= set(dir(bench))
    with pytest.raises(AttributeError, match="no attribute 'train'"):
        _ = bench.train
    assert (ROOT / "bench/py.typed").exists()


# ---------------------------------------------------------------------------------------------- run
def test_run_gives_what_the_command_gives(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = bench.run("first", copy / "experiments.yaml")
    monkeypatch.chdir(copy)
    code, output = command("run", "--json")
    assert code == 0
    assert results.scores == json.loads(output[output.index("{") : output.rindex("}") + 1])
    assert list(results.variants) == ["baseline", "q16", "q8"]
    assert results.baseline == "baseline"
    assert results.verdicts["baseline"] == "baseline"
    assert results.folder is not None
    assert (results.folder / "report.html").exists()
    assert results.failed == {}


def test_verdicts_and_flips_are_those_of_the_stored_predictions(folder: Path) -> None:
    """By the rules of the page and other libraries, from what the run left."""
    content = json.loads((folder / "reports/first/scores.json").read_text(encoding="utf-8"))
    assert check_verdicts(content) == 2
    tables = stored_predictions(folder / "results/first")
    assert list(tables) == sorted(content["variants"])
    check_predictions(content, tables)


def test_run_and_read_print_nothing(copy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = copy / "experiments.yaml"
    bench.run(file=file, only="q8")
    bench.read(copy / "reports/first")
    bench.load(next((copy / "variants").glob("[0-9a-f]*"))).predict(np.zeros((1, 32, 32, 3), np.uint8))
    assert capfd.readouterr() == ("", "")


def test_it_runs_in_a_thread_with_bars_of_tqdm(copy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(copy / "results")
    results: list[Any] = []
    file = copy / "experiments.yaml"
    thread = threading.Thread(target=lambda: results.append(bench.run("first", file, only="baseline", progress=True)))
    thread.start()
    thread.join(limit(120))
    assert results[0].failed == {}
    out, err = capfd.readouterr()
    assert out == ""
    assert "evaluating 1 variant" in err
    run = json.loads((copy / "results/first/run.json").read_text(encoding="utf-8"))
    assert run["provenance"]["command"] == f"bench.run('first', {str(file)!r}, only='baseline')"


@pytest.mark.parametrize("unit", ["wait", "warning"])
def test_what_must_be_known_at_once_is_a_warning(folder: Path, monkeypatch: pytest.MonkeyPatch, unit: str) -> None:
    def wait(*_: object, on_event: OnEvent, **__: object) -> None:
        on_event(Event("process 7 has the lock", 0, 1, unit))
        raise bench.UserError("over")

    monkeypatch.setattr("bench.pipeline.run", wait)
    with pytest.warns(UserWarning, match="process 7"), pytest.raises(bench.UserError, match="over"):
        bench.run(file=folder / "experiments.yaml")


def test_a_variant_that_fails_is_told_and_raises_nothing(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("no such luck")

    shutil.rmtree(artifact(copy, "q8"))
    monkeypatch.setattr("bench.variants.steps.quantize.apply", fail)
    shutil.rmtree(copy / "results")
    results = bench.run(file=copy / "experiments.yaml", timing=False)
    assert "no such luck" in results.failed["q8"]
    assert results.variants["q16"].latency_ms is None
    assert results.variants["q16"].auc is not None
    assert results.variants["q8"].auc is None
    assert "q8 failed: " in repr(results)
    assert results.frame()["auc"].isna().tolist() == [False, False, True]
    with pytest.raises(bench.UserError, match="no such luck"):
        results.predictions("q8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"experiment": "frist"}, "did you mean 'first'"),
        ({"file": "nowhere.yaml"}, "nowhere.yaml"),
        ({"only": ["q7"]}, "q7"),
        ({"only": []}, "names no variant"),
        ({"only": [8]}, "expected names"),
        ({"only": 3}, "only: expected names of variants, such as"),
        ({"only": b"q8"}, "only: expected names of variants"),
        ({"only": iter([" "])}, "names no variant"),
        ({"experiment": 3}, r"experiment: expected its name, found '?3'? \(int\)"),
        ({"experiment": Path("experiments.yaml")}, "the experiment file is `file=`"),
        ({"file": 3}, r"file: expected the path of an experiment file, found '?3'? \(int\)"),
        ({"file": None}, "file: expected the path of an experiment file"),
        ({"file": b"experiments.yaml"}, "file: expected the path of an experiment file"),
        ({"file": "a\0b"}, "file: .* is no path: it holds a null character"),
        ({"device": "gpu"}, "device"),
        ({"device": 3}, "device: 3 is no device here"),
        ({"device": ["cpu"]}, "device: expected auto, cuda or cpu"),
        ({"device": np.array(["cpu", "cuda"])}, "device: expected auto, cuda or cpu"),
        ({"timing": np.array([True, False])}, "timing: expected True, False"),
        ({"timing": "never"}, "timing: expected True, False"),
    ],
)
def test_what_is_wrong_with_a_run_is_a_user_error(folder: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(bench.UserError, match=message):
        bench.run(**{"file": folder / "experiments.yaml"} | arguments)


def test_a_full_disk_is_a_user_error(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "somewhere")

    monkeypatch.setattr("bench.pipeline.run", full)
    with pytest.raises(bench.UserError, match="the disk is full"):
        bench.run(file=copy / "experiments.yaml")


# ---------------------------------------------------------------------------------------- interrupt
@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C interrupts: shells start what runs in the background without that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_an_interrupt_leaves_everything_as_it_was(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(copy / "results")
    handler, hook = signal.getsignal(signal.SIGINT), sys.unraisablehook

    def press(event: Event) -> None:
        if event.work.startswith("evaluating"):
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt as error:
                raise RuntimeError("a library made this of it") from error

    monkeypatch.setattr("bench.interface.call._listen", press)
    with pytest.raises(KeyboardInterrupt):
        bench.run(file=copy / "experiments.yaml", only="baseline")
    assert signal.getsignal(signal.SIGINT) is handler
    assert sys.unraisablehook is hook
    assert not interrupts.interrupted.is_set()
    assert list(copy.rglob("*.tmp")) == []
    monkeypatch.undo()
    run_quickly(monkeypatch)
    assert bench.run(file=copy / "experiments.yaml", only="baseline").failed == {}


def test_a_handler_of_the_user_decides(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    pressed: list[int] = []

    def press(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGINT)
        raise ValueError("went on")

    before = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    monkeypatch.setattr("bench.pipeline.run", press)
    try:
        with pytest.raises(ValueError, match="went on"):
            bench.run(file=folder / "experiments.yaml")
    finally:
        signal.signal(signal.SIGINT, before)
    assert pressed == [signal.SIGINT]


# --------------------------------------------------------------------------------- scripts, notebooks
PREPARED = """
from bench.detectors import families
from bench.detectors.families import efficientnet
from tests.support import tiny
families.modules = lambda: (tiny, efficientnet)
import bench
"""


@pytest.fixture
def untimed(copy: Path) -> Path:
    """Where everything is done but timing, which starts processes of its own."""
    for file in copy.glob("results/first/*/measurements.json"):
        file.unlink()
    return copy


def test_a_script_on_standard_input_runs(untimed: Path) -> None:
    """There is no file of the main module that a started process could import."""
    program = f"{PREPARED}\nresults = bench.run()\nprint(results.failed, results.variants['q16'].speedup is not None)\n"
    done = run_python(program, "-", cwd=untimed)
    assert done.stdout.strip() == "{} True", done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_notebook_runs(untimed: Path, tmp_path: Path) -> None:
    import nbclient
    import nbformat

    cells: Any = nbformat.v4
    code = [
        PREPARED,
        "results = bench.run(progress=True)\nresults",
        "results.frame()[['variant', 'auc', 'auc_low', 'auc_high']]",
        "import os, signal, threading, time, bench.pipeline\n"
        "stop = threading.Timer(1, lambda: os.kill(os.getpid(), signal.SIGINT))\n"
        "bench.pipeline.run = lambda *_, **__: (stop.start(), time.sleep(60))\n"
        "try:\n    bench.run()\nexcept KeyboardInterrupt:\n    print('stopped')",
        "bench.read('reports/first').verdicts['baseline']",
    ]
    notebook = cells.new_notebook(cells=[cells.new_code_cell(source) for source in code])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
        nbclient.NotebookClient(
            notebook, timeout=round(limit(240)), resources={"metadata": {"path": untimed}}
        ).execute()
    outputs = [cell.outputs for cell in notebook.cells]
    shown = next(output for output in outputs[1] if output.output_type == "execute_result")
    assert shown.data["text/html"].startswith("<div><b>Results of first</b></div><table>")
    assert "baseline" in shown.data["text/plain"]
    assert "<table" in outputs[2][0].data["text/html"]
    assert outputs[3][0].text == "stopped\n"
    assert outputs[4][0].data["text/plain"] == "'baseline'"


# --------------------------------------------------------------------------------------------- read
def test_read_takes_either_folder(folder: Path) -> None:
    report = bench.read(folder / "reports/first")
    again = bench.read(folder / "results/first")
    assert report.scores == again.scores == bench.read(folder / "reports/first/scores.json").scores
    assert report.warnings == again.warnings
    frame = report.frame()
    assert frame["variant"].tolist() == ["baseline", "q16", "q8"]
    scored = report.scores["variants"]["q8"]
    row = frame.set_index("variant").loc["q8"]
    assert [row["auc"], row["auc_low"], row["auc_high"]] == [scored["auc"], *scored["auc_ci"]]
    assert [row["tp"], row["latency_ms"]] == [scored["confusion"]["tp"], scored["latency_ms"]["p50"]]
    assert report.variants["q8"].auc_delta == scored["auc_delta"]
    expected = pd.read_parquet(folder / "results/first/q8/predictions.parquet")
    pd.testing.assert_frame_equal(report.predictions("q8"), expected, check_dtype=False)
    pd.testing.assert_frame_equal(again.predictions("q8"), report.predictions("q8"))


def test_read_does_not_mix_a_report_with_other_results(copy: Path, tmp_path: Path) -> None:
    alone = tmp_path / "sent/first"
    shutil.copytree(copy / "reports/first", alone)
    results = bench.read(alone)
    assert "report.md" in results.warnings[0]
    with pytest.raises(bench.UserError, match="no predictions"):
        results.predictions("q8")
    content = json.loads((copy / "reports/first/scores.json").read_text())
    content["variants"]["q8"]["id"] = "0" * 16
    (copy / "reports/first/scores.json").write_text(json.dumps(content))
    with pytest.raises(bench.UserError, match="no predictions"):
        bench.read(copy / "reports/first").predictions("q8")


def test_read_says_what_it_expects(copy: Path) -> None:
    with pytest.raises(bench.UserError, match=r"holds the results of results/first; .* such as .*results.first"):
        bench.read(copy)
    with pytest.raises(bench.UserError, match="did you mean 'q8'"):
        bench.read(copy / "reports/first").predictions("q9")


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content.pop("baseline"),
        lambda content: content.update(variants=[]),
        lambda content: content.update(choice=7),
        lambda content: content["variants"].update(q8=None),
        lambda content: content["variants"]["q8"].update(auc="high"),
        lambda content: content["variants"]["q8"].update(auc_ci=[1, 2, 3]),
        lambda content: content["variants"]["q8"].update(latency_ms=None),
        lambda content: content["variants"]["q8"].pop("confusion"),
    ],
)
def test_a_strangers_scores_are_checked(copy: Path, damage: Any) -> None:
    file = copy / "reports/first/scores.json"
    content = json.loads(file.read_text())
    damage(content)
    file.write_text(json.dumps(content))
    with pytest.raises(bench.UserError, match="damaged"):
        bench.read(file.parent)


def test_what_a_notebook_shows_is_escaped(copy: Path) -> None:
    file = copy / "reports/first/scores.json"
    content = json.loads(file.read_text())
    content["variants"]["<script>\x1b[2J"] = content["variants"].pop("q16")
    content["experiment"] = "::error::<b>"
    file.write_text(json.dumps(content))
    results = bench.read(file.parent)
    assert "<script>" not in results._repr_html_()
    assert "&lt;script&gt;" in results._repr_html_()
    assert "\x1b" not in repr(results) + results._repr_html_()
    assert all(not line.startswith("::") for line in repr(results).splitlines())


# -------------------------------------------------------------------------------------------- score
def arrays(count: int = 200) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    labels = np.arange(count) % 2
    p = 1 / (1 + np.exp(-rng.normal(labels * 2.0 - 1)))
    return pd.DataFrame(
        {
            "frame": [f"v{index % 8}/{index:04d}.png" for index in range(count)],
            "split": np.where(np.arange(count) % 6 < 4, "test", "validation"),
            "label": labels,
            "source": [f"v{index % 8}" for index in range(count)],
            "quality": np.arange(count) % 7 + 75,
            "p_fake": p,
            "q8": np.clip(p + rng.normal(0, 0.05, count), 0, 1),
        }
    )


def test_score_is_the_command_to_the_digit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    table = arrays()
    table.drop(columns="q8").to_csv("baseline.csv", index=False)
    table[["frame", "split"]].assign(p_fake=table["q8"]).to_csv("q8.csv", index=False)
    code, output = command(
        "score", "--name", "scores", "--threshold", "0.4", "--margin", "0.02", "baseline.csv", "q8.csv"
    )
    assert code == 0, output
    columns: Any = {"sources": table["source"], "frames": table["frame"], "splits": table["split"]}
    results = bench.score(
        table["label"],
        {"q8": table["q8"], "baseline": table["p_fake"]},
        attributes={"quality": table["quality"]},
        threshold=0.4,
        margin=0.02,
        **columns,
    )
    of_command = json.loads(Path("reports/scores/scores.json").read_text())
    of_arrays = json.loads(json.dumps(results.scores))
    for scores in (of_command, of_arrays):
        for variant in scores["variants"].values():
            del variant["id"]  # the digest of a file, and of an array
    assert of_arrays == of_command
    assert list(results.variants) == ["baseline", "q8"]
    assert results.recommendation is None
    assert results.qualified
    predictions = results.predictions("q8")
    in_order = pd.concat([table[table["split"] == split] for split in ("test", "validation")])
    assert predictions["p_fake"].tolist() == in_order["q8"].tolist()
    assert predictions["frame"].tolist() == in_order["frame"].tolist()


def test_arrays_of_any_library_are_the_same() -> None:
    table = arrays()
    p = table["p_fake"].to_numpy(np.float32)
    expected = bench.score(table["label"].tolist(), {"baseline": p}).scores
    tensor = torch.from_numpy(p).requires_grad_()
    labels = (
        table["label"].to_numpy(bool),
        table["label"].astype("Int64"),
        torch.tensor(table["label"].tolist()),
    )
    for label, score in zip(labels, (tensor, pd.Series(p, dtype="Float32"), p.tolist()), strict=True):
        assert bench.score(label, {"baseline": score}).scores == expected


def test_score_writes_the_report_where_it_is_asked_to(tmp_path: Path) -> None:
    table = arrays()
    results = bench.score(table["label"], {"baseline": table["p_fake"]}, to=tmp_path / "celeb")
    assert results.experiment == "celeb"
    assert bench.read(tmp_path / "celeb").scores == results.scores
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").touch()
    with pytest.raises(bench.UserError, match="holds other files"):
        bench.score(table["label"], {"baseline": table["p_fake"]}, to=tmp_path / "mine")


P, Y = np.linspace(0.1, 0.9, 20), np.arange(20) % 2


@pytest.mark.parametrize("words", [("val", "Testing"), ("VALID", "test"), (" dev ", "TEST")])
def test_splits_have_the_names_that_files_may_give_them(words: tuple[str, str], tmp_path: Path) -> None:
    """The same words mean the same to `bench score`, and mean what "validation" and "test" do."""
    splits, usual = np.repeat(words, 10), np.repeat(("validation", "test"), 10)
    scores = {"baseline": P, "q8": P[::-1].copy()}
    results = bench.score(Y, scores, splits=splits)
    assert results.scores == bench.score(Y, scores, splits=usual).scores
    names = [f"{index}.png" for index in range(20)]
    for name, column in scores.items():
        table = pd.DataFrame({"frame": names, "label": Y, "p_fake": column, "split": splits})
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    files = [str(tmp_path / f"{name}.csv") for name in scores]
    assert command("score", "--name", "s", "--to", str(tmp_path / "s"), *files)[0] == 0
    assert bench.read(tmp_path / "s").verdicts == results.verdicts


def test_splits_that_are_all_missing_are_none() -> None:
    assert bench.score(Y, {"baseline": P}, splits=[None] * 20).scores == bench.score(Y, {"baseline": P}).scores


@pytest.mark.parametrize(
    ("labels", "scores", "further", "message"),
    [
        (Y[1:], {"baseline": P}, {}, r"scores\['baseline'\]: has 20 rows, and labels have 19"),
        (Y * 2, {"baseline": P}, {}, r"neither 0 \(real\) nor 1 \(fake\) in 10 of 20 rows: \[1\] is 2"),
        ([*Y[1:], None], {"baseline": P}, {}, "1 of 20 rows"),
        (["fake"] * 20, {"baseline": P}, {}, "1 for fake, 0 for real"),
        (Y * 0, {"baseline": P}, {}, "no fake frame"),
        ([], {"baseline": []}, {}, "labels: is empty"),
        (None, {"baseline": P}, {}, "labels: expected an array"),
        (Y, {"q8": P}, {}, "no baseline 'baseline'; found: q8"),
        (Y, {}, {}, "found: none"),
        (Y, [P], {}, "expected a mapping"),
        (Y, dict, {}, "scores: expected a mapping"),
        (3, {"baseline": P}, {}, "labels: expected an array, found int"),
        (Y, {"baseline": 3}, {}, r"scores\['baseline'\]: expected an array, found int"),
        (Y, {"baseline": P, 8: P}, {}, "scores: expected names as text, found 8"),
        (Y, {"baseline": P, "a/b": P}, {}, "a/b"),
        (Y, {"baseline": P, "q8": P, "Q8": P}, {}, "differ only in case"),
        (Y, {"baseline": np.where(Y, np.nan, P)}, {}, "a score is missing in 10 of 20"),
        (Y, {"baseline": P * 100}, {}, "percentages"),
        (Y, {"baseline": P - 3}, {}, "logits"),
        (Y, {"baseline": np.c_[1 - P, P]}, {}, r"take that of fake: p\[:, 1\]"),
        (Y, {"baseline": ["0,5"] * 20}, {}, "expected numbers"),
        (pd.Series(Y), {"baseline": pd.Series(P)[::-1]}, {}, "another index"),
        (Y, {"baseline": P}, {"sources": ["a"]}, "sources: has 1 rows"),
        (Y, {"baseline": P}, {"frames": ["a"] * 20}, "more than once"),
        (Y, {"baseline": P}, {"frames": [None] * 20}, "no name of a frame"),
        (Y, {"baseline": P}, {"splits": ["train"] * 20}, "none of test, testing, validation, valid, val, dev"),
        (Y, {"baseline": P}, {"attributes": {"label": Y}}, "another meaning"),
        (Y, {"baseline": P}, {"attributes": ["method"]}, "attributes: expected a mapping"),
        (Y, {"baseline": P}, {"attributes": {1: Y}}, "attributes: expected names as text, found 1"),
        (Y, {"baseline": np.ma.masked_array(P, mask=Y == 1)}, {}, "a score is missing in 10 of 20"),
        (Y, {"baseline": P + 1j}, {}, "holds complex numbers"),
        (Y, {"baseline": P}, {"threshold": 1.5}, "threshold: expected a number above 0"),
        (Y, {"baseline": P}, {"margin": -1}, "margin: expected a number from 0"),
        (Y, {"baseline": P}, {"threshold": "x"}, "threshold: expected a number above 0 and below 1, found 'x'"),
        (Y, {"baseline": P}, {"threshold": None}, "threshold: expected a number"),
        (Y, {"baseline": P}, {"threshold": 10**400}, "threshold: expected a number"),
        (Y, {"baseline": P}, {"margin": np.array([0.1, 0.2])}, "margin: expected a number"),
        (Y, {"baseline": P}, {"baseline": ["baseline"]}, "scores: no baseline"),
        (Y, {"baseline": P}, {"baseline": 3}, "scores: no baseline"),
        (Y, {"baseline": P}, {"to": 3}, r"to: expected the path of a folder, found '?3'? \(int\)"),
        (Y, {"baseline": P}, {"sources": "video"}, "sources: expected an array, found str"),
        (Y, {"baseline": P}, {"frames": 3}, "frames: expected an array, found int"),
    ],
)
def test_what_is_wrong_with_arrays_is_a_user_error(labels: Any, scores: Any, further: Any, message: str) -> None:
    with pytest.raises(bench.UserError, match=message):
        bench.score(labels, scores, **further)


# --------------------------------------------------------------------------------------------- load
def artifact(folder: Path, name: str) -> Path:
    return folder / "variants" / bench.read(folder / "reports/first").variants[name].id


def pictures(folder: Path, results: Any) -> tuple[list[Any], Any]:
    """Test frames as they lie there, and P(fake) of each as it was stored."""
    table = results[results["split"] == "test"]
    return [np.asarray(Image.open(folder / "faces/test" / name)) for name in table["frame"]], table["p_fake"].to_numpy()


@pytest.mark.parametrize("name", ["baseline", "q16", "q8"])
def test_a_loaded_variant_predicts_what_was_stored(folder: Path, name: str) -> None:
    frames, expected = pictures(folder, bench.read(folder / "reports/first").predictions(name))
    model = bench.load(artifact(folder, name), device="cpu")
    assert np.abs(model.predict(np.stack(frames)) - expected).max() < 1e-5
    assert np.abs(model.predict(frames) - expected).max() < 1e-5
    assert model.logits(frames).shape == (len(frames), 2)
    assert (model.name, model.size, model.runtime, model.device) == (name, 32, "onnxruntime", "cpu")


@pytest.mark.parametrize(("name", "form"), [("q16", "onnx"), ("q8", "onnx"), ("q16", "safetensors")])
def test_an_export_predicts_what_was_stored(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, form: str
) -> None:
    monkeypatch.chdir(folder)
    to = tmp_path / "model"
    code, output = command("export", name, "--to", str(to), "--format", form)
    assert code == 0, output
    before = sorted(path.name for path in to.iterdir())
    frames, expected = pictures(folder, bench.read(folder / "reports/first").predictions(name))
    assert np.abs(bench.load(to, device="cpu").predict(frames) - expected).max() < 1e-5
    assert sorted(path.name for path in to.iterdir()) == before
    model = next(iter(to.glob("model*.onnx"))) if form == "onnx" else to / "model.safetensors"
    for file in to.glob("model.*"):
        if file.suffix != ".json":
            file.write_bytes(file.read_bytes()[:-1] + b"\0")
    with pytest.raises(bench.UserError, match=f"{model.stem.split('.')[0]}.*has changed"):
        bench.load(to)


def test_frames_of_any_size_are_fitted(folder: Path) -> None:
    model = bench.load(artifact(folder, "baseline"), device="cpu")
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (height, width, 3), np.uint8) for height, width in ((20, 50), (64, 64), (200, 32))]
    together = model.predict(frames)
    assert together.tolist() == pytest.approx([model.predict(frame[None])[0] for frame in frames], abs=1e-6)
    assert model.predict([]).shape == (0,)
    assert model.predict(np.zeros((0, 5, 5, 3), np.uint8)).shape == (0,)
    assert model.predict(torch.from_numpy(frames[1])[None])[0] == pytest.approx(together[1], abs=1e-6)
    assert model.predict(frames[1][None, :, ::-1])[0] > 0  # a view with negative strides


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((8, 8, 3), np.uint8), r"one frame alone is frames\[None\]"),
        (np.zeros((1, 3, 8, 8), np.uint8), "channels come last"),
        (np.zeros((1, 8, 8, 4), np.uint8), "drop the transparency"),
        (np.zeros((1, 8, 8, 3)), "expected uint8"),
        ([np.zeros((8, 8), np.uint8)], "grey"),
        (np.zeros((1, 0, 8, 3), np.uint8), "no pixels"),
        ("face.jpg", "a path"),
    ],
)
def test_other_frames_are_refused(folder: Path, frames: Any, message: str) -> None:
    model = bench.load(artifact(folder, "baseline"), device="cpu")
    with pytest.raises(bench.UserError, match=message):
        model.predict(frames)


@pytest.mark.parametrize("call", [bench.load, bench.read])
@pytest.mark.parametrize("folder", [3, None, ["reports"], b"reports"])
def test_what_is_no_path_is_a_user_error(call: Any, folder: Any) -> None:
    with pytest.raises(bench.UserError, match="folder: expected the path of a folder, found"):
        call(folder)


def test_other_arguments_of_another_type_are_a_user_error(folder: Path) -> None:
    path = artifact(folder, "q16")
    for device in (3, None, ["cpu"]):
        with pytest.raises(bench.UserError, match="device: "):
            bench.load(path, device=device)  # type: ignore[arg-type]
    results = bench.read(folder / "reports/first")
    variants: list[Any] = [3, None, ["q8"], {}]
    for variant in variants:
        with pytest.raises(bench.UserError, match="no variant"):
            results.predictions(variant)


def test_what_cannot_be_loaded_is_a_user_error(copy: Path) -> None:
    with pytest.raises(bench.UserError, match="no such folder"):
        bench.load(copy / "nowhere")
    with pytest.raises(bench.UserError, match="holds neither"):
        bench.load(copy)
    path = artifact(copy, "q16")
    with pytest.raises(bench.UserError, match="device"):
        bench.load(path, device="gpu")  # type: ignore[arg-type]
    description = json.loads((path / "variant.json").read_text())
    (path / "variant.json").write_text(json.dumps(description | {"file": "../../model.onnx"}))
    with pytest.raises(bench.UserError, match="damaged"):
        bench.load(path)
    (path / "variant.json").write_text(json.dumps(description))
    (path / "model.safetensors").write_bytes(b"\0" * 99)
    with pytest.raises(bench.UserError, match="has changed"):
        bench.load(path)
    assert (path / "variant.json").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: record.update(model="../model.onnx"),
        lambda record: record.update(files={}),
        lambda record: record.update(input=None),
        lambda record: record["input"].update(size=33),
        lambda record: record.pop("variant"),
    ],
)
def test_a_strangers_export_is_checked(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Any
) -> None:
    monkeypatch.chdir(folder)
    to = tmp_path / "model"
    if not (folder / "exported").exists():
        command("export", "q16", "--to", "exported")
    shutil.copytree(folder / "exported", to)
    record = stored.read_json(to / "model.json")
    damage(record)
    (to / "model.json").write_text(json.dumps(record))
    with pytest.raises(bench.UserError, match="export the variant again"):
        bench.load(to)


def test_an_export_that_holds_another_network_is_a_user_error(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though model.json has its digest."""
    monkeypatch.chdir(folder)
    command("export", "q16", "--to", str(tmp_path / "model"))
    file, record = tmp_path / "model/model.onnx", stored.read_json(tmp_path / "model/model.json")
    whole = onnx.load(file)
    renamed = onnx.ModelProto.FromString(whole.SerializeToString())
    renamed.graph.output[0].name = "elsewhere"
    for content in (b"\x08\x0agarbage", renamed.SerializeToString()):
        file.write_bytes(content)
        record["files"]["model.onnx"]["sha256"] = hashlib.sha256(content).hexdigest()
        (tmp_path / "model/model.json").write_text(json.dumps(record))
        with pytest.raises(bench.UserError, match="cannot be loaded"):
            bench.load(tmp_path / "model", device="cpu")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user that cannot write everywhere")
def test_a_folder_that_cannot_be_written_to_is_loaded(copy: Path) -> None:
    path = artifact(copy, "q16")
    for file in (*path.glob("*.seal"), *path.glob("*exported*")):
        file.unlink()
    path.chmod(0o500)
    try:
        assert bench.load(path, device="cpu").predict(np.zeros((1, 8, 8, 3), np.uint8)).shape == (1,)
    finally:
        path.chmod(0o700)


# --------------------------------------------------------------------------------------------- docs
def test_the_page_is_run(copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs/python.md").read_text(encoding="utf-8")
    monkeypatch.chdir(copy)
    names: dict[str, Any] = {}
    for language, text in re.findall(r"```(\w+)\n(.*?)```", page, flags=re.DOTALL):
        if language == "bash":
            code, output = command(*text.split()[1:])
            assert code == 0, output
        else:
            exec(text, names)
    assert "no baseline" in capsys.readouterr().out
    assert names["judged"].verdicts["baseline"] == "baseline"


def test_the_page_names_every_field() -> None:
    page = (ROOT / "docs/python.md").read_text(encoding="utf-8")
    fields = [field.name for field in dataclasses.fields(VariantScores)]
    assert [name for name in fields if not name.endswith(("_low", "_high")) and f"`{name}`" not in page] == []
    attributes = [name for name in dir(Results) if not name.startswith("_")]
    assert [name for name in attributes if name not in page] == []
