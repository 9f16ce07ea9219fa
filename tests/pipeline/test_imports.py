"""Variants and detectors made elsewhere, through whole runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from bench import detectors
from bench.artifacts.imports.file import content as file_content
from bench.datasets.decoding import read_batches
from bench.detector_settings import DetectorSettings
from bench.detectors.detector import Detector
from bench.detectors.preprocessing import Preprocess
from bench.errors import UserError
from bench.experiment import read
from bench.pipeline.jobs import keys
from bench.pipeline.prepare import prepare
from bench.results.score import p_fake
from bench.variants import build, cache, ids
from bench.variants.chain import parse
from bench.variants.context import BuildContext, Source
from bench.variants.steps import UsedFile
from tests.conftest import quick_folder, run_quickly, write_workplace
from tests.support import foreign, tiny
from tests.support.command_line import bench

VARIANTS = """
      baseline: []
      float: [import: float.onnx]
      channels-last: [import: {file: channels_last.onnx, positive: fake}]
      bytes: [import: {file: bytes.onnx, input: {scale: 1, channels: rgb, wavelet: none}}]
      one-logit: [import: {file: one_logit.onnx, positive: fake}]
      softmax: [import: softmax.onnx]
      swapped: [import: {file: swapped.onnx, classes: [fake, real]}]
      batch: [import: batch.onnx]
      loop: [import: {file: loop.onnx, output: logits}]
      half: [import: half.onnx]
      apart: [import: apart/x.onnx]
      static: [import: static.onnx]
"""
EXACT = ["float", "channels-last", "bytes", "one-logit", "softmax", "swapped", "batch", "loop", "apart"]


def detector_of(folder: Path) -> Detector:
    """The workplace's, whose scores of these frames lie apart."""
    weights = folder / "best_model.tar"
    settings = read(folder / "experiments.yaml").detectors["mine"]
    assert isinstance(settings, DetectorSettings)
    return detectors.load("tiny", weights, settings.preprocessing)


def sharpen(folder: Path) -> None:
    """Give the weights a head under which scores differ from frame to frame."""
    detector = detector_of(folder)
    frames = torch.from_numpy(frames_of(folder))
    with torch.no_grad():
        for _ in range(2):
            logits = detector(frames).logits
            margin = logits[:, 1] - logits[:, 0]
            detector.head.bias[1] -= margin.mean()
            detector.head.weight.div_(margin.std())
    torch.save({"model": detector.state_dict()}, folder / "best_model.tar")


def frames_of(folder: Path, split: str = "calibration") -> NDArray[np.uint8]:
    path = folder / "experiments.yaml"
    setup = prepare(read(path), path).first
    frames = setup.built_with[split].frames  # type: ignore[index]
    return next(iter(read_batches(frames, setup.spec, len(frames), threads=1)))


def write_files(folder: Path) -> None:
    """The workplace's detector as other tools write it."""
    detector = detector_of(folder)
    made: dict[str, Callable[[Detector], onnx.ModelProto]] = {
        "float": foreign.network, "channels_last": foreign.channels_last, "bytes": foreign.in_rgb_of_bytes,
        "one_logit": foreign.one_logit, "softmax": foreign.softmax, "swapped": foreign.swapped, "half": foreign.half,
        "batch": lambda of: foreign.of_batch(of, 1), "loop": lambda of: foreign.of_batch_for_good(of, 3),
    }  # fmt: skip
    for name, make in made.items():
        onnx.save(make(detector), folder / f"{name}.onnx")
    (folder / "apart").mkdir()
    onnx.save(foreign.network(detector), folder / "apart/x.onnx", save_as_external_data=True, location="x.data",
              size_threshold=0)  # fmt: skip
    with torch.no_grad():
        inputs = detector.preprocess(torch.from_numpy(frames_of(folder))).numpy()
    work = folder / "quantising"
    work.mkdir()
    foreign.static_int8(detector, work, inputs).rename(folder / "static.onnx")


def write_experiment(folder: Path, variants: str, detector: str = "") -> None:
    path = folder / "experiments.yaml"
    before, mark, _ = path.read_text(encoding="utf-8").partition("    variants:\n")
    if detector:
        first = before.index("  mine: ")
        before = f"{before[:first]}  mine: {detector}{before[before.index(chr(10), first) :]}"
    path.write_text(f"{before}{mark}{variants.lstrip(chr(10))}", encoding="utf-8")


@pytest.fixture(scope="module")
def finished_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which an experiment with every kind of import has run."""
    with quick_folder(tmp_path_factory, "imported") as folder:
        write_workplace(folder)
        sharpen(folder)
        write_files(folder)
        write_experiment(folder, VARIANTS)
        code, output = bench("run")
        assert code == 0, output
    return folder


@pytest.fixture
def finished(workplace: Path, finished_once: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to be changed; its frames are read, as a plan reads none."""
    shutil.copytree(finished_once, workplace, dirs_exist_ok=True)
    monkeypatch.chdir(workplace)
    prepare(read(Path("experiments.yaml")), Path("experiments.yaml"))
    return workplace


def scores_of(folder: Path) -> dict[str, Any]:
    scores: dict[str, Any] = json.loads((folder / "reports/first/scores.json").read_text())
    return scores


def predicted(folder: Path, variant: str) -> pd.Series[float]:
    table = pd.read_parquet(folder / "results/first" / variant / "predictions.parquet")
    scores: pd.Series[float] = table.set_index(["split", "frame"])["p_fake"]
    return scores


@pytest.mark.parametrize("variant", EXACT)
def test_what_computes_in_float_gives_the_scores_of_the_baseline(finished_once: Path, variant: str) -> None:
    baseline = predicted(finished_once, "baseline")
    assert np.ptp(baseline) > 0.2, "scores that are all the same prove nothing"
    np.testing.assert_allclose(predicted(finished_once, variant), baseline, atol=1e-4)


@pytest.mark.usefixtures("tiny_family")
def test_what_computes_otherwise_gives_its_own_scores(finished_once: Path) -> None:
    """Those of the file itself in onnxruntime, with inputs made by the detector's preprocessing."""
    baseline = predicted(finished_once, "baseline")
    np.testing.assert_allclose(predicted(finished_once, "half"), baseline, atol=5e-3)
    detector = detector_of(finished_once)
    frames = frames_of(finished_once, "test")
    inputs = Preprocess(detector.preprocessing)(torch.from_numpy(frames)).numpy()
    session = onnxruntime.InferenceSession(str(finished_once / "static.onnx"), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"x": inputs})
    scores = predicted(finished_once, "static").loc["test"]
    np.testing.assert_allclose(scores, p_fake(logits[:, 0], logits[:, 1]), atol=1e-4)


def test_every_variant_is_counted_and_timed(finished_once: Path) -> None:
    variants = scores_of(finished_once)["variants"]
    assert {name: variant["status"] for name, variant in variants.items()} == dict.fromkeys(variants, "ok")
    for name, variant in variants.items():
        assert variant["latency_ms"]["p50"] > 0
        # Of two files the preprocessing is a part, one has a further product behind the logits.
        expected = variants["baseline"]["macs"] + {"one-logit": 2}.get(name, 0)
        assert variant["macs"] == expected or name in ("channels-last", "bytes")
    assert variants["static"]["int8"] in ("native", "simulated")
    assert variants["static"]["size_mib"] < 0.6 * variants["float"]["size_mib"]


def test_the_report_names_an_import(finished_once: Path) -> None:
    report = (finished_once / "reports/first/report.md").read_text(encoding="utf-8").replace("\\", "")
    assert "**static**: imported from static.onnx (SHA-256 " in report
    row = next(line for line in report.splitlines() if line.startswith("| **static**"))
    assert "imported from static.onnx" in row
    assert "ONNX graph by onnx.quantize 0.1.0, int8; output 'y': two logits, by its last operator" in report
    assert "input 'x' [n, 3, h, w], float32: times 1/255, sym2 blend, BGR, by the preset" in report
    assert "run in blocks of 3 frames, since its batch is fixed to 3" in report
    assert (finished_once / "reports/first/report.html").read_text(encoding="utf-8").count("imported from") >= 10


def test_no_file_that_is_read_rightly_is_said_to_be_misread(finished_once: Path) -> None:
    """Of a dozen exports, one to float16 and one to int8 among them."""
    assert "It was read as" not in (finished_once / "reports/first/report.md").read_text(encoding="utf-8")


def test_a_second_run_does_nothing_and_new_weights_build_no_import_again(finished: Path) -> None:
    """An import hangs on its file and on how frames are prepared, not on the detector's weights."""
    assert "nothing to do" in bench("plan")[1]
    shutil.move(finished / "apart/x.data", finished / "gone")
    code, output = bench("plan", "--only", "apart")
    assert code == 2
    assert "'x.data' beside it, and that file is missing" in " ".join(output.split())
    shutil.move(finished / "gone", finished / "apart/x.data")
    tiny.save_weights(finished / "best_model.tar", seed=1)
    lines = bench("plan")[1].splitlines()
    assert [line.split()[0] for line in lines if "to build" in line] == ["baseline"]


def test_another_file_under_the_same_name_is_another_variant(finished: Path) -> None:
    shutil.copy(finished / "softmax.onnx", finished / "float.onnx")
    lines = bench("plan")[1].splitlines()
    # The same file with the same settings is the same artifact.
    assert [line.split()[0] for line in lines if "to build" in line] == []
    assert next(line for line in lines if line.startswith("float ")).count("reused") >= 1
    onnx.save(foreign.softmax(tiny.lively(detector_of(finished), 3)), finished / "float.onnx")
    lines = bench("plan")[1].splitlines()
    assert [line.split()[0] for line in lines if "to build" in line] == ["float"]


def test_a_file_that_changes_while_a_run_goes_on_is_not_built(context: BuildContext, source: Source) -> None:
    """Its artifact would lie under the id of what it was before."""
    file = context.folder.parent / "x.onnx"
    onnx.save(foreign.network(tiny.lively(tiny.build("tiny", "tiny", tiny.PREPROCESSING))), file)
    chain = [replace(parse({"import": "x.onnx"}), file=UsedFile(file, "0" * 64))]
    with pytest.raises(UserError, match=r"x\.onnx: has changed since this run began"):
        build.build("theirs", source, chain, context)
    chain = [replace(chain[0], file=UsedFile(file, file_content(file)))]
    assert build.build("theirs", source, chain, context).imported


def test_weights_that_change_while_a_run_goes_on_are_not_built(context: BuildContext, source: Source) -> None:
    with pytest.raises(UserError, match=r"weights\.tar: has changed since this run began"):
        build.build("baseline", replace(source, changed=lambda: True), [], context)
    assert not cache.is_built(context.folder, ids.of_weights(source))
    assert build.build("baseline", source, [], context).id == ids.of_weights(source)


def test_nothing_is_made_of_a_file_that_was_damaged(context: BuildContext, source: Source) -> None:
    built = build.build("baseline", source, [], context)
    content = bytearray(built.file.read_bytes())
    content[len(content) // 2] ^= 1
    built.file.write_bytes(content)
    with pytest.raises(UserError, match="has changed since it was built"):
        build.build("q16", source, [parse({"cast": "fp16"})], context)
    assert build.build("q16", source, [parse({"cast": "fp16"})], context).stored == "fp16", "it is built again"


def test_an_import_is_timed_beside_its_own_baseline(finished: Path) -> None:
    """Its id hangs on no weights, and its speed-up on the baseline's."""

    def keys_now(*, imported: bool) -> tuple[str, str, str]:
        setup = prepare(read(Path("experiments.yaml")), Path("experiments.yaml")).first
        return keys(setup, "0" * 16, "onnx", imported=imported)

    before = {imported: keys_now(imported=imported) for imported in (True, False)}
    tiny.save_weights(finished / "best_model.tar", seed=5)
    after = {imported: keys_now(imported=imported) for imported in (True, False)}
    assert after[False] == before[False]
    assert after[True][:2] == before[True][:2]
    assert after[True][2] != before[True][2]


def test_an_import_is_handed_over(finished: Path) -> None:
    """As it stands, without a file that is arranged for one processor."""
    code, output = bench("export", "static", "--to", "out")
    assert code == 0, output
    assert sorted(path.name for path in (finished / "out").iterdir()) == [
        "README.md", "evidence.json", "model.json", "model.onnx", "predict.py",
    ]  # fmt: skip
    readme = (finished / "out/README.md").read_text(encoding="utf-8").replace("\\", "")
    assert "made elsewhere, and compared here with `mine`: import: static.onnx." in readme
    assert "imported from static.onnx" in readme.lower()
    described = json.loads((finished / "out/model.json").read_text())
    assert [moved["flips"] for moved in described["moved"]] == [0]
    assert max(moved["largest"] for moved in described["moved"]) < 1e-5


def test_in_openvino(finished: Path) -> None:
    """Of a loop too; int8 is near the file's own arithmetic, exact on some processors and not on others (AMX)."""
    pytest.importorskip("openvino")
    path = finished / "experiments.yaml"
    path.write_text(path.read_text().replace("device: cpu", "device: cpu\n    runtime: openvino"))
    code, output = bench("run", "--only", "float,loop,half,static", "--no-timing")
    assert code == 0, output
    baseline = predicted(finished, "baseline")
    for variant, tolerance in (("float", 1e-4), ("loop", 1e-4), ("half", 2e-2)):
        np.testing.assert_allclose(predicted(finished, variant), baseline, atol=tolerance)
    scores = scores_of(finished)["variants"]["static"]
    assert scores["runtime"] == "openvino"
    assert scores["fidelity"]["mean"] < 0.2, scores["fidelity"]


# ------------------------------------------------------------------------------------ an ONNX file as a detector
ONNX_DETECTOR = "{architecture: onnx, weights: float.onnx, preprocessing: {preset: fsbi, size: 32}}"
ONNX_VARIANTS = """
      baseline: []
      q16: [cast: fp16]
      bf16: [cast: bf16]
      w8: [quantize: {weights: int8}]
      q8: [quantize: int8]
      other: [import: {file: one_logit.onnx, positive: fake}]
"""


@pytest.fixture(scope="module")
def graph_alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a detector was judged and compressed of which there is an ONNX file alone."""
    with quick_folder(tmp_path_factory, "graph") as folder:
        write_workplace(folder)
        sharpen(folder)
        write_files(folder)
        bench("run", "--only", "baseline", "--no-timing")
        (folder / "results/first/baseline/predictions.parquet").rename(folder / "of_checkpoint.parquet")
        shutil.rmtree(folder / "results")
        write_experiment(folder, ONNX_VARIANTS, ONNX_DETECTOR)
        code, output = bench("run")
        assert code == 0, output
    return folder


def test_a_graph_is_judged_as_the_checkpoint_is(graph_alone: Path) -> None:
    of_checkpoint = pd.read_parquet(graph_alone / "of_checkpoint.parquet").set_index(["split", "frame"])["p_fake"]
    np.testing.assert_allclose(predicted(graph_alone, "baseline"), of_checkpoint, atol=1e-4)


def test_a_graph_is_compressed(graph_alone: Path) -> None:
    """Each variant is smaller, and its scores follow the baseline's.

    The head of this detector makes much of little: its scores move more than those of a trained one.
    """
    variants = scores_of(graph_alone)["variants"]
    baseline = predicted(graph_alone, "baseline")
    expected = {"q16": (0.6, 5e-3, "fp16"), "bf16": (0.6, 6e-2, "bf16"), "w8": (0.45, 0.1, "int8 weights"),
                "q8": (0.5, 0.1, "int8")}  # fmt: skip
    for name, (share, tolerance, stored) in expected.items():
        assert variants[name]["status"] == "ok"
        assert variants[name]["stored"] == stored
        assert variants[name]["size_mib"] < share * variants["baseline"]["size_mib"], name
        difference = np.abs(predicted(graph_alone, name) - baseline)
        assert 0 < difference.mean() < tolerance, name
        assert spearmanr(predicted(graph_alone, name), baseline).statistic > 0.95, name
        assert variants[name]["parameters"] == variants["baseline"]["parameters"]
    assert variants["q8"]["int8"] == "native"
    np.testing.assert_allclose(predicted(graph_alone, "other"), baseline, atol=1e-4)


def test_a_graph_says_how_it_was_read(graph_alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_quickly(monkeypatch)
    monkeypatch.chdir(graph_alone)
    report = (graph_alone / "reports/first/report.md").read_text(encoding="utf-8").replace("\\", "")
    assert "ONNX graph by elsewhere, fp32; output 'y': two logits" in report
    assert "quantised as far as an ONNX file alone allows: by onnxruntime's static quantisation" in report
    text = " ".join(bench("plan")[1].split())
    assert "nothing to do" in text
    assert "weights: ONNX graph by elsewhere, fp32" in text
    assert "can't be told: there are no batch norms to ask" in bench("plan", "--fit")[1]


@pytest.mark.parametrize("step", ["prune: 0.5", "prune: 0.5, recover", "quantize: {weights: int4}"])
def test_what_a_graph_cannot_do_is_refused_at_once(
    step: str, graph_alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_quickly(monkeypatch)
    shutil.copytree(graph_alone, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("results", "variants"))
    monkeypatch.chdir(tmp_path)
    write_experiment(tmp_path, f"      baseline: []\n      x: [{step}]\n")
    code, output = bench("plan")
    assert code == 2
    assert "of this detector there is an ONNX file alone" in " ".join(output.split())
    assert not (tmp_path / "variants").exists() or not list((tmp_path / "variants").glob("*/variant.json"))


def test_a_graph_needs_calibration_frames_for_ranges_alone(
    graph_alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_quickly(monkeypatch)
    shutil.copytree(graph_alone, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("results", "variants"))
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path / "faces").glob("*"):
        if folder.name in ("calibration", "train"):
            shutil.rmtree(folder)
    write_experiment(tmp_path, "      baseline: []\n      w8: [quantize: {weights: int8}]\n", ONNX_DETECTOR)
    code, output = bench("run", "--no-timing")
    assert code == 0, output
    assert scores_of(tmp_path)["variants"]["w8"]["stored"] == "int8 weights"
    write_experiment(tmp_path, "      baseline: []\n      q8: [quantize: int8]\n", ONNX_DETECTOR)
    code, output = bench("plan")
    assert code == 2
    assert "quantize: int8 needs calibration frames" in " ".join(output.split())


@pytest.mark.parametrize(
    ("file", "step", "message"),
    [
        ("static.onnx", "quantize: int8", "the ONNX file is quantised already (int8)"),
        ("static.onnx", "cast: fp16", "the ONNX file stores int8 weights already"),
        ("loop.onnx", "quantize: int8", "the ONNX file takes a fixed number of frames and runs in a loop"),
    ],
)
def test_what_shows_in_the_work_alone_is_that_variants_outcome(
    file: str, step: str, message: str, graph_alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_quickly(monkeypatch)
    shutil.copytree(graph_alone, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("results", "variants"))
    monkeypatch.chdir(tmp_path)
    detector = ONNX_DETECTOR.replace("float.onnx", f"{file}, output: logits")
    write_experiment(tmp_path, f"      baseline: []\n      x: [{step}]\n", detector)
    code, output = bench("run", "--no-timing")
    assert code == 3, output
    assert message in " ".join((tmp_path / "reports/first/report.md").read_text(encoding="utf-8").split())
