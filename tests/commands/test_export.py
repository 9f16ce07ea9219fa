"""What `bench export` hands over runs without bench, gives the scores that were measured, and says what it is."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import openvino
import pandas as pd
import pytest
import torch
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from huggingface_hub import ModelCard, ModelCardData
from PIL import Image

import bench as bench_package
from bench import datasets, stored
from bench.artifacts.onnx_export import copy_for_old_readers, least_ir_version
from bench.artifacts.safetensors import load_torch
from bench.commands.export import calibrated, models, texts
from bench.datasets.splits import WRITE_PATTERN
from bench.errors import UserError
from bench.pipeline.device import CPU_USED
from bench.pipeline.rendered import evaluate_run
from bench.pipeline.summary import NOT_SHOWN, NOT_TIMED, SEE_LOG
from bench.provenance import file_digest
from bench.records import FILTERS, LOWERED, Built, Calibration, Filters, HandedOver, InputSpec
from bench.records.evidence import EVIDENCE, SIGNATURE
from bench.results import store, timing
from tests.conftest import quick_folder, start_in_a_thread, write_frames, write_workplace
from tests.support import ROOT, command_line

VARIANTS = """{baseline: [], q16: [cast: fp16], q8: [quantize: int8], w8: [quantize: {weights: int8}],
               w4: [quantize: {weights: int4}]}"""


def bench(*arguments: str) -> tuple[int, str]:
    """Exit code, and all output with its lines joined."""
    code, output = command_line.bench(*arguments)
    return code, " ".join(output.split())


def write(folder: Path, runtime: str = "auto") -> None:
    """A workplace whose frames are of another size than the network's, one of them a JPEG."""
    write_workplace(folder)
    write_frames(folder / "faces/test", 14, 18, 7, size=61)
    # The network ranks such frames the wrong way round; most validation frames are such that they calibrate it.
    validation = folder / "faces/validation"
    write_frames(validation, 20, 20, 8)
    for picture in sorted(validation.glob("*/*.png")):
        if int(picture.stem) >= 4:
            picture.rename(validation / ("real" if picture.parent.name == "fake" else "fake") / f"to {picture.name}")
    picture = folder / "faces/test/fake/000.png"
    Image.open(picture).save(picture.with_suffix(".jpg"), quality=95)
    picture.unlink()
    text = (folder / "experiments.yaml").read_text().partition("    variants:")[0]
    (folder / "experiments.yaml").write_text(f"{text}    runtime: {runtime}\n    variants: {VARIANTS}\n")


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with what was exported of each variant in out/."""
    with quick_folder(tmp_path_factory, "finished") as folder:
        write(folder)
        code, output = bench("run")
        assert code == 0, output
        for name in ("baseline", "q16", "q8", "w8", "w4"):
            code, output = bench("export", name, "--to", f"out/{name}")
            assert code == 0, output
    return folder


def description(folder: Path) -> HandedOver:
    record: HandedOver = stored.typed(HandedOver, stored.read_json(folder / "model.json"))
    return record


def loaded(folder: Path) -> dict[str, Any]:
    """The names of an exported predict.py."""
    names: dict[str, Any] = {"__name__": "predict", "__file__": str(folder / "predict.py")}
    exec((folder / "predict.py").read_text(encoding="utf-8"), names)
    return names


def test_the_crop_is_handed_on(exports: Path) -> None:
    assert description(exports / "out/q8").crop == "fsbi"
    about = (exports / "out/q8/README.md").read_text(encoding="utf-8")
    assert "The face crop that it was trained with is `fsbi`: The box and an eighth of it on each side, " in about


def test_all_variants_have_an_onnx_file(exports: Path) -> None:
    for name, lowered in (("baseline", []), ("q16", []), ("q8", [LOWERED]), ("w8", []), ("w4", [])):
        folder = exports / "out" / name
        files = ["README.md", "evidence.json", "model.json", "model.onnx", *lowered, "predict.py"]
        assert sorted(path.name for path in folder.iterdir()) == sorted(files), name
        for model in folder.glob("*.onnx"):
            assert onnx.load(model).ir_version == (10 if name == "w4" else 8), model


@pytest.mark.parametrize("name", ["baseline", "q16", "q8", "w8", "w4"])
def test_snippet_gives_the_measured_scores(exports: Path, name: str) -> None:
    table = pd.read_parquet(exports / "results/first" / name / "predictions.parquet")
    table = table[table["split"] == "test"].set_index("frame")
    predict = loaded(exports / "out" / name)["predict"]
    # Of a JPEG, OpenCV and Pillow may decode a pixel otherwise.
    for frame, within in (("fake/001.png", 1e-6), ("real/003.png", 1e-6), ("fake/000.jpg", 0.05)):
        file = exports / "faces/test" / frame
        assert predict([file])[0] == pytest.approx(table["p_fake"][frame], abs=within)
        assert predict(str(file)) == predict([np.asarray(Image.open(file))]) or frame.endswith("jpg")
    assert predict([]).shape == (0,)


def test_lowered_weights_are_exact_on_any_processor(exports: Path) -> None:
    graph = onnx.load(exports / "out/q8" / LOWERED).graph
    types = {constant.name: constant.data_type for constant in graph.initializer}
    products = [types[node.input[1]] for node in graph.node if node.op_type == "MatMulIntegerToFloat"]
    assert set(products) == {onnx.TensorProto.UINT8}


@pytest.mark.parametrize("name", ["baseline", "q16", "q8", "w8", "w4"])
def test_who_loads_a_file_is_true(exports: Path, name: str) -> None:
    record = description(exports / "out" / name)
    frames = np.random.default_rng(0).integers(0, 256, (1, 3, 32, 32), dtype=np.uint8)
    for file, about in record.files.items():
        path = str(exports / "out" / name / file)
        if "openvino" in about.runs_in:
            # CPUs that have halves would compute in them.
            compiled = openvino.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
            answer = compiled(frames)["logits"]
            assert np.isfinite(answer).all()
        else:
            with pytest.raises(RuntimeError):
                openvino.compile_model(path, "CPU")
        if "opencv" in about.runs_in:
            network = cv2.dnn.readNetFromONNX(path)
            network.setInput(frames)
            logits = np.asarray(network.forward(["logits", "cam"])[0]).reshape(-1)
            np.testing.assert_allclose(logits, answer.reshape(-1), atol=1e-2, rtol=1e-3)
        elif file == LOWERED or name == "w4":
            with pytest.raises(cv2.error):
                cv2.dnn.readNetFromONNX(path)


def test_description_for_programs(exports: Path) -> None:
    record = description(exports / "out/q8")
    assert (record.model, record.input, record.threshold) == (LOWERED, InputSpec(32), 0.5)
    assert {name: file.stored for name, file in record.files.items()} == {LOWERED: "int8", "model.onnx": "int8"}
    for name, file in record.files.items():
        path = exports / "out/q8" / name
        assert (file.sha256, file.size_bytes) == (file_digest(path), path.stat().st_size)
    assert (record.measured.file, record.measured.runtime) == (LOWERED, "onnxruntime")
    scores = json.loads((exports / "reports/first/scores.json").read_text())["variants"]
    assert (record.scores["auc"], record.baseline_scores["auc"]) == (scores["q8"]["auc"], scores["baseline"]["auc"])
    assert record.scores["auc_delta_p_holm"] == scores["q8"]["auc_delta_p_holm"], "of all variants, as in the report"
    snippet, *artifact = record.moved
    assert (snippet.file, snippet.by, snippet.frames) == (LOWERED, "predict.py", 32)
    assert snippet.mean < 0.01
    assert [way.by for way in artifact] == ["onnxruntime, its own settings", "onnxruntime, no optimisation"]
    assert {way.file for way in artifact} == {"model.onnx"}


def test_readme_says_what_it_is(exports: Path) -> None:
    scores = json.loads((exports / "reports/first/scores.json").read_text())["variants"]
    for name in ("q16", "q8", "w4"):
        about = (exports / "out" / name / "README.md").read_text(encoding="utf-8")
        for variant in (name, "baseline"):
            assert f"{scores[variant]['auc']:.4f} (" in about
        record = description(exports / "out" / name)
        assert f", from `{record.measured.file}`" in about
        assert f"on {record.moved[0].frames} test frames" in about
        kind = {"q8": "int8", "w4": "int4 weights"}.get(name, "float")
        assert f"python -m pip install {models.OLDEST[kind].requirements}\n" in about
        assert f"python -m pip install {models.installed(InputSpec(32)).requirements}\n" in about
        assert ("Do not run `model.onnx` itself" in about) == (name == "q8"), "its sums may saturate"
        assert ("is for onnxruntime alone" in about) == (name == "q8")
        assert ("differed from that of `model.onnx`" in about) == (name != "q16")
        assert "of fp16 values" in about or name != "q16"


def test_readme_warns_its_receiver_of_this_variant_alone(
    exports: Path, tiny_family: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What only whoever ran it can do is not asked of who gets it: no option, no key, no command, no log."""
    file = exports / "results/first/run.json"
    before = file.read_bytes()
    run = json.loads(before)
    run["warnings"] = [
        "Test and validation share 3 sources: a, b, c.",
        f"{NOT_SHOWN}: other.",
        f"{NOT_TIMED}: w8; `bench run` without `--no-timing` times it.",
        f"{CPU_USED}: `bench doctor` says more.",
        f"`split: auto` knew no source of 3 of 9 frames.{WRITE_PATTERN}",
    ]
    run["choose"] = {"auc_drop": 0.5, "size_mib": 1e-9, "latency_ms": None, "prefer": "size"}
    for variant in run["variants"]:
        if variant["name"] in ("q8", "w8"):
            variant["fidelity"] = {"mean": 0.5, "largest": 0.9, "frames": 16, "split": "test", "exact": False}
            variant["notes"] += [f"it could not be compared{SEE_LOG}"]
            variant["conditions"] |= {"others_cpu": 0.5, "throttled_seconds": 1e6, "gpu_throttling": ["heat"]}
            variant["measurements"][0]["settled"] = False
    monkeypatch.chdir(exports)
    try:
        file.write_text(json.dumps(run))
        assert bench("export", "q8", "--to", str(tmp_path / "out"))[0] == 0
    finally:
        file.write_bytes(before)
    warned = (tmp_path / "out/README.md").read_text(encoding="utf-8").partition("## What to know")[2]
    assert "**q8** is **inexact on this processor**" in warned
    assert "share 3 sources" in warned
    assert "knew no source of 3 of 9 frames." in warned
    assert "It could not be compared." in warned
    assert "the speeds are those of a busy machine. Time it where you will run it" in warned
    assert "Judge it where you will run it." in warned
    assert "Times had not settled" in warned
    for senders in (
        "w8", "Not shown", "Not timed", "CUDA", "source\\_pattern", "source_pattern", "runtime:", "bench run",
        "threads:", "nvidia-smi", "timing:", "allowed", "log says", "last step took", "preprocessing",
    ):  # fmt: skip
        assert senders not in warned, senders


# ----------------------------------------------------------------------------------------------------- calibrated
def exported(exports: Path, to: Path, *options: str) -> HandedOver:
    code, output = bench("export", *options, "--to", str(to))
    assert code == 0, output
    return description(to)


@pytest.mark.parametrize(
    ("name", "method", "options"),
    [
        ("baseline", "temperature", ["--calibrated"]),
        ("q16", "platt", ["--calibrated", "platt", "--format", "safetensors"]),
        ("q8", "platt", ["--calibrated=platt"]),
        ("w4", "temperature", ["--calibrated", "temperature"]),
    ],
)
def test_calibrated_files_give_the_calibrated_scores(
    exports: Path,
    tiny_family: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    method: str,
    options: list[str],
) -> None:
    """Of every file that predict.py runs: P(fake), its decisions, and what the map's mean lacks to be the logits'."""
    monkeypatch.chdir(exports)
    record = exported(exports, tmp_path / "out", name, *options)
    scaled = stored_scaling(exports, name, method)
    assert record.calibration is not None
    assert (record.calibration.slope, record.calibration.shift) == (scaled["slope"], scaled["shift"])
    assert (record.calibration.method, record.calibration.frames) == (method, 40)
    table = pd.read_parquet(exports / "results/first" / name / "predictions.parquet")
    table = table[(table["split"] == "test") & table["frame"].str.endswith("png")]
    logit_diff = table["logit_fake"].astype(float) - table["logit_real"].astype(float)
    expected = 1 / (1 + np.exp(-(scaled["slope"] * logit_diff + scaled["shift"])))
    names = loaded(tmp_path / "out")
    answers = names["predict"]([exports / "faces/test" / frame for frame in table["frame"]])
    np.testing.assert_allclose(answers, expected, atol=1e-5)
    assert record.threshold == names["THRESHOLD"] == pytest.approx(scaled["threshold"])
    np.testing.assert_array_equal(answers >= names["THRESHOLD"], table["p_fake"] >= 0.5)
    for row in record.moved:
        assert (row.file not in record.files, row.flips) == (False, 0)
    assert record.moved[0].largest < 0.05
    assert_map_adds_up(tmp_path / "out", record)


def stored_scaling(exports: Path, name: str, method: str) -> dict[str, Any]:
    """What the report says of a variant's calibration."""
    scores = json.loads((exports / "reports/first/scores.json").read_text())["variants"]
    scaling: dict[str, Any] = scores[name]["calibration"][method]
    return scaling


def front_matter_of(readme: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(readme.split("---\n")[1])
    return content


def assert_map_adds_up(folder: Path, record: HandedOver) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32), dtype=np.uint8)
    assert record.margin_bias is not None
    for name in record.files:
        if name.endswith(".onnx"):
            session = onnxruntime.InferenceSession(folder / name, providers=["CPUExecutionProvider"])
            logits, cam = session.run(["logits", "cam"], {"frames": frames})
        else:
            detector = load_torch(folder / name).float()
            with torch.no_grad():
                logits, cam = (part.numpy() for part in detector(torch.from_numpy(frames)))
        np.testing.assert_allclose(cam.mean((1, 2)) + record.margin_bias, logits[:, 1] - logits[:, 0], atol=1e-4)


def test_calibrated_files_differ_in_nothing_else(
    exports: Path, tiny_family: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Integers stay, other libraries load what they loaded, and digests are those before and after."""
    monkeypatch.chdir(exports)
    record, before = exported(exports, tmp_path / "out", "--calibrated", "q8"), description(exports / "out/q8")
    assert record.calibration is not None
    assert record.calibration.sha256_before == {name: file.sha256 for name, file in before.files.items()}
    assert all(record.files[name].sha256 != file.sha256 for name, file in before.files.items())
    for name, file in record.files.items():
        model, plain = (onnx.load(folder / name) for folder in (tmp_path / "out", exports / "out/q8"))
        assert file.sha256 == file_digest(tmp_path / "out" / name)
        kinds, plain_kinds = ([node.op_type for node in each.graph.node] for each in (model, plain))
        assert kinds == [*plain_kinds, "Mul", "Mul"]
        assert (model.ir_version, model.opset_import) == (plain.ir_version, plain.opset_import)
    assert (record.measured.file, before.measured.file) == (None, LOWERED)
    about = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    assert "is divided by T = " in about
    assert f"it was {record.calibration.ece:.3f} away from it on average (ECE)" in about
    assert "P(fake) is no share of fakes" not in about
    brier = stored_scaling(exports, "q8", "temperature")["brier"]
    metrics = {metric["type"]: metric for metric in front_matter_of(about)["model-index"][0]["results"][0]["metrics"]}
    assert metrics["brier_score"]["value"] == brier
    assert metrics["accuracy"]["name"] == f"Accuracy at P(fake) ≥ {record.threshold:g}"
    assert f"fitted on {record.calibration.frames} validation frames (20 fake, 20 real)" in about
    assert "`model.onnx` before its logits were scaled" in about
    assert bench_package.load(tmp_path / "out").predict(np.zeros((1, 32, 32, 3), np.uint8)).shape == (1,)
    evidence = stored.read_json(tmp_path / "out" / EVIDENCE)
    assert evidence["artifact"] == stored.read_json(exports / "out/q8" / EVIDENCE)["artifact"]
    assert evidence["files"]["model.onnx"]["sha256"] == file_digest(tmp_path / "out/model.onnx")
    code, output = command_line.bench("verify", str(tmp_path / "out"), "--experiment", "experiments.yaml")
    assert code == 0, output


@pytest.mark.parametrize("name", ["baseline", "w8"])
def test_who_loads_a_calibrated_file_is_true(
    exports: Path, tiny_family: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.chdir(exports)
    record = exported(exports, tmp_path / name, name, "--calibrated", "platt")
    assert "opencv" in record.files["model.onnx"].runs_in
    path = str(tmp_path / name / "model.onnx")
    frames = np.random.default_rng(0).integers(0, 256, (1, 3, 32, 32), dtype=np.uint8)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    expected = session.run(["logits"], {"frames": frames})[0].reshape(-1)
    compiled = openvino.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    np.testing.assert_allclose(compiled(frames)["logits"].reshape(-1), expected, atol=1e-2, rtol=1e-3)
    network = cv2.dnn.readNetFromONNX(path)
    network.setInput(frames)
    logits = np.asarray(network.forward(["logits", "cam"])[0]).reshape(-1)
    np.testing.assert_allclose(logits, expected, atol=1e-2, rtol=1e-3)


def test_what_cannot_be_calibrated_is_refused(exports: Path, tiny_family: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that has no validation frames, and a variant of which these say nothing."""
    monkeypatch.chdir(exports)
    run = store.read_run(exports / "results/first")
    evaluation = evaluate_run(run, exports / "results/first")
    few = Calibration(9, 4, 5, {}, {"temperature": "too few", "platt": "too few"})
    scored = dataclasses.replace(evaluation.variants["q16"], calibration=few)
    with pytest.raises(UserError, match="nothing was fitted to 'q16': too few; leave --calibrated out"):
        calibrated.calibration(run, dataclasses.replace(evaluation, variants={"q16": scored}), "q16", "temperature")
    without = dataclasses.replace(run, frames={"test": run.frames["test"]})
    with pytest.raises(UserError, match="Add labelled validation frames to the frame set, then `bench run`"):
        calibrated.refuse_without_frames(without, "q16", "platt")
    calibrated.refuse_without_frames(without, "q16", None)


# ------------------------------------------------------------------------------------------- model card and evidence
@pytest.mark.parametrize("name", ["baseline", "q8"])
def test_readme_is_a_model_card_of_hugging_face(exports: Path, name: str) -> None:
    card = ModelCard.load(exports / "out" / name / "README.md")
    data, scores = as_dict(card.data), json.loads((exports / "reports/first/scores.json").read_text())["variants"]
    assert (data["library_name"], data["pipeline_tag"]) == ("onnx", "image-classification")
    assert {"deepfake-detection", "onnx", "tiny"} < set(data["tags"])
    assert "license" not in data, "nobody said one"
    assert card.data.eval_results
    values = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert values["roc_auc"] == scores[name]["auc"]
    assert values["f1"] == scores[name]["f1"]
    assert set(data["metrics"]) == set(values)
    # The same metadata written by their library is the same again.
    again = ModelCardData(model_name=f"first-{name}", **_without_index(data), eval_results=card.data.eval_results)
    assert as_dict(again) == data
    assert card.text.lstrip().startswith(f"# {name}: tiny, ")
    assert "License: whoever exported it named none" in card.text


def as_dict(data: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = data.to_dict()
    return metadata


def _without_index(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key != "model-index"}


def test_what_the_owner_says_is_in_the_card_and_evidence_is_signed(
    exports: Path, tiny_family: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(exports)
    private, public = tmp_path / "key.pem", tmp_path / "public.pem"
    key = Ed25519PrivateKey.generate()
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    to, claims = tmp_path / "out", ("--license", "Apache-2.0", "--base-model", "timm/resnet18.a1_in1k")
    code, output = bench("export", "q8", "--to", str(to), "--sign-with", str(private), *claims)
    assert code == 0, output
    data = ModelCard.load(to / "README.md").data
    assert (data.license, data.base_model) == ("apache-2.0", "timm/resnet18.a1_in1k")
    assert sorted(stored.read_json(to / EVIDENCE)["files"]) == sorted(
        path.name for path in to.iterdir() if path.name not in (EVIDENCE, SIGNATURE)
    )
    if shutil.which("openssl"):
        command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(public), "-rawin"]
        files = ["-in", str(to / EVIDENCE), "-sigfile", str(to / SIGNATURE)]
        done = subprocess.run([*command, *files], capture_output=True, text=True, check=False)
        assert "Signature Verified Successfully" in done.stdout, done.stderr
    code, output = bench("verify", str(to), "--key", str(public), "--experiment", "experiments.yaml")
    assert (code, "signed by the key given" in output) == (0, True), output


@pytest.mark.parametrize(
    ("file", "change", "what"),
    [
        ("results/first/q8/predictions.parquet", "swap", "predictions of q8"),
        ("faces/test/real/003.png", "append", "frames"),
        ("best_model.tar", "append", "weights"),
        ("reports/first/scores.json", "number", "scores of q8"),
    ],
)
def test_what_changed_where_it_was_made_is_named(
    file: str, change: str, what: str, exports: Path, tiny_family: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(exports)
    before = (exports / file).read_bytes()
    try:
        if change == "swap":
            shutil.copyfile(exports / "results/first/q16/predictions.parquet", exports / file)
        elif change == "append":
            (exports / file).write_bytes(before + b" ")
        else:
            scores = json.loads(before)
            scores["variants"]["q8"]["auc"] += 1e-12
            (exports / file).write_text(json.dumps(scores))
        code, output = command_line.bench("verify", "out/q8", "--experiment", "experiments.yaml", "--json")
    finally:
        (exports / file).write_bytes(before)
    wrong = [finding["what"] for finding in json.loads(output[output.index("{") :])["findings"]
             if finding["outcome"] in ("differs", "missing")]  # fmt: skip
    assert (code, wrong) == (1, [what])


def test_digests_are_those_that_other_tools_compute(exports: Path) -> None:
    evidence = stored.read_json(exports / "out/q8/evidence.json")
    (on,) = evidence["judged_on"]
    assert evidence["weights"] == {"file": "best_model.tar", "sha256": file_digest(exports / "best_model.tar")}
    assert on["predictions"]["q8"] == file_digest(exports / "results/first/q8/predictions.parquet")
    assert evidence["artifact"]["sha256"] == file_digest(exports / "variants" / evidence["id"] / "model.onnx")
    scores = json.loads((exports / "reports/first/scores.json").read_text())
    text = json.dumps(scores["variants"]["q8"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert on["scores"]["q8"] == hashlib.sha256(text.encode()).hexdigest()
    assert on["frames"] == scores["frames"]["test"]["digest"]
    table = pd.read_parquet(exports / "results/first/q8/predictions.parquet").query("split == 'test'")
    rows = zip(table["frame"], table["label"].tolist(), table["source"], strict=True)
    lines = [json.dumps([frame, label, None if pd.isna(source) else source, ""]) for frame, label, source in rows]
    assert on["manifest"] == hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


# -------------------------------------------------------------------------------------------------------- formats
def test_safetensors_for_floats_alone(
    exports: Path, tiny_family: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(exports)
    for name in ("q8", "w8"):
        code, output = bench("export", name, "--to", str(tmp_path / "out"), "--format", "safetensors")
        assert code == 2, output
        assert f"--format safetensors: '{name}' is stored as int8" in output
    code, output = bench("export", "q16", "--to", str(tmp_path / "out"), "--format", "tflite")
    assert (code, "'tflite' is no format; expected onnx or safetensors" in output) == (2, True)
    assert not (tmp_path / "out").exists()
    assert bench("export", "q16", "--to", str(tmp_path / "out"), "--format", "safetensors")[0] == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["README.md", "evidence.json", "model.json", "model.safetensors", "predict.py"]
    record = description(tmp_path / "out")
    assert (record.model, record.measured.file) == ("model.safetensors", None)
    assert record.moved[0].largest < 1e-3
    assert "needs bench" in (tmp_path / "out/README.md").read_text(encoding="utf-8")


def test_what_ran_in_pytorch_is_exported_now(
    exports: Path, tiny_family: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And where frames are gone, or others than those that were evaluated, nothing is said of them."""
    monkeypatch.setattr(timing, "start", start_in_a_thread)
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "pytorch")
    path = tmp_path / "experiments.yaml"
    path.write_text(path.read_text().replace(VARIANTS, "{baseline: []}"))
    assert bench("run")[0] == 0
    assert not list(tmp_path.glob("variants/*/*.onnx"))
    assert bench("export", "baseline", "--to", "out")[0] == 0
    record = description(tmp_path / "out")
    assert (record.model, record.measured.file, record.measured.runtime) == ("model.onnx", None, "pytorch")
    assert record.moved[0].mean < 0.01
    assert "not `model.onnx`" in (tmp_path / "out/README.md").read_text(encoding="utf-8")
    first, second = sorted((tmp_path / "faces/test/real").iterdir())[:2]
    first.write_bytes(second.read_bytes())
    assert bench("export", "baseline", "--to", "changed")[0] == 0
    assert description(tmp_path / "changed").moved == ()
    assert "scores were compared (below)" in (tmp_path / "out/README.md").read_text(encoding="utf-8")
    assert "scores were compared (below)" not in (tmp_path / "changed/README.md").read_text(encoding="utf-8")
    (tmp_path / "faces/test").rename(tmp_path / "elsewhere")
    assert bench("export", "baseline", "--to", "again")[0] == 0
    assert description(tmp_path / "again").moved == ()
    assert "was not measured" in (tmp_path / "again/README.md").read_text(encoding="utf-8")


def test_oldest_format_of_a_file_that_was_made_before(exports: Path, tmp_path: Path) -> None:
    """Nothing but that number changes."""
    model = onnx.load(exports / "out/baseline/model.onnx")
    assert model.ir_version == least_ir_version(model) == 8
    model.ir_version = 10
    onnx.save(model, tmp_path / "before.onnx")
    copy_for_old_readers(tmp_path / "before.onnx", tmp_path / "after.onnx")
    assert onnx.load(tmp_path / "after.onnx") == onnx.load(exports / "out/baseline/model.onnx")
    copy_for_old_readers(tmp_path / "after.onnx", tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "after.onnx").read_bytes()


def test_page_says_what_there_is() -> None:
    page = (ROOT / "docs/handing-over.md").read_text(encoding="utf-8")
    for versions in models.OLDEST.values():
        assert f"numpy {versions.numpy}" in page
        assert f"onnxruntime {versions.onnxruntime}" in page
        assert f"OpenCV {versions.opencv.rpartition('.')[0]}" in page
    cells = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    documented = {key for cell in cells for key in re.findall(r"`(\w+)`", cell)}
    assert {field.name for field in dataclasses.fields(HandedOver)} <= documented


# --------------------------------------------------------------------------------------------- by the README's words
@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The Python of an environment in which one line of a README was followed; one for each line."""

    @cache
    def install(line: str) -> Path:
        folder = tmp_path_factory.mktemp("elsewhere")
        venv.create(folder, with_pip=True)
        python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        command = [str(python), *shlex.split(line)[1:], "--only-binary", ":all:", "--quiet"]
        subprocess.run(command, check=True, env=outside())
        return python

    return install


def outside() -> dict[str, str]:
    """The environment of a machine that has no bench."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif("{}.{}".format(*sys.version_info) != models.OLDEST_PYTHON, reason="has other oldest versions")
@pytest.mark.parametrize("name", ["baseline", "q16", "q8", "w8", "w4"])
def test_runs_elsewhere_as_its_readme_says(exports: Path, name: str, installed: Callable[[str], Path]) -> None:
    """With the oldest versions that it names, and one variant with those that it was compared with."""
    folder = exports / "out" / name
    about = (folder / "README.md").read_text(encoding="utf-8")
    first, oldest = (line for line in about.splitlines() if line.startswith("python -m pip install "))
    (run,) = (line for line in about.splitlines() if line.startswith("python predict.py"))
    table = pd.read_parquet(exports / "results/first" / name / "predictions.parquet")
    table = table[table["split"] == "test"].set_index("frame")
    for line in (oldest, first) if name == "q8" else (oldest,):
        python = installed(line)
        frames = [str(exports / "faces/test" / frame) for frame in table.index]
        command = [str(python), *shlex.split(run)[1:-1], *frames]
        done = subprocess.run(command, cwd=folder, env=outside(), capture_output=True, text=True, check=True)
        answers = [float(answer.split()[-1]) for answer in done.stdout.splitlines()]
        # Of the one JPEG, decoders differ; printed are four digits.
        off = np.abs(np.array(answers) - table["p_fake"].to_numpy())
        assert np.sort(off)[-2] < 1e-3, line
        assert off.max() < 0.05, line
        program = "import sys; from predict import predict; print(*predict(sys.argv[1:]))"
        command = [str(python), "-c", program, *frames[:2]]
        done = subprocess.run(command, cwd=folder, env=outside(), capture_output=True, text=True, check=True)
        assert [round(float(answer), 4) for answer in done.stdout.split()] == pytest.approx(answers[:2], abs=1e-4)


# ------------------------------------------------------------------------------------------------------- predict.py
def snippet(folder: Path, spec: InputSpec, monkeypatch: pytest.MonkeyPatch, stored_as: str = "fp32") -> dict[str, Any]:
    """predict.py for a network that answers with the mean of the first frame's channels."""

    class Session:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def run(self, names: list[str], inputs: dict[str, Any]) -> list[Any]:
            assert (names, inputs["frames"].shape) == (["logits"], (1, 3, spec.size, spec.size))
            return [np.array([[0, inputs["frames"].mean() / 100]], np.float32)]

    options = SimpleNamespace(add_session_config_entry=lambda key, value: None)
    library = SimpleNamespace(SessionOptions=lambda: options, InferenceSession=Session)
    monkeypatch.setitem(sys.modules, "onnxruntime", library)
    built = Built("id", Path("model.onnx"), "onnx", stored_as, 1, None, None, 0.0, 0.0)
    facts: dict[str, Any] = {
        "built": built, "model": "model.onnx", **texts.of_spec(spec), "oldest": models.oldest(built, spec),
        "version": "1", "calibration": None,
    }  # fmt: skip
    texts._write("predict_onnx.py.j2", folder / "predict.py", facts)
    return loaded(folder)


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_pictures_of_any_size_are_fitted_as_bench_does(
    tmp_path: Path, fit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    sides = [(24, 24), (40, 40), (24, 50), (51, 23), (3, 200), (200, 3), (1, 1), (7, 24)]
    filters: tuple[Any, ...] = (*FILTERS, Filters("area", "bicubic"), Filters("pil-bicubic", "bilinear"))
    pads: tuple[Any, ...] = ("corner", "centre") if fit == "pad" else ("corner",)
    cuts = (1.0, 0.875) if fit == "crop" else (1.0,)
    for (height, width), interpolation, pad, crop_pct in itertools.product(sides, filters, pads, cuts):
        spec = InputSpec(24, fit, interpolation, pad, crop_pct)
        picture = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        file = tmp_path / "picture.png"
        Image.fromarray(picture).save(file)
        names = snippet(tmp_path, spec, monkeypatch)
        fitted = names["fitted"](names["read"](file))
        np.testing.assert_array_equal(fitted.transpose(1, 2, 0), datasets.decode(file, spec))
        assert names["predict"]([file, picture]).tolist() == names["predict"]([picture, file]).tolist()


def test_pictures_are_read_as_bench_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = snippet(tmp_path, InputSpec(24), monkeypatch)
    ramp = np.linspace(0, 255, 24 * 24 * 3, dtype=np.uint8).reshape(24, 24, 3)
    for mode in ("L", "1", "P", "LA", "RGBA", "RGB"):
        file = tmp_path / f"Bild-ä-{mode}.png"
        Image.fromarray(ramp).convert(mode).save(file)
        read = names["read"](file)
        np.testing.assert_array_equal(read, datasets.decode(file, InputSpec(24)))
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(ramp).save(tmp_path / "turned.png", exif=turned)
    Image.fromarray(ramp).save(tmp_path / "turned.jpg", exif=turned, quality=100)
    for file in (tmp_path / "turned.jpg",):
        apart = names["read"](file).astype(int) - datasets.decode(file, InputSpec(24))
        assert np.abs(apart).max() <= 2
    Image.fromarray((ramp[..., 0].astype(np.uint16)) * 257).save(tmp_path / "grey.png")
    apart = names["read"](tmp_path / "grey.png").astype(int) - datasets.decode(tmp_path / "grey.png", InputSpec(24))
    assert np.abs(apart).max() <= 1


def test_unreadable_pictures_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = snippet(tmp_path, InputSpec(24), monkeypatch)
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("no picture")
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "a.png")
    files = [str(tmp_path / name) for name in ("gone.png", "empty.png", "a.png", "text.jpg", "")]
    assert names["main"](files) == 1
    printed = capsys.readouterr()
    assert printed.out == f"{tmp_path / 'a.png'}  P(fake) 0.5000\n"
    lines = printed.err.splitlines()
    assert len(lines) == 4
    assert all(line.startswith(f"error: {file}: ") for line, file in zip(lines, [*files[:2], *files[3:]], strict=True))
    with pytest.raises(SystemExit, match="`python predict"):
        names["main"]([])
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(ValueError, match="uint8 RGB"):
            names["predict"]([wrong])


def test_snippet_is_python_of_long_ago(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fits: tuple[Any, ...] = ("stretch", "crop", "pad")
    for fit, kind in itertools.product(fits, ("fp32", "int8", "int4 weights")):
        snippet(tmp_path, InputSpec(24, fit), monkeypatch, kind)
        ast.parse((tmp_path / "predict.py").read_text(encoding="utf-8"), feature_version=(3, 8))
