"""What is noted of an artifact: what its training did, and what its zeros are worth."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from bench.pipeline import notes
from bench.records import Built, Forecast, Foretold, Proposal, RoundedLayer
from bench.variants import description
from bench.variants.chain import parse
from bench.variants.steps.recover.settings import Errors, Record

RECORD = {
    "steps": 14,
    "steps_wanted": 160,
    "learning_rate": 1e-4,
    "ended": "no more fitted into 0.2 minutes",
    "cut_short": True,
    "precision": "fp32",
    "judged_on": "80 train frames",
    "best_step": 14,
    "error": {"before": 0.05, "after": 0.047},
}


def artifact(folder: Path, weight: np.ndarray[tuple[int, ...], np.dtype[np.generic]], stored: str) -> Built:
    folder.mkdir(exist_ok=True)
    file = folder / "model.safetensors"
    save_file({"backbone.0.weight": weight, "backbone.1.weight": np.tile(OPEN, (8, 1, 1, 1)).astype("f4")}, file)
    return Built("id", file, "torch", stored, 100, 1, 1, 0.0, 1.0, zeros=0.5, zstd_bytes=50)


OPEN = np.array([1.0, -0.0, 0.0, 2.0]).reshape(1, 4, 1, 1)
DENSE = np.array([1.0, 0.0, 3.0, 2.0]).reshape(1, 4, 1, 1)
CHAIN = [parse({"prune": {"structure": "2of4"}})]


DESCRIBED = {
    "name": "q8", "architecture": "tiny", "file": "model.onnx", "sha256": "0" * 64, "kind": "onnx", "stored": "int8",
    "size_bytes": 100, "parameters": 1, "macs": 1, "margin_bias": 0.0, "seconds": 1.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("weight", "stored", "sentence"),
    [
        (OPEN.astype("f2"), "fp16", "; in half precision, TensorRT can skip two of every four on NVIDIA"),
        (OPEN.astype("f4"), "fp32", "; cast to half precision, TensorRT can skip two of every four on NVIDIA"),
        (DENSE.astype("f4"), "fp32", "can skip two of every four in 1 of 2 layers on NVIDIA"),
    ],
)
def test_what_tensorrt_can_skip_is_counted_in_the_file(
    weight: np.ndarray[tuple[int, ...], np.dtype[np.generic]], stored: str, sentence: str, tmp_path: Path
) -> None:
    built = artifact(tmp_path, weight, stored)
    assert sentence in notes.notes(CHAIN, built, built, ())[1]


def test_nothing_is_skipped_without_the_pattern_or_in_an_int8_file(tmp_path: Path) -> None:
    built = artifact(tmp_path, OPEN.astype("f2"), "fp16")
    save_file({"backbone.0.weight": DENSE.astype("f2"), "head.weight": OPEN.astype("f2")}, built.file)
    quantised = dataclasses.replace(built, kind="onnx", stored="int8", file=tmp_path / "not read")
    for artifact_without in (built, quantised):
        sentence = notes.notes(CHAIN, artifact_without, artifact_without, ())[1]
        assert "TensorRT" not in sentence
        assert sentence.endswith("nothing here computes faster for zeros")


def test_what_recover_did_is_found_on_the_way_to_what_follows_it(tmp_path: Path) -> None:
    spelled = ("weights", "prune: 0.5", "recover", "quantize: int8")
    ids = {text: f"{index:016x}" for index, text in enumerate(spelled)}
    lineage = [{"id": ids[text], "step": text} for text in spelled]
    for text, record in {"recover": {"recover": RECORD}, "quantize: int8": {}, "weights": {}}.items():
        (tmp_path / ids[text]).mkdir()
        described = {**DESCRIBED, "id": ids[text], "lineage": lineage[: spelled.index(text) + 1], **record}
        (tmp_path / ids[text] / description.DESCRIPTION).write_text(json.dumps(described), encoding="utf-8")
    file = tmp_path / ids["quantize: int8"] / "model.onnx"
    built = Built(ids["quantize: int8"], file, "onnx", "int8", 100, 1, 1, 0.0, 1.0)
    (recovery,) = notes.recovered(built)
    assert (recovery.steps, recovery.steps_wanted, recovery.cut_short) == (14, 160, True)
    assert (recovery.error_before, recovery.error_after) == (0.05, 0.047)
    chain = [parse(entry) for entry in ({"prune": 0.5}, "recover", {"quantize": "int8"})]
    assert notes.forecasts(chain, built) == (), "it trained"
    unchanged = RECORD | {"best_step": 0, "error": {"before": 0.05, "after": 0.05}}
    file_of_recover = tmp_path / ids["recover"] / description.DESCRIPTION
    described = json.loads(file_of_recover.read_text(encoding="utf-8"))
    file_of_recover.write_text(json.dumps(described | {"recover": unchanged}), encoding="utf-8")
    (forecast,) = notes.forecasts(chain, built)
    assert (forecast.step, forecast.foretold) == ("recover", Foretold(0.0, 0, 0.0))
    (tmp_path / ids["recover"] / description.DESCRIPTION).write_text("{}", encoding="utf-8")
    assert notes.recovered(built) == ()


@pytest.mark.parametrize(
    ("best_step", "error_after", "is_known"), [(0, 0.05, True), (0, 0.04, False), (9, 0.04, False)]
)
def test_a_recover_that_left_the_weights_as_they_were_adds_no_noise(
    best_step: int, error_after: float, is_known: bool
) -> None:
    """So that what follows it is compared with what stands before it; norms may have been measured again."""
    errors = Errors(0.05, error_after)
    record = Record(20, 160, "no gain", False, best_step, "held-out frames", errors)
    assert record.foretold == (Foretold(0.0, 0, 0.0) if is_known else None)


def test_a_record_that_is_none_of_its_step_makes_the_artifact_a_damaged_one(tmp_path: Path) -> None:
    described = {**DESCRIBED, "id": "0" * 16, "lineage": [{"id": "0" * 16, "step": "recover: 9"}]}
    (tmp_path / ("0" * 16)).mkdir()
    file = tmp_path / ("0" * 16) / description.DESCRIPTION
    for record, is_read in ((RECORD, True), ({**RECORD, "steps": "many"}, False), ({}, False)):
        file.write_text(json.dumps({**described, "recover": record}), encoding="utf-8")
        assert (description.find(tmp_path, "0" * 16) is not None) is is_read


def test_why_half_is_far_less_than_half_is_said() -> None:
    from bench.variants.steps import Use, prune

    before = Built("b", Path("b"), "torch", "fp32", 114_000_000, 28_340_000, 1_200_000_000, 0.0, 1.0)
    after = dataclasses.replace(before, parameters=4_980_000, macs=498_000_000)
    half = prune.Settings(amount=0.5)
    (remark,) = prune.remarks([half], before, after)
    assert "at most 50 % of each" in remark
    assert "42 % of the MACs are left and 18 % of the parameters" in remark
    assert "disturbs the logit difference least" in remark
    of_speed = list(prune.remarks([prune.Settings(amount=0.5, speed=3)], before, after))
    assert any("`speed: 3` may take more than that" in each for each in of_speed)
    of_magnitude = list(prune.remarks([prune.Settings(amount=0.5, ranking="magnitude")], before, after))
    assert any("every layer gives up the same share" in each for each in of_magnitude)
    near = dataclasses.replace(before, parameters=13_000_000, macs=590_000_000)
    assert not list(prune.remarks([half], before, near))
    assert not list(prune.remarks([half], before, dataclasses.replace(after, parameters=None)))
    assert not list(prune.remarks([prune.Settings(amount=0.5, structure="unstructured")], before, after))
    use = Use("prune", half, "prune: 0.5")
    assert remark in notes.notes([use], after, before, ())
    assert remark not in notes.notes([use, use], after, before, ())


def test_where_p_fake_or_noise_is_foretold_to_be_far_off_it_is_noted_with_what_may_help() -> None:
    rounded, in_float = RoundedLayer("conv_head", 8, 8, 0.2, 300, 1), RoundedLayer("stem", 32, 32, 0.2, 0, 1)
    proposal = Proposal("quantize: {float: [conv_head]}", ("conv_head",), 0.96, 300)

    def loud(
        mean_dp: float | None, noise: float = 5e-4, proposal: Proposal | None = None, layer: RoundedLayer = rounded
    ) -> list[str]:
        foretold = Foretold(noise, 8, 1.0, (layer, in_float), mean_dp=mean_dp)
        return list(notes._loud([Forecast("quantize: int8", "a", "b", foretold, proposal)]))

    (far,) = loud(0.034, proposal=proposal)
    assert far.startswith("quantize: int8: P(fake) is foretold to move by 0.034 on average")
    assert far.endswith("`quantize: {float: [conv_head]}` may help: it takes 96 % of the noise away")
    assert loud(0.2)[0].endswith("more layers in float may help")
    assert not loud(0.019)
    (small_logits,) = loud(0.001, noise=0.2)
    assert "a noise of 0.2 of the logit difference's variance is foretold" in small_logits
    assert loud(None, noise=0.2), "of an artifact of before"
    assert not loud(None)
    assert not loud(0.2, layer=in_float), "nothing is rounded"
