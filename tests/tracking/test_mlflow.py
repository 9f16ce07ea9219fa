"""Runs in a real MLflow store of SQLite: names, numbers, repeated runs, the registered model, and broken stores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench import datasets, tracking
from bench.errors import UserError
from bench.records import TrackedExperiment, TrackedPrediction, TrackedRun
from bench.results.store import read_run
from bench.tracking import mlflow as tracker
from tests.conftest import quick_folder, write_workplace
from tests.support import ROOT
from tests.support import mlflow_store as store
from tests.support.command_line import bench

EXPERIMENT = """
  {name}:
    detector: mine
    frames: faces
    device: cpu
    timing: {{seconds: 0.02}}
    gallery: {{top: 1, occlusion: false}}
    margin: 0.5
    choose: {{auc_drop: 0.9}}
    tracking: {{mlflow: sqlite:///mlruns.db}}
    variants: {{baseline: [], {variant}: [{step}]}}
"""


def write(folder: Path, *experiments: str) -> None:
    """A workplace with these experiments alone; its classes are so that the detector is better than chance."""
    write_workplace(folder)
    file = folder / "experiments.yaml"
    text = file.read_text(encoding="utf-8").partition("  first:")[0]
    text = text.replace("architecture: tiny", "architecture: tiny, classes: [fake, real]")
    assert "classes" in text
    file.write_text(text + "".join(experiments), encoding="utf-8")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two experiments in one store; the first was run twice, the second time with all in its folders."""
    with quick_folder(tmp_path_factory, "tracked") as folder:
        write(
            folder,
            EXPERIMENT.format(name="first", variant="q8", step="quantize: int8"),
            EXPERIMENT.format(name="second", variant="q16", step="cast: fp16"),
        )
        for name in ("first", "first", "second"):
            code, output = bench("run", name, "--no-timing")
            assert code == 0, output
            assert "warning: tracking" not in output, output
            (folder / "results" / name / "tracked.json").unlink()
        yield folder


def test_a_run_per_variant_below_its_experiments(ran: Path) -> None:
    runs = store.runs(ran / "mlruns.db")
    assert [(run.experiment, run.name) for run in runs] == [
        ("first", "baseline"), ("first", "first"), ("first", "q8"),
        ("second", "baseline"), ("second", "q16"), ("second", "second"),
    ]  # fmt: skip
    assert {run.status for run in runs} == {"FINISHED"}
    by_name = {(run.experiment, run.name): run for run in runs}
    for experiment, variant in (("first", "q8"), ("second", "q16")):
        parent = by_name[experiment, experiment]
        assert by_name[experiment, variant].tags["mlflow.parentRunId"] == parent.run_id
        assert "mlflow.parentRunId" not in parent.tags


def test_numbers_are_those_of_scores_json(ran: Path) -> None:
    scores = json.loads((ran / "reports/first/scores.json").read_text())["variants"]["q8"]
    run = next(run for run in store.runs(ran / "mlruns.db") if run.name == "q8")
    assert run.metrics["auc"] == scores["auc"]
    assert [run.metrics["auc_low"], run.metrics["auc_high"]] == scores["auc_ci"]
    assert [run.metrics["auc_delta_low"], run.metrics["auc_delta_high"]] == scores["auc_delta_ci"]
    assert run.metrics["size_mib"] == scores["size_mib"]
    assert run.metrics["tp"] == scores["confusion"]["tp"]
    assert run.parameters["id"] == scores["id"]
    assert run.parameters["step1.quantize.dtype"] == "int8"
    assert run.parameters["frames_test"] == read_run(ran / "results/first").frames["test"].digest
    assert run.tags["bench.verdict"] == scores["verdict"]


def test_a_repeated_run_updates(ran: Path) -> None:
    # Two experiments have two variants each, and each metric has the one value that it had.
    assert store.metric_values(ran / "mlruns.db", "auc") == 4
    assert [(name, version) for name, version, _ in store.model_versions(ran / "mlruns.db")] == [
        ("first", 1), ("second", 1)
    ]  # fmt: skip


def test_report_figures_and_card_are_artifacts(ran: Path) -> None:
    folder = ran / "mlruns-artifacts/first"
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert {"report.md", "report.html", "scores.json", "size_auc.png", "MLmodel", "model.onnx", "predict.py"} <= names
    card = next(folder.rglob("model_card/README.md"))
    assert "How good it was" in card.read_text(encoding="utf-8")
    report = next(folder.rglob("report/report.md"))
    assert report.read_bytes() == (ran / "reports/first/report.md").read_bytes()


def test_the_registered_model_gives_the_same_p_fake(ran: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow.pyfunc

    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    name, _, source = store.model_versions(ran / "mlruns.db")[0]
    choice = json.loads((ran / "reports/first/scores.json").read_text())["choice"]
    assert name == "first"
    model = mlflow.pyfunc.load_model(source)
    inputs, outputs = model.metadata.signature.inputs, model.metadata.signature.outputs
    assert [(each.name, str(each.type), each.shape) for each in inputs] == [("frames", "uint8", (-1, 3, 32, 32))]
    assert outputs.input_names()[0] == "logits"
    predictions = pd.read_parquet(ran / f"results/first/{choice['chosen']}/predictions.parquet")
    test = predictions[predictions["split"] == "test"].head(6)
    preprocessing = read_run(ran / "results/first").preprocessing
    assert preprocessing is not None
    read = (datasets.decode(ran / "faces/test" / path, preprocessing.input_spec) for path in test["frame"])
    frames = np.stack([frame.transpose(2, 0, 1) for frame in read])
    logits = model.predict({"frames": np.ascontiguousarray(frames)})["logits"]
    p_fake = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    np.testing.assert_allclose(p_fake, test["p_fake"], atol=1e-5)


def test_what_stands_there_is_not_logged_again(ran: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bench("run", "second", "--no-timing")[0] == 0  # writes the record that the fixture took away
    calls: list[str] = []
    monkeypatch.setattr(tracker, "log", lambda address, tracked: calls.append(address))
    assert bench("run", "second", "--no-timing")[0] == 0
    assert calls == []


def test_a_broken_store_leaves_the_run_whole(ran: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that begins as SQLite's do and goes on as nothing does."""
    file = ran / "experiments.yaml"
    text = file.read_text(encoding="utf-8")
    (ran / "broken.db").write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 64)
    file.write_text(text.replace("mlruns.db", "broken.db"), encoding="utf-8")
    try:
        code, output = bench("run", "first", "--no-timing")
    finally:
        file.write_text(text, encoding="utf-8")
    output = " ".join(output.split())
    assert code == 0, output
    assert "tracking, mlflow: not logged, or not all" in output
    assert "results and report are whole, and the next `bench run` logs them" in output


# ------------------------------------------------------------------------------------- without a run
def experiment(**changed: Any) -> TrackedExperiment:
    """An experiment of one variant, without files."""
    variant = TrackedRun("q8", "k1", {"steps": "quantize: int8"}, {"auc": 0.9, **changed}, {"bench.variant": "q8"})
    return TrackedExperiment(TrackedRun("made up", "k0", {"margin": "0.01"}), {"q8": variant})


def test_a_failed_variant_says_why(tmp_path: Path) -> None:
    address = tracker.address("sqlite:///a.db", tmp_path)
    failed = TrackedRun("q4", "k2", {}, reason="no memory is left")
    tracker.log(address, TrackedExperiment(experiment().whole, {"q4": failed}))
    run = next(run for run in store.runs(tmp_path / "a.db") if run.name == "q4")
    assert run.status == "FAILED"
    assert run.tags["mlflow.note.content"] == "no memory is left"


@pytest.mark.slow
def test_predictions_have_the_names_that_dashboards_know(tmp_path: Path) -> None:
    address = tracker.address("sqlite:///a.db", tmp_path)
    members = {"xception": 0.9, "f3net": 0.4}
    tracker.log_predictions(address, "shop", [TrackedPrediction("image", "fake", 0.75, 0.2, members, "a.jpg")])
    run = store.runs(tmp_path / "a.db")[0]
    assert run.experiment == "shop-predictions"
    assert run.parameters == {
        "prediction_type": "image", "prediction": "FAKE", "models_used": "xception, f3net", "num_models": "2",
        "filename": "a.jpg",
    }  # fmt: skip
    assert run.metrics == pytest.approx({
        "confidence": 0.75, "fake_probability": 0.75, "real_probability": 0.25, "processing_time_sec": 0.2,
        "xception_fake_prob": 0.9, "xception_confidence": 0.9, "f3net_fake_prob": 0.4, "f3net_confidence": 0.6,
        "consensus": 0.5,
    })  # fmt: skip


@pytest.mark.slow
def test_nothing_is_sent_anywhere(tmp_path: Path) -> None:
    """In a process of its own, since MLflow's statistics are off in tests and in CI anyway."""
    code = """
        import sys
        hosts = []
        sys.addaudithook(lambda event, args: hosts.append(args) if event in
                         ("socket.connect", "socket.getaddrinfo", "socket.sendto") else None)
        from pathlib import Path
        from bench.records import TrackedExperiment, TrackedRun
        from bench.tracking import mlflow as tracker
        whole = TrackedRun("made up", "k0", {"margin": "0.01"})
        tracker.log(tracker.address("sqlite:///a.db", Path(sys.argv[1])), TrackedExperiment(whole, {}))
        import mlflow.telemetry
        print("sent to", hosts, mlflow.telemetry.get_telemetry_client())
    """
    hidden = ("PYTEST_CURRENT_TEST", "CI", "GITHUB_ACTIONS", "GITLAB_CI", "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)],
        capture_output=True, text=True, env={**environment, "PYTHONPATH": str(ROOT)}, check=True,
    )  # fmt: skip
    assert done.stdout.strip().endswith("sent to [] None")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("mlruns", "store of plain files no longer works"),
        ("file:mlruns", "store of plain files no longer works"),
        ("sqlite:///", "expected sqlite:///FILE"),
        ("postgresql://host/db", "expected sqlite:///FILE"),
        ("http://me:secret@host:5000", "MLFLOW_TRACKING_PASSWORD"),
    ],
)
def test_addresses_that_are_none(text: str, part: str) -> None:
    with pytest.raises(UserError, match=part) as refused:
        tracker.address(text, Path())
    assert "secret" not in str(refused.value)


@pytest.mark.slow
def test_the_environment_is_asked_where_the_key_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/of-environment.db")
    tracker.log(tracker.address("environment", Path()), experiment())
    assert [run.name for run in store.runs(tmp_path / "of-environment.db")] == ["made up", "q8"]
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with pytest.raises(UserError, match="is not set"):
        tracker.check("environment")


def test_a_server_that_is_away(unused_port: int) -> None:
    why = tracker.unreachable(f"http://127.0.0.1:{unused_port}")
    assert why is not None
    assert "does not answer" in why


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_only_modules_that_keep_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracking.names() == ("mlflow", "wandb")
    for name in tracking.names():
        module = tracking.find(name)
        for part in (
            "PACKAGES",
            "EXTRA",
            "ADDRESS",
            "address",
            "check",
            "unreachable",
            "holds",
            "log",
            "log_predictions",
        ):
            assert hasattr(module, part), f"{name}.{part}"
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    assert 'python -m pip install "bench[wandb]"' in str(tracking.missing_package("wandb"))
