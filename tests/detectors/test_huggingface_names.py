"""Vision transformers as Hugging Face's transformers saves them, against what its classes give."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from bench import detectors
from bench.artifacts import safetensors
from bench.errors import UserError
from bench.records import Conventions, Preprocessing, Reading
from tests.support import huggingface, upstream

VIT, SIGLIP = "timm:vit_base_patch16_224", "timm:vit_base_patch16_siglip_gap_224"
HALF = Preprocessing(size=huggingface.SIZE, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
REAL_FIRST = Conventions(classes=("real", "fake"))
SHAPES = {VIT: huggingface.vit_shapes(), SIGLIP: huggingface.siglip_shapes()}
# By transformers 5.24, whose `from_pretrained` read `huggingface.weights(SHAPES[…])`, of `frames(8, 64)` as HALF
# prepares them.
DIGESTS = {VIT: "3e329897fde6b965", SIGLIP: "fc417a7fada5e98d"}
LOGITS = {
    VIT: [
        [0.775967, -0.000542], [1.102005, -1.189634], [0.099794, -0.936323], [0.281397, -0.170787],
        [1.074252, 1.087632], [0.945224, -0.916312], [0.736467, 0.396602], [0.037769, -0.577021],
    ],
    SIGLIP: [
        [-0.949043, -0.138813], [0.50186, 0.278835], [-0.174106, 0.167449], [-0.9943, -0.305125],
        [-0.796872, -1.516928], [0.051812, 0.282519], [-0.985403, 0.241529], [0.152215, 0.509622],
    ],
}  # fmt: skip


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model

    def smaller(name: str, **settings: Any) -> Any:
        is_base = f"timm:{name}" in SHAPES
        return create(name, **settings, **(huggingface.OF_TIMM if is_base else {}))

    monkeypatch.setattr(timm, "create_model", smaller)


def read(
    architecture: str, state: Mapping[str, Tensor], folder: Path, conventions: Conventions = REAL_FIRST
) -> tuple[Any, Tensor, Reading]:
    save_file(dict(state), folder / "model.safetensors", {"format": "pt"})
    detector, reading = detectors.read(architecture, folder / "model.safetensors", HALF, conventions)
    with torch.inference_mode():
        return detector, detector(upstream.frames(8, huggingface.SIZE)).logits, reading


@pytest.mark.parametrize("architecture", SHAPES)
def test_it_gives_the_logits_of_transformers(architecture: str, tmp_path: Path) -> None:
    state = huggingface.weights(SHAPES[architecture])
    assert upstream.digest(state) == DIGESTS[architecture], "other weights, which say nothing of the network"
    detector, logits, reading = read(architecture, state, tmp_path)
    torch.testing.assert_close(logits, torch.tensor(LOGITS[architecture]), atol=1e-5, rtol=0)
    assert reading.names == "names of transformers"
    assert reading.arithmetic.startswith("arithmetic transformers, by the names: ")
    assert ("vision_model.head.attention" in reading.left_out) == (architecture == SIGLIP)
    assert reading.warnings == ()
    stored = safetensors.load_torch(safetensors.save(detector, tmp_path / "stored"))
    with torch.inference_mode():
        assert torch.equal(stored(upstream.frames(8, huggingface.SIZE)).logits, logits)


@pytest.mark.parametrize("architecture", SHAPES)
def test_the_arithmetic_counts(architecture: str, tmp_path: Path) -> None:
    """timm's gives other logits for the same weights, so what is taken has to be right."""
    state = huggingface.weights(SHAPES[architecture])
    as_timm = Conventions(classes=("real", "fake"), flavour="timm")
    _, logits, reading = read(architecture, state, tmp_path, as_timm)
    assert (logits - torch.tensor(LOGITS[architecture])).abs().max() > 1e-4
    assert reading.arithmetic.startswith("arithmetic timm, as given: ")


def test_a_vit_has_its_map_and_a_network_of_timm_its_own_arithmetic(tmp_path: Path) -> None:
    detector, logits, _ = read(VIT, huggingface.weights(SHAPES[VIT]), tmp_path)
    with torch.inference_mode():
        assert detector(upstream.frames(2, huggingface.SIZE)).cam is not None
    by_timm = {f"model.{name}": tensor for name, tensor in timm_state(detector).items()}
    _, others, reading = read(VIT, by_timm, tmp_path)
    assert reading.arithmetic.startswith("arithmetic timm, by the names: layer-norm eps 1e-6")
    assert not torch.allclose(others, logits, atol=1e-3)


def timm_state(detector: Any) -> dict[str, Tensor]:
    """The same weights under timm's names."""
    return {name.removeprefix("backbone."): tensor.clone() for name, tensor in detector.state_dict().items()}


def test_names_that_version_5_has_in_memory_are_read(tmp_path: Path) -> None:
    """As of `torch.save(model.state_dict())`, behind a prefix."""
    in_memory = {
        "encoder.layer": "layers", "attention.attention.query": "attention.q_proj",
        "attention.attention.key": "attention.k_proj", "attention.attention.value": "attention.v_proj",
        "attention.output.dense": "attention.o_proj", "intermediate.dense": "mlp.fc1", "output.dense": "mlp.fc2",
    }  # fmt: skip
    state = huggingface.weights(SHAPES[VIT])
    for old, new in in_memory.items():
        state = {name.replace(old, new): tensor for name, tensor in state.items()}
    _, logits, reading = read(VIT, {f"model.{name}": tensor for name, tensor in state.items()}, tmp_path)
    torch.testing.assert_close(logits, torch.tensor(LOGITS[VIT]), atol=1e-4, rtol=0)
    assert reading.names == "names of transformers 5 in memory behind model"


def test_the_order_of_classes_is_asked_for_with_what_lies_beside(tmp_path: Path) -> None:
    state = huggingface.weights(SHAPES[VIT])
    with pytest.raises(UserError, match=r"do not tell which is which: add `classes: \[real, fake\]`"):
        read(VIT, state, tmp_path, Conventions())
    labels = {"0": "Deepfake", "1": "Realism"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit", "id2label": labels}), encoding="utf-8")
    with pytest.raises(UserError, match=r"config.json beside it calls class 0 Deepfake, class 1 Realism"):
        read(VIT, state, tmp_path, Conventions())
    _, logits, _ = read(VIT, state, tmp_path, Conventions(classes=("fake", "real")))
    torch.testing.assert_close(logits, torch.tensor(LOGITS[VIT]).flip(1), atol=1e-4, rtol=0)


@pytest.mark.parametrize("content", ["{", "[]", '{"id2label": 3}', '{"id2label": {}}', "\udcff"])
def test_a_file_beside_it_that_says_nothing_is_no_trouble(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=r"do not tell which is which: add"):
        read(VIT, huggingface.weights(SHAPES[VIT]), tmp_path, Conventions())


def test_another_architecture_is_told_by_the_names(tmp_path: Path) -> None:
    """ViT-Ti, of which DeiT-Ti is another name."""
    state = huggingface.weights(huggingface.vit_shapes(width=192, depth=12))
    with pytest.raises(UserError, match=r"they look like timm:vit_tiny_patch16_224: set `architecture:"):
        read("efficientnet_b0", state, tmp_path)


@pytest.mark.parametrize("architecture", SHAPES)
def test_transformers_itself_says_the_same(architecture: str, tmp_path: Path) -> None:
    """Where it is installed; version and numbers above are those of a run of this."""
    transformers = pytest.importorskip("transformers")
    state = huggingface.weights(SHAPES[architecture])
    if architecture == VIT:
        kind, config = transformers.ViTForImageClassification, transformers.ViTConfig(**huggingface.OF_TRANSFORMERS)
    else:
        kind = transformers.SiglipForImageClassification
        config = transformers.SiglipConfig(vision_config=huggingface.OF_TRANSFORMERS)
    config.save_pretrained(tmp_path)
    _, logits, _ = read(architecture, state, tmp_path)
    network = kind.from_pretrained(tmp_path).eval()
    with torch.inference_mode():
        expected = network(pixel_values=upstream.frames(8, huggingface.SIZE).float() / 127.5 - 1).logits
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("swin.encoder.layers.0.blocks.0.attention.self.query.weight", "Swin"),
        ("model.convnext.encoder.stages.0.layers.0.dwconv.weight", "ConvNeXt"),
        ("deit.embeddings.distillation_token", "a distilled DeiT"),
        ("vision_model.pre_layrnorm.weight", "CLIP"),
    ],
)
def test_networks_that_are_not_read_are_named(name: str, title: str, tmp_path: Path) -> None:
    state = {name: torch.zeros(3), "classifier.weight": torch.zeros(2, 3)}
    with pytest.raises(UserError, match=rf"those of transformers' {title}, of which .* `architecture: onnx`"):
        read(VIT, state, tmp_path)
