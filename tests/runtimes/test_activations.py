"""What parts of an int8 artifact write, by its own graph, and its weights turned back into floats."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.artifacts import safetensors
from bench.runtimes.onnxruntime import activations, load_reference
from bench.runtimes.pytorch.batch_norms import fold
from bench.runtimes.pytorch.dequantised import dequantised
from tests.conftest import Build


def test_further_outputs_are_near_what_the_float_network_writes(common: Build) -> None:
    built, parent = common({"quantize": "int8"}), common()
    detector = safetensors.load_torch(parent.file)
    frame = np.random.default_rng(0).integers(0, 256, (3, 32, 32), dtype=np.uint8)
    further = activations.load(built, [name for name, _ in detector.stages()], 1)
    assert further is not None
    written = further.of(frame)
    compared = 0
    with torch.inference_mode():
        value = detector.preprocess(torch.from_numpy(frame)[None])
        for name, part in detector.stages():
            value = part(value)
            if name in written and not name.endswith(("0.0", "2.0")):  # batch norms are folded into these
                assert written[name].shape == tuple(value.shape)
                assert np.corrcoef(written[name].ravel(), value.numpy().ravel())[0, 1] > 0.98
                compared += 1
    assert compared >= 2


def test_names_that_tell_nothing_give_no_activations(common: Build) -> None:
    assert activations.load(common({"quantize": "int8"}), ["backbone.elsewhere"], 1) is None


@pytest.mark.parametrize(("weights", "most"), [("int8", 0.05), ("int4", 0.2)])
def test_dequantised_weights_are_those_of_the_parent_rounded(common: Build, weights: str, most: float) -> None:
    built, parent = common({"quantize": {"weights": weights}}), common()
    copy = dequantised(built, parent)
    assert copy is not None
    folded = safetensors.load_torch(parent.file).float()
    fold(folded)
    before = {**folded.weighted_layers(), **folded.head_layers()}
    for name, layer in {**copy.weighted_layers(), **copy.head_layers()}.items():
        error = (layer.weight - before[name].weight).norm() / before[name].weight.norm()
        assert error.item() < most, name
    frame = np.random.default_rng(1).integers(0, 256, (1, 3, 32, 32), dtype=np.uint8)
    with torch.inference_mode():
        logits = copy(torch.from_numpy(frame)).logits.numpy()
    of_artifact = load_reference(built, 1).predict(frame).logits
    assert np.abs(np.diff(logits) - np.diff(of_artifact)).max() < 0.3
