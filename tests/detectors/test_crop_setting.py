"""The crop of faces that a detector expects: named by presets, said to people, and part of nothing that is computed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from bench import stored
from bench.detector_settings import DetectorSettings
from bench.detectors.presets import PRESETS
from bench.experiment import read
from bench.footage import crops
from bench.footage.faces import graphs
from bench.records import Preprocessing, as_inputs
from tests.support.command_line import bench

EXPECTED = {
    "fsbi": "fsbi", "sbi": "fsbi", "deepfakebench": "deepfakebench", "effort": "deepfakebench",
    "resnext-dfdc": "blazeface",
}  # fmt: skip


def test_presets_name_the_crop_of_their_training() -> None:
    assert {name: preset.crop for name, preset in PRESETS.items()} == {
        name: EXPECTED.get(name, "none") for name in PRESETS
    }
    assert {preset.crop for preset in PRESETS.values()} <= set(crops.PRESETS)


def test_it_changes_no_id() -> None:
    """What goes into ids and artifacts is, of every preset, what it was before there were crops."""
    inputs = json.dumps({name: as_inputs(preset) for name, preset in PRESETS.items()}, sort_keys=True)
    digest = hashlib.sha256(inputs.encode()).hexdigest()
    assert digest == "f85869ac3a0ebccbb8df99d433c09a872a8eeab957d1134c57bf4ba222f035b0"
    for preset in PRESETS.values():
        for crop in crops.PRESETS:
            other = replace(preset, crop=crop)
            assert as_inputs(other) == as_inputs(preset)
            assert other.input_spec == preset.input_spec


def test_runs_stored_before_there_were_crops_are_read() -> None:
    values = asdict(PRESETS["imagenet"])
    del values["crop"]
    assert stored.typed(Preprocessing, json.loads(json.dumps(values))) == PRESETS["imagenet"]


@pytest.mark.parametrize(
    ("given", "crop"),
    [
        ("{preset: fsbi, size: 32}", "fsbi"),
        ("{preset: fsbi, size: 32, crop: none}", "none"),
        ("{preset: imagenet, size: 32, crop: square}", "square"),
        ("{size: 32}", "none"),
        ("{size: 32, crop: pad30}", "pad30"),
        # Not to be confused with the centre cut after resizing.
        ("{preset: timm, size: 32, fit: crop}", "none"),
    ],
)
def test_in_an_experiment(workplace: Path, given: str, crop: str) -> None:
    file = workplace / "experiments.yaml"
    file.write_text(file.read_text().replace("{preset: fsbi, size: 32}", given))
    settings = read(file).detectors["mine"]
    assert isinstance(settings, DetectorSettings)
    assert settings.preprocessing.crop == crop


def test_crops_and_finders_are_listed() -> None:
    code, output = bench("list", "crops")
    assert code == 0
    assert [line.split()[0] for line in output.splitlines()[1:] if line[2:3].strip()] == list(crops.PRESETS)
    code, output = bench("list", "finders")
    assert code == 0
    for name in ("none", "yunet", *(f"an .onnx file: {kind}" for kind in graphs.kinds())):
        assert f"\n  {name}  " in output


def test_plan_says_it(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    file, sentence = workplace / "experiments.yaml", "crop: frames are taken to be faces, cut as `fsbi` cuts them"
    code, output = bench("plan")
    assert code == 0
    assert sentence in output
    file.write_text(file.read_text().replace("{preset: fsbi, size: 32}", "{preset: fsbi, size: 32, crop: none}"))
    assert sentence not in bench("plan")[1]
