"""The same network in every form in which people have its weights, against the code that such files come from."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
import yaml
from efficientnet_pytorch import EfficientNet
from safetensors.torch import save_file
from torch import Tensor, nn

from bench import detectors
from bench.detectors.families import efficientnet
from bench.errors import UserError
from bench.records import Conventions, Preprocessing, Reading

PLAIN = Preprocessing(size=64)
ARCHITECTURE = "efficientnet_b0"
Form = Callable[[dict[str, Tensor]], Any]


def frames(count: int = 6, size: int = 64) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    coarse = torch.rand(count, 3, 9, 9, generator=generator)
    return (nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 1) * 255).to(torch.uint8)


def lively(network: nn.Module, size: int = 64) -> nn.Module:
    """Batch norms that fit some frames: otherwise a random network answers all of them alike."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            nn.init.uniform_(module.weight, 0.5, 1.5)
    with torch.no_grad():
        network.train()(frames(8, size).float() / 255)
    return network.eval()


def answers(network: nn.Module, size: int = 64) -> Tensor:
    with torch.inference_mode():
        logits: Tensor = network(frames(size=size).float() / 255)
    assert logits.std(0).max() > 1e-3, "a constant network proves nothing"
    return logits


@pytest.fixture(scope="module")
def of_timm() -> nn.Module:
    torch.manual_seed(1)
    return lively(timm.create_model(ARCHITECTURE, num_classes=2))


def read(
    state: Any, folder: Path, conventions: Conventions | None = None, architecture: str = ARCHITECTURE, size: int = 64
) -> tuple[Tensor, Reading]:
    """The logits of the frames by what is read from a file with these weights."""
    torch.save(state, folder / "w.pth")
    detector, reading = detectors.read(architecture, folder / "w.pth", Preprocessing(size=size), conventions)
    with torch.inference_mode():
        return detector(frames(size=size)).logits, reading


def prefixed(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def elsewhere(state: dict[str, Tensor], backbone: str, head: str) -> dict[str, Tensor]:
    """timm's names, with other ones before those of the backbone and in the place of the head's."""
    return {
        name.replace("classifier", head) if name.startswith("classifier") else f"{backbone}{name}": tensor
        for name, tensor in state.items()
    }


FORMS: dict[str, Form] = {
    "bare": lambda state: state,
    "wrapper that nobody listed": lambda state: {"weights_of_the_best": state, "epoch": 3},
    "list": lambda state: [state, {"lr": 0.1}],
    "Lightning, with a loss": lambda state: {
        "state_dict": prefixed(state, "model.") | {"criterion.weight": torch.ones(2)}, "hyper_parameters": {"lr": 0.1}
    },
    "SWA": lambda state: {"n_averaged": torch.tensor(5), **prefixed(state, "module.")},
    "four prefixes": lambda state: {"ckpt": {"inner": prefixed(state, "_orig_mod.module.base_model.net.")}},
    "beside an optimizer": lambda state: {
        "model": state, "optimizer": {"state": {0: {"exp_avg": state["conv_stem.weight"] * 0}}, "param_groups": []}
    },
    "under two names": lambda state: {"model": state, "state_dict": state},
    "parts apart": lambda state: {
        "encoder": {name: tensor for name, tensor in state.items() if not name.startswith("classifier")},
        "head": {"weight": state["classifier.weight"], "bias": state["classifier.bias"]},
    },
    "torch.compile of parts": lambda state: {
        re.sub(r"^(conv_head|blocks\.[13]|classifier)\.", r"\1._orig_mod.", name): tensor
        for name, tensor in state.items()
    },
    "DataParallel of the blocks": lambda state: {
        name.replace("blocks.", "blocks.module."): tensor for name, tensor in state.items()
    },
    "wrappers within wrappers": lambda state: {
        "net._orig_mod." + name.replace(".2.", ".2._checkpoint_wrapped_module.", 1): tensor
        for name, tensor in state.items()
    },
    "head of another name": lambda state: elsewhere(state, "backbone.", "cls_head"),
    "head in a sequence": lambda state: elsewhere(state, "", "classifier.1"),
    "head in a sequence of another name": lambda state: elsewhere(state, "features.", "top.2"),
    "head as a convolution": lambda state: {
        **state, "classifier.weight": state["classifier.weight"][:, :, None, None]
    },
    "ImageNet's head beside": lambda state: {
        **elsewhere(state, "encoder.", "logit"), "encoder.classifier.weight": torch.zeros(1000, 1280),
        "encoder.classifier.bias": torch.zeros(1000),
    },
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_the_same_answers_from_every_form(form: str, of_timm: nn.Module, tmp_path: Path) -> None:
    state = dict(of_timm.state_dict())
    logits, reading = read(FORMS[form](state), tmp_path)
    torch.testing.assert_close(logits, answers(of_timm), atol=1e-4, rtol=0)
    assert not reading.warnings
    assert reading.arithmetic.startswith("arithmetic timm, by `architecture:`: ")


def test_what_is_left_out_is_named(of_timm: nn.Module, tmp_path: Path) -> None:
    """Quietly what is known to take no part, and with a warning what could be part of the network."""
    state = dict(of_timm.state_dict())
    _, reading = read(FORMS["Lightning, with a loss"](state), tmp_path)
    assert reading.left_out == "state_dict.criterion.weight"
    _, reading = read(FORMS["ImageNet's head beside"](state), tmp_path)
    assert reading.left_out == "encoder.classifier.weight, encoder.classifier.bias"
    _, reading = read(state | {"attention.weight": torch.zeros(4, 4)}, tmp_path)
    assert reading.left_out == "attention.weight"
    assert "attention.weight" in reading.warnings[0]


def hidden(state: dict[str, Tensor], names: dict[str, tuple[int, ...]], head: str) -> dict[str, Tensor]:
    """Further layers, and the head under another name."""
    return elsewhere(state, "encoder.", head) | {name: torch.zeros(shape) for name, shape in names.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "head"),
    [
        ({"mlp.hidden.weight": (1280, 1280)}, "mlp.out"),
        ({"top.0.weight": (64, 1280)}, "top.1.1"),
        ({"1.weight": (1280, 1280)}, "3"),
    ],
)
def test_layers_before_the_last_one_are_refused(
    names: dict[str, tuple[int, ...]], head: str, of_timm: nn.Module, tmp_path: Path
) -> None:
    """Behind any wrapper; what is computed is then not the last layer over the pooled features."""
    state = hidden(dict(of_timm.state_dict()), names, head)
    if head == "3":
        state = {name.replace("encoder.", "0."): tensor for name, tensor in state.items()}
    for wrapped in (state, {"state_dict": state}):
        with pytest.raises(UserError, match=r"layers beside the one that writes the logits \(1\)"):
            read(wrapped, tmp_path)


def test_a_sequence_of_backbone_and_head_is_read_behind_any_wrapper(of_timm: nn.Module, tmp_path: Path) -> None:
    state = elsewhere(dict(of_timm.state_dict()), "0.", "3")
    for wrapped in (state, {"state_dict": state}, {"best": prefixed(state, "module.")}):
        logits, _ = read(wrapped, tmp_path)
        torch.testing.assert_close(logits, answers(of_timm), atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("wrapper", ["model", "epoch_12", "best_loss_model", "step"])
@pytest.mark.parametrize("name", ["neck.weight", "attention.weight", "norm_decay.weight"])
def test_what_could_be_part_of_the_network_is_warned_of(
    wrapper: str, name: str, of_timm: nn.Module, tmp_path: Path
) -> None:
    """Whatever the dictionaries are called, and in whichever of them it lies."""
    state, layer = dict(of_timm.state_dict()), torch.zeros(1280, 1280)
    for checkpoint in ({wrapper: state | {name: layer}}, {wrapper: state, "others": {name: layer}}):
        _, reading = read(checkpoint, tmp_path)
        assert name in reading.warnings[0]


def test_a_usual_head_of_another_shape_is_no_reason_to_take_another(of_timm: nn.Module, tmp_path: Path) -> None:
    state = dict(of_timm.state_dict())
    state |= {"classifier.weight": torch.zeros(5, 1280), "classifier.bias": torch.zeros(5)}
    for name in ("aux.weight", "criterion.weight", "gate.weight"):
        with pytest.raises(UserError, match=r"classifier\.weight is \[5, 1280\], expected \[2, 1280\]"):
            read(state | {name: torch.zeros(2, 1280)}, tmp_path)


def test_two_tensors_of_one_name_are_refused(of_timm: nn.Module, tmp_path: Path) -> None:
    state = dict(of_timm.state_dict())
    half = {name: tensor / 2 for name, tensor in state.items()}
    for checkpoint in ({0: state, "0": half}, {"model": state, "model.conv_stem.weight": half["conv_stem.weight"]}):
        with pytest.raises(UserError, match="two different tensors are called"):
            read(checkpoint, tmp_path)


def test_dictionaries_are_no_attributes_of_a_projects_code(tmp_path: Path) -> None:
    """`{"net": state_dict}` is how anybody may save; `net.` within the names is FSBI's and SBI's."""
    state = dict(lively(of_efficientnet_pytorch()).state_dict())
    with pytest.raises(UserError, match="names of efficientnet_pytorch do not tell"):
        read({"net": state}, tmp_path)
    _, reading = read({"model": prefixed(state, "net.")}, tmp_path)
    assert "FSBI and SBI" in reading.names


# ------------------------------------------------------------------------------------ logits
@pytest.mark.parametrize("positive", ["fake", "real"])
def test_one_logit_speaks_for_what_its_owner_says(positive: Any, of_timm: nn.Module, tmp_path: Path) -> None:
    state = dict(of_timm.state_dict())
    sign = 1 if positive == "fake" else -1
    for leaf in ("weight", "bias"):
        rows = state[f"classifier.{leaf}"]
        state[f"classifier.{leaf}"] = sign * (rows[1:] - rows[:1])
    with pytest.raises(UserError, match=r"nothing tells what a high one speaks for: add `positive: fake`"):
        read(state, tmp_path)
    logits, reading = read(state, tmp_path, Conventions(positive=positive))
    expected = answers(of_timm)
    torch.testing.assert_close(logits[:, 1] - logits[:, 0], expected[:, 1] - expected[:, 0], atol=1e-4, rtol=0)
    assert positive in reading.logits
    with pytest.raises(UserError, match="`classes:` is for two"):
        read(state, tmp_path, Conventions(classes=("fake", "real")))


def test_classes_may_be_the_other_way_round(of_timm: nn.Module, tmp_path: Path) -> None:
    state = dict(of_timm.state_dict())
    logits, reading = read(state, tmp_path, Conventions(classes=("fake", "real")))
    torch.testing.assert_close(logits, answers(of_timm).flip(1), atol=1e-4, rtol=0)
    assert "two logits: fake, real" in reading.logits
    with pytest.raises(UserError, match="`positive:` is for one"):
        read(state, tmp_path, Conventions(positive="fake"))


FAKE_FIRST: dict[str, Any] = {
    "class_to_idx": {"fake": 0, "real": 1}, "idx_to_class": {0: "Fake", 1: "Real"}, "classes": ["fake", "real"],
    "class_names": ("manipulated", "original"), "id2label": {"0": "deepfake", "1": "real"},
}  # fmt: skip


@pytest.mark.parametrize("key", FAKE_FIRST)
def test_an_order_of_classes_that_the_file_states_is_not_turned_round(
    key: str, of_timm: nn.Module, tmp_path: Path
) -> None:
    state = {"state_dict": of_timm.state_dict(), "hyper_parameters": {key: FAKE_FIRST[key]}}
    with pytest.raises(
        UserError, match=f"the first would be taken for real, but {key} in it calls class 0 .*add"
    ) as no:
        read(state, tmp_path)
    assert "`classes: [fake, real]`" in str(no.value)
    logits, _ = read(state, tmp_path, Conventions(classes=("fake", "real")))
    torch.testing.assert_close(logits, answers(of_timm).flip(1), atol=1e-4, rtol=1e-4)
    read(state, tmp_path, Conventions(classes=("real", "fake")))


def test_an_order_of_classes_may_stand_beside_the_weights_or_in_their_metadata(
    of_timm: nn.Module, tmp_path: Path
) -> None:
    state = {name: tensor.contiguous() for name, tensor in of_timm.state_dict().items()}
    (tmp_path / "config.json").write_text('{"architecture": "efficientnet_b0", "label_names": ["fake", "real"]}')
    with pytest.raises(UserError, match=r"label_names in config\.json beside it calls class 0 fake and class 1 real"):
        read(state, tmp_path)
    (tmp_path / "config.json").write_text('{"pretrained_cfg": {"label_names": ["real", "fake"]}}')
    _, reading = read(state, tmp_path)
    assert "real, fake, as label_names in config.json beside it says" in reading.sentence
    (tmp_path / "config.json").unlink()
    save_file(state, tmp_path / "w.safetensors", {"classes": '["fake", "real"]'})
    with pytest.raises(UserError, match="classes in its metadata calls class 0 fake and class 1 real"):
        detectors.read(ARCHITECTURE, tmp_path / "w.safetensors", PLAIN)


def test_odd_entries_about_classes_are_left_aside(of_timm: nn.Module, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"label2id": {"a": [0], "b": {"c": 1}}}')
    odd = {"state_dict": of_timm.state_dict(), "label2id": {"fake": [0], "real": {}}, "id2label": "[" * 100_000}
    logits, _ = read(odd, tmp_path)
    torch.testing.assert_close(logits, answers(of_timm), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("stated", [["cat", "dog"], ["fake", "fake2"], ["real", "fake", "mask"], "fake,real", {"a": 0}])
def test_classes_that_mean_nothing_here_change_nothing(stated: Any, of_timm: nn.Module, tmp_path: Path) -> None:
    logits, reading = read({"state_dict": of_timm.state_dict(), "classes": stated}, tmp_path)
    torch.testing.assert_close(logits, answers(of_timm), atol=1e-4, rtol=1e-4)
    assert "says" not in reading.sentence


def test_a_head_without_bias(of_timm: nn.Module, tmp_path: Path) -> None:
    state = {name: tensor for name, tensor in of_timm.state_dict().items() if name != "classifier.bias"}
    logits, _ = read(state, tmp_path)
    expected = answers(of_timm) - of_timm.get_parameter("classifier.bias").detach()
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)


# ------------------------------------------------------------------------------------ several sets of weights
def two_sets(of_timm: nn.Module, **more: Any) -> dict[str, Any]:
    state = dict(of_timm.state_dict())
    plain = {name: tensor * 0.9 if tensor.ndim == 4 else tensor.clone() for name, tensor in state.items()}
    return {"epoch": 9, "state_dict": prefixed(plain, "module."), "state_dict_ema": prefixed(state, "module."), **more}


@pytest.mark.parametrize("key", ["state_dict_ema", "state_dict_ema.module"])
def test_one_of_several_sets_is_named(key: str, of_timm: nn.Module, tmp_path: Path) -> None:
    logits, reading = read(two_sets(of_timm), tmp_path, Conventions(key=key))
    torch.testing.assert_close(logits, answers(of_timm), atol=1e-4, rtol=0)
    assert "state_dict_ema" in reading.names
    other, _ = read(two_sets(of_timm), tmp_path, Conventions(key="state_dict"))
    assert (other - logits).abs().max() > 1e-3


def test_no_set_of_several_is_taken_in_silence(of_timm: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read(two_sets(of_timm), tmp_path)
    assert "holds 2 sets of weights: state_dict.module, state_dict_ema.module" in str(caught.value)
    assert "moving average" in str(caught.value)
    with pytest.raises(UserError, match=r"names no set of weights.*key: state_dict_ema\.module\}"):
        read(two_sets(of_timm), tmp_path, Conventions(key="state_dict_emma"))


def test_a_key_may_be_any_whole_part_of_the_names(of_timm: nn.Module, tmp_path: Path) -> None:
    """What an error lists can be written, also where two schemes' names begin at different prefixes."""
    state = dict(of_timm.state_dict())
    plain = {name: tensor * 0.9 if tensor.ndim == 4 else tensor.clone() for name, tensor in state.items()}
    both = {"student": prefixed(plain, "backbone."), "teacher": prefixed(state, "backbone.")}
    with pytest.raises(UserError, match=r"key: teacher\}"):
        read(both, tmp_path)
    logits, _ = read(both, tmp_path, Conventions(key="teacher"))
    torch.testing.assert_close(logits, answers(of_timm), atol=1e-4, rtol=0)
    lightning = {"state_dict": prefixed(plain, "model.") | prefixed(state, "ema_model.module.")}
    logits, _ = read(lightning, tmp_path, Conventions(key="ema_model"))
    torch.testing.assert_close(logits, answers(of_timm), atol=1e-4, rtol=0)
    with pytest.raises(UserError, match="the file holds one, without a prefix: leave `key` out"):
        read(state, tmp_path, Conventions(key="state_dict"))
    with pytest.raises(UserError, match=r"the file holds one, model: leave `key` out"):
        read({"model": state}, tmp_path, Conventions(key="ema"))


def test_an_average_of_parameters_alone_is_named(of_timm: nn.Module, tmp_path: Path) -> None:
    """It lacks batch norms' statistics, and so is no whole set."""
    state = dict(of_timm.state_dict())
    averaged = {name: tensor.detach() * 0.9 for name, tensor in of_timm.named_parameters()}
    _, reading = read({"state_dict": state, "ema": averaged}, tmp_path)
    assert any("further weights of this network" in warning and "ema" in warning for warning in reading.warnings)
    with pytest.raises(
        UserError, match=r"98 of 309 tensors are missing there, such as ema\.blocks\.0\.0\.bn1\.running"
    ):
        read({"state_dict": state, "ema": averaged}, tmp_path, Conventions(key="ema"))


@pytest.mark.parametrize("form", ["list", "names without dots"])
def test_an_average_under_other_names_is_named_by_its_shapes(form: str, of_timm: nn.Module, tmp_path: Path) -> None:
    """As torch_ema and latent diffusion's code keep it."""
    averaged = {name: tensor.detach() * 0.9 for name, tensor in of_timm.named_parameters()}
    flat = {name.replace(".", ""): tensor for name, tensor in averaged.items()}
    average = {"shadow": list(averaged.values())} if form == "list" else {"shadow": flat | {"decay": torch.ones(())}}
    _, reading = read({"state_dict": dict(of_timm.state_dict()), "ema": average}, tmp_path)
    (sentence,) = (warning for warning in reading.warnings if "further weights of this network" in warning)
    assert "those behind ema.shadow." in sentence
    assert "ema.shadow.0" not in reading.left_out


def test_a_set_is_named_once_though_two_schemes_have_its_names(of_timm: nn.Module, tmp_path: Path) -> None:
    state = dict(of_timm.state_dict())
    plain = {name: tensor * 0.9 if tensor.ndim == 4 else tensor.clone() for name, tensor in state.items()}
    both = {"student": prefixed(plain, "module.backbone."), "teacher": prefixed(state, "backbone.")}
    _, reading = read(both, tmp_path, Conventions(key="teacher"))
    assert reading.warnings[0].endswith("those behind student.module.")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["EMA{'decay': 0.99}", "a, b", "0", "null", "mit größe", 'quo"te'])
def test_the_example_of_a_key_is_yaml(name: str, of_timm: nn.Module, tmp_path: Path) -> None:
    """Whatever the dictionary is called in which the weights lie."""
    state = dict(of_timm.state_dict())
    plain = {name: tensor * 0.9 if tensor.ndim == 4 else tensor.clone() for name, tensor in state.items()}
    with pytest.raises(UserError) as caught:
        read({"a": plain, name: state}, tmp_path)
    example = re.search(r"`weights: (.*?})`", caught.value.lines[0])
    assert example is not None
    written = yaml.safe_load(example[1])
    assert written["file"] == str(tmp_path / "w.pth")
    logits, _ = read({"a": plain, name: state}, tmp_path, Conventions(key=written["key"]))
    torch.testing.assert_close(logits, answers(of_timm), atol=1e-4, rtol=0)


def test_lightnings_average_is_the_set_that_is_advised(of_timm: nn.Module, tmp_path: Path) -> None:
    """Its WeightAveraging saves the average as `state_dict`, and the plain weights beside."""
    state = dict(of_timm.state_dict())
    plain = {name: tensor * 0.9 if tensor.ndim == 4 else tensor.clone() for name, tensor in state.items()}
    both = {
        "state_dict": prefixed(state, "model."), "current_model_state": prefixed(plain, "model."),
        "averaging_state": {"n_averaged": torch.tensor(5)},
    }  # fmt: skip
    with pytest.raises(
        UserError, match=r"key: state_dict\.model\}.*\n.*has the average of the weights in `state_dict`"
    ):
        read(both, tmp_path)


@pytest.mark.parametrize(("plain", "average"), [("", "ema"), ("model.", "model.ema")])
def test_an_average_within_the_plain_ones(plain: str, average: str, of_timm: nn.Module, tmp_path: Path) -> None:
    state = dict(of_timm.state_dict())
    worse = {name: tensor * 0.9 if tensor.ndim == 4 else tensor.clone() for name, tensor in state.items()}
    both = prefixed(worse, plain) | prefixed(state, f"{average}.")
    with pytest.raises(UserError, match="holds 2 sets of weights"):
        read(both, tmp_path)
    logits, reading = read(both, tmp_path, Conventions(key=average))
    torch.testing.assert_close(logits, answers(of_timm), atol=1e-4, rtol=0)
    assert "further weights of this network" in reading.warnings[0]


def test_one_backbone_with_two_heads(of_timm: nn.Module, tmp_path: Path) -> None:
    state = dict(of_timm.state_dict())
    other = state | {"classifier.weight": torch.zeros(2, 1280)}
    with pytest.raises(UserError, match=r"with different heads: a\.classifier\.weight, b\.classifier\.weight"):
        read({"a": state, "b": other}, tmp_path)
    logits, _ = read({"a": state, "b": other}, tmp_path, Conventions(key="a"))
    torch.testing.assert_close(logits, answers(of_timm), atol=1e-4, rtol=0)
    _, reading = read({"model": state, "state_dict": state}, tmp_path, Conventions(key="state_dict"))
    assert not reading.warnings, "these are the same weights"


def test_layers_may_be_called_as_what_trains_a_network(of_timm: nn.Module, tmp_path: Path) -> None:
    """Only dictionaries of that name are the state of optimizers, schedules and scalers of gradients."""
    state, other = dict(of_timm.state_dict()), {"0": torch.zeros(3)}
    beside = {"optimizer_states": [other], "grad_scaler": other, "opt": {"state": [other]}, "opt_d": other}
    _, reading = read({"model": state, **beside}, tmp_path)
    assert not reading.warnings
    assert not reading.left_out
    _, reading = read({"model": state, "criterion_state_dict": {"weight": torch.ones(2)}}, tmp_path)
    assert reading.left_out == "criterion_state_dict.weight"
    assert not reading.warnings
    _, reading = read({"model": state | {"scaler.weight": torch.ones(3)}}, tmp_path)
    assert "model.scaler.weight" in reading.warnings[0]


def test_an_average_in_the_same_dictionary(of_timm: nn.Module, tmp_path: Path) -> None:
    """As wrappers save it that keep both networks as modules; a shared layer makes them no less two."""
    state = dict(of_timm.state_dict())
    plain = {name: tensor if name == "conv_stem.weight" else tensor.clone() for name, tensor in state.items()}
    both = prefixed(plain, "model.") | prefixed(state, "ema_model.module.")
    with pytest.raises(UserError, match="holds 2 sets of weights"):
        read({"state_dict": both}, tmp_path)
    _, reading = read({"state_dict": both}, tmp_path, Conventions(key="state_dict.ema_model"))
    assert not reading.left_out, "the other set is no part that was left out"


# ------------------------------------------------------------------------------------ whose code
def test_torchvision(tmp_path: Path) -> None:
    torch.manual_seed(2)
    network = lively(torchvision.models.efficientnet_b0(num_classes=2))
    logits, reading = read({"state_dict": prefixed(network.state_dict(), "backbone.")}, tmp_path)
    torch.testing.assert_close(logits, answers(network), atol=1e-4, rtol=0)
    assert "torchvision" in reading.names
    assert "eps 1e-5" in reading.arithmetic


def test_torchvisions_features_under_another_name(tmp_path: Path) -> None:
    """The names tell whose arithmetic it is all the same."""
    torch.manual_seed(1)
    network = lively(torchvision.models.efficientnet_b0(num_classes=2))
    state = {
        name.replace("features.", "backbone.").replace("classifier.1", "top"): tensor
        for name, tensor in network.state_dict().items()
    }
    logits, reading = read(state, tmp_path)
    torch.testing.assert_close(logits, answers(network), atol=1e-4, rtol=0)
    assert reading.names == "names of torchvision behind backbone"
    assert reading.arithmetic.startswith("arithmetic torchvision, by the names")


@pytest.mark.slow
def test_torchvisions_b5_has_another_eps(tmp_path: Path) -> None:
    torch.manual_seed(2)
    network = lively(torchvision.models.efficientnet_b5(num_classes=2))
    logits, reading = read(network.state_dict(), tmp_path, architecture="efficientnet_b5")
    expected = answers(network)
    # In a frame unlike those that batch norms saw, logits go beyond 40,000, and float32 itself is off by 100.
    steady = expected.abs().amax(1) < 100
    assert steady.sum() >= 4
    torch.testing.assert_close(logits[steady], expected[steady], atol=1e-4, rtol=0)
    assert "eps 1e-3" in reading.arithmetic


def of_efficientnet_pytorch(size: str = "b0", **settings: Any) -> EfficientNet:
    torch.manual_seed(3)
    return EfficientNet.from_name(f"efficientnet-{size}", num_classes=2, **settings)


@pytest.mark.parametrize(
    ("image_size", "flavour"), [(224, "static"), (128, "static-128"), (97, "static-97"), (None, "tf")]
)
def test_padding_is_what_flavour_says(image_size: int | None, flavour: str, tmp_path: Path) -> None:
    """Names alone tell nothing of it."""
    network = lively(of_efficientnet_pytorch(image_size=image_size), 97)
    with pytest.raises(UserError, match=r"(?s)do not tell with which arithmetic.*static-<size>") as caught:
        read(network.state_dict(), tmp_path, size=97)
    assert "efficientnet_pytorch" in str(caught.value)
    logits, reading = read(network.state_dict(), tmp_path, Conventions(flavour=flavour), size=97)
    torch.testing.assert_close(logits, answers(network, 97), atol=1e-4, rtol=0)
    assert f"arithmetic {flavour}, as given: " in reading.arithmetic


def test_deepfakebench_has_a_stem_without_padding(tmp_path: Path) -> None:
    network = of_efficientnet_pytorch("b4")
    network._conv_stem = nn.Conv2d(3, 48, 3, stride=2, bias=False)
    lively(network, 128)
    state = {
        re.sub(r"^efficientnet\._fc", "last_layer", f"efficientnet.{name}"): tensor
        for name, tensor in network.state_dict().items()
    }
    state = prefixed(state, "backbone.")
    logits, reading = read(state, tmp_path, architecture="efficientnet_b4", size=128)
    torch.testing.assert_close(logits, answers(network, 128), atol=1e-4, rtol=0)
    assert "DeepfakeBench" in reading.names
    padded, _ = read(state, tmp_path, Conventions(flavour="static"), architecture="efficientnet_b4", size=128)
    assert (padded - logits).abs().max() > 1e-3


def one_logit(state: dict[str, Tensor], head: str) -> dict[str, Tensor]:
    rows = {leaf: state.pop(f"{head}.{leaf}") for leaf in ("weight", "bias")}
    return {leaf: tensor[1:] - tensor[:1] for leaf, tensor in rows.items()}


def test_dfdc_winner(of_timm: nn.Module, tmp_path: Path) -> None:
    state = dict(of_timm.state_dict())
    head = one_logit(state, "classifier")
    inner = prefixed(state, "module.encoder.") | prefixed(head, "module.fc.")
    inner |= {
        "module.encoder.classifier.weight": torch.zeros(1000, 1280),
        "module.encoder.classifier.bias": torch.zeros(1000),
    }
    state = {"epoch": 40, "state_dict": inner, "bce_best": 0.2}
    with pytest.raises(UserError, match="gives one logit, and nothing tells what a high one speaks for"):
        read(state, tmp_path)
    logits, reading = read(state, tmp_path, Conventions(positive="fake"))
    expected = answers(of_timm)
    torch.testing.assert_close(logits[:, 1] - logits[:, 0], expected[:, 1] - expected[:, 0], atol=1e-4, rtol=0)
    assert "names of the DFDC winner" in reading.names
    with pytest.raises(UserError, match=r"srm_conv.weight is a filter before the network"):
        read(inner | {"module.srm_conv.weight": torch.zeros(3, 3, 5, 5)}, tmp_path)


def test_one_logit_is_for_fake_in_networks_that_were_published() -> None:
    """`self.encoder` and `self.efficientnet` are names that anybody may give."""
    published = {
        size: {
            scheme.owner
            for scheme in efficientnet.schemes(f"efficientnet_{size}")
            if scheme.positive and scheme.published
        }
        for size in ("b0", "b4", "b5", "b7")
    }
    winner, icpr = "the DFDC winner (selimsef)", "ICPR 2020 (polimi-ispl)"
    assert published == {"b0": set(), "b4": {icpr}, "b5": {winner}, "b7": {winner}}


@pytest.mark.parametrize("head", ["fc", "top.1"])
def test_two_logits_are_not_the_winners(head: str, of_timm: nn.Module, tmp_path: Path) -> None:
    logits, reading = read(elsewhere(dict(of_timm.state_dict()), "encoder.", head), tmp_path)
    torch.testing.assert_close(logits, answers(of_timm), atol=1e-4, rtol=0)
    assert "names of timm behind encoder" in reading.names


def test_the_winners_sizes_are_not_taken_for_symmetric_ones(tmp_path: Path) -> None:
    """His code has timm's tf_efficientnet_b2 to b7; a copy of it may have timm's efficientnet_b2."""
    torch.manual_seed(1)
    network = lively(timm.create_model("tf_efficientnet_b2", num_classes=2))
    expected = answers(network)
    state = dict(network.state_dict())
    state = prefixed(one_logit(state, "classifier"), "fc.") | prefixed(state, "encoder.")
    with pytest.raises(UserError, match=r"names of the DFDC winner \(selimsef\) do not tell with which arithmetic"):
        read(state, tmp_path, Conventions(positive="fake"), architecture="efficientnet_b2")
    for architecture, flavour in (("efficientnet_b2", "tf"), ("tf_efficientnet_b2", None)):
        logits, _ = read(state, tmp_path, Conventions(flavour=flavour, positive="fake"), architecture)
        torch.testing.assert_close(logits[:, 1] - logits[:, 0], expected[:, 1] - expected[:, 0], atol=1e-4, rtol=1e-4)


def test_icpr_2020(tmp_path: Path) -> None:
    network = lively(of_efficientnet_pytorch())
    expected = answers(network)
    state = dict(network.state_dict())
    state = prefixed(one_logit(state, "_fc"), "classifier.") | prefixed(state, "efficientnet.")
    with pytest.raises(UserError, match="gives one logit, and nothing tells what a high one speaks for"):
        read({"net": state}, tmp_path, Conventions(flavour="static"))
    with pytest.raises(UserError, match=r"names of ICPR 2020 \(polimi-ispl\) do not tell with which arithmetic"):
        read({"net": state}, tmp_path, Conventions(positive="fake"))
    logits, reading = read({"net": state}, tmp_path, Conventions(flavour="static", positive="fake"))
    torch.testing.assert_close(logits[:, 1] - logits[:, 0], expected[:, 1] - expected[:, 0], atol=1e-4, rtol=0)
    assert "ICPR 2020" in reading.names
    with pytest.raises(UserError, match=r"2 layers could write the logits: feat_ext\.classifier, top"):
        # As of a network that was tuned on top of another one, whose own head is unused.
        read(prefixed(state, "feat_ext.") | {"top.weight": torch.zeros(1, 1280)}, tmp_path)
    with pytest.raises(UserError, match="a layer of attention"):
        read(state | {"efficientnet.attconv.weight": torch.zeros(1, 56, 1, 1)}, tmp_path)


def test_names_of_bench_itself_tell_no_padding(tmp_path: Path) -> None:
    state = efficientnet.build(ARCHITECTURE, "static", PLAIN).state_dict()
    with pytest.raises(UserError, match="names of bench do not tell with which arithmetic"):
        read(state, tmp_path)
    read(state, tmp_path, Conventions(flavour="static"))


# ------------------------------------------------------------------------------------ what does not fit
def test_messages_have_the_names_of_the_file(of_timm: nn.Module, tmp_path: Path) -> None:
    state = prefixed(
        {name: tensor for name, tensor in of_timm.state_dict().items() if name != "bn2.bias"}, "state_dict.model."
    )
    with pytest.raises(UserError) as caught:
        read(state, tmp_path)
    text = str(caught.value)
    assert "names are those of timm behind `state_dict.model`" in text
    assert "missing (1): state_dict.model.bn2.bias" in text
    assert "backbone" not in text


@pytest.mark.parametrize("size", ["b1", "b2"])
def test_another_size_is_recognised_under_any_names(size: str, tmp_path: Path) -> None:
    """Also one whose tensors hold all names of the smaller network."""
    with torch.device("meta"):
        state = getattr(torchvision.models, f"efficientnet_{size}")(num_classes=2).state_dict()
    state = {name: torch.zeros(tensor.shape) for name, tensor in state.items()}
    with pytest.raises(UserError, match=f"they look like efficientnet_{size}: set `architecture: efficientnet_{size}`"):
        read({"net": prefixed(state, "module.")}, tmp_path)


@pytest.mark.parametrize(
    ("names", "remedy"),
    [
        (("weight_orig", "weight_mask"), r"prune\.remove"),
        (("weight_orig", "weight_u"), "remove_spectral_norm"),
        (("parametrizations.weight.original0", "parametrizations.weight.original1"), "remove_parametrizations"),
        (("base_layer.weight", "lora_A.default.weight"), "merge_and_unload"),
        (("weight", "weight_fake_quant.scale"), "quantization is taken out"),
    ],
)
def test_weights_in_another_form_come_with_a_remedy(
    names: tuple[str, str], remedy: str, of_timm: nn.Module, tmp_path: Path
) -> None:
    state = dict(of_timm.state_dict())
    weight = state.pop("conv_head.weight")
    with pytest.raises(UserError, match=f"save the state dict after .*{remedy}"):
        read(state | {f"conv_head.{names[0]}": weight, f"conv_head.{names[1]}": torch.ones(3)}, tmp_path)


def test_variances_below_0(of_timm: nn.Module, tmp_path: Path) -> None:
    state = dict(of_timm.state_dict())
    with pytest.raises(UserError, match=r"1 batch norms hold variances below 0.*: bn1\.running_var"):
        read(state | {"bn1.running_var": -state["bn1.running_var"]}, tmp_path)


def test_names_of_no_known_code(of_timm: nn.Module, tmp_path: Path) -> None:
    state = {re.sub(r"[a-z]+", "x", name): tensor for name, tensor in of_timm.state_dict().items()}
    with pytest.raises(UserError) as caught:
        read(state, tmp_path)
    text = str(caught.value)
    assert "names that would fit, behind any prefix" in text
    assert "torchvision's, such as features.0.0.weight" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classifier.weight": torch.zeros(3, 1280)}, r"is \[3, 1280\].*`bench score` judges P\(fake\).*3 classes"),
        ({"classifier.bias": torch.zeros(2, 1)}, r"classifier\.bias is \[2, 1\], expected \[2\]$"),
        ({"classifier.weight": None, "classifier.bias": None, "fc.weight": torch.zeros(2, 2560)},
         r"classifier\.weight, expected .*; fc\.weight reads more than this network's 1280 features"),
    ],
)  # fmt: skip
def test_heads_that_do_not_fit_come_with_what_is_wrong(
    change: dict[str, Tensor | None], message: str, of_timm: nn.Module, tmp_path: Path
) -> None:
    state = {name: tensor for name, tensor in (of_timm.state_dict() | change).items() if tensor is not None}
    with pytest.raises(UserError) as caught:
        read(state, tmp_path)
    assert any(re.search(message, line) for line in caught.value.lines), caught.value.lines


def test_several_heads_are_ambiguous(of_timm: nn.Module, tmp_path: Path) -> None:
    state = elsewhere(dict(of_timm.state_dict()), "encoder.", "first")
    state |= {"second.weight": torch.zeros(2, 1280), "second.bias": torch.zeros(2)}
    with pytest.raises(UserError, match="2 layers could write the logits: first, second"):
        read(state, tmp_path)
