"""The steps that work on torch detectors: cast, prune and recover, with one contract for all."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.stats import spearmanr
from torch import Tensor, nn

from bench.artifacts import footprint, safetensors
from bench.detectors.detector import Detector
from bench.detectors.families import efficientnet
from bench.errors import UserError
from bench.records import Event, Preprocessing
from bench.variants.steps import cast, find, prune, recover
from bench.variants.steps.recover.distillation import distillation_loss
from bench.variants.steps.recover.norms import recalibrate
from tests.support import tiny
from tests.support.step_work import frames, work


@pytest.fixture(params=["tiny", pytest.param("efficientnet_b0", marks=pytest.mark.slow)])
def parent(request: pytest.FixtureRequest, tiny_family: Any) -> Detector:
    torch.manual_seed(0)
    if request.param == "tiny":
        return _spread(tiny.build("tiny", "tiny", tiny.PREPROCESSING))
    preprocessing = Preprocessing(size=64, channels="bgr", wavelet="sym2")
    return _spread(efficientnet.build("efficientnet_b0", "static", preprocessing))


def _spread(detector: Detector) -> Detector:
    """Untrained networks answer all frames alike; batch norms that fit some frames make them differ."""
    norms = [module for module in detector.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
    with torch.no_grad():
        detector.train()(frames(16, detector.preprocessing.size, seed=7))
        detector.head.weight.normal_(std=0.3)
    for norm in norms:
        norm.momentum = 0.1
    return detector.eval()


STEPS: dict[str, tuple[Any, Any]] = {
    "cast-fp16": (cast, cast.Settings(dtype="fp16")),
    "cast-bf16": (cast, cast.Settings(dtype="bf16")),
    "prune": (prune, prune.Settings(amount=0.5)),
    "recover": (recover, recover.Settings(steps=2, batch_size=4, learning_rate=1e-5)),
}


def run(detector: Detector) -> tuple[Tensor, Tensor]:
    with torch.inference_mode():
        logits, cam = copy.deepcopy(detector).float()(frames(6, detector.preprocessing.size))
    return logits, cam


@pytest.fixture(scope="module")
def halves() -> dict[str, Detector]:
    """By architecture, what `half` made of it: pruning a B0 takes long."""
    return {}


@pytest.fixture
def half(parent: Detector, halves: dict[str, Detector], tmp_path: Path) -> Detector:
    """`parent` after `prune: 0.5`."""
    if parent.architecture not in halves:
        settings = prune.Settings(amount=0.5)
        halves[parent.architecture] = prune.apply(copy.deepcopy(parent), settings, work(tmp_path, parent))
    return copy.deepcopy(halves[parent.architecture])


@pytest.mark.parametrize("name", STEPS)
def test_contract(name: str, parent: Detector, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Equal bytes twice, the margin equation, evaluation mode, and the preprocessing as it was."""
    step, settings = STEPS[name]
    assert find(name.partition("-")[0]) is step
    surroundings = work(tmp_path, parent)
    built = step.apply(copy.deepcopy(parent), settings, surroundings)
    if name == "prune":
        again = request.getfixturevalue("half")
    else:
        again = step.apply(copy.deepcopy(parent), settings, surroundings)

    path = safetensors.save(built, tmp_path / "built")
    assert path.read_bytes() == safetensors.save(again, tmp_path / "again").read_bytes()
    logits, cam = run(built)
    for first, second in zip((logits, cam), run(safetensors.load_torch(path)), strict=True):
        assert torch.equal(first, second)

    margin = (logits[:, 1] - logits[:, 0]).double()
    assert logits.isfinite().all()
    assert margin.std() > 1e-3
    torch.testing.assert_close(cam.double().mean((1, 2)) + built.margin_bias, margin, rtol=1e-4, atol=1e-4)
    assert not built.training
    assert built.preprocessing == parent.preprocessing
    assert all(buffer.dtype == torch.float32 for buffer in built.preprocess.buffers())


# ------------------------------------------------------------------------------------------- cast
@pytest.mark.parametrize(("dtype", "bits"), [("fp16", 11), ("bf16", 8)])
def test_cast_rounds_every_number_once(dtype: Any, bits: int, parent: Detector, tmp_path: Path) -> None:
    built = cast.apply(copy.deepcopy(parent), cast.Settings(dtype=dtype), work(tmp_path))
    for (name, before), after in zip(parent.state_dict().items(), built.state_dict().values(), strict=True):
        if before.is_floating_point():
            assert after.itemsize == 2, name
            assert torch.allclose(before, after.float(), rtol=2.0**-bits, atol=1e-7), name


def test_cast_makes_variances_smaller_that_fp16_cannot_hold(parent: Detector, tmp_path: Path) -> None:
    """A convolution that writes 400 times as much, and a batch norm that knows it: the same function, or nearly."""
    inside = list(parent.backbone.modules())
    conv = next(module for module in inside if isinstance(module, nn.Conv2d))
    norm: Any = next(module for module in inside if isinstance(module, nn.BatchNorm2d))
    with torch.no_grad():
        norm.running_var.clamp_min_(1.0)
        expected, _ = run(parent)
        conv.weight[1::2] *= 400
        norm.running_mean[1::2] *= 400
        norm.running_var[1::2] *= 400**2
    assert norm.running_var.max() > torch.finfo(torch.float16).max
    built = cast.apply(copy.deepcopy(parent), cast.Settings(dtype="fp16"), work(tmp_path))
    assert all(tensor.isfinite().all() for tensor in built.state_dict().values())
    assert torch.allclose(run(built)[0], expected, atol=0.05 * float(expected.std()))


def test_cast_refuses_what_would_become_infinite(parent: Detector, tmp_path: Path) -> None:
    with torch.no_grad():
        parent.head.weight[1, 3] = 1e5
    with pytest.raises(UserError, match=r"head\.weight holds 1 values that fp16 cannot hold.*bf16"):
        cast.apply(parent, cast.Settings(dtype="fp16"), work(tmp_path))
    assert safetensors.stored_dtype(cast.apply(parent, cast.Settings(dtype="bf16"), work(tmp_path))) == "bf16"


# ------------------------------------------------------------------------------------------ prune
@pytest.mark.parametrize("amount", [0.25, 0.5])
def test_prune_leaves_what_was_asked_for(amount: float, parent: Detector, half: Detector, tmp_path: Path) -> None:
    before = footprint.footprint_of(parent)
    if amount == 0.5:
        built = half
    else:
        built = prune.apply(copy.deepcopy(parent), prune.Settings(amount=amount), work(tmp_path, parent))
    left = [now / then for now, then in zip(footprint.footprint_of(built), before, strict=True)]
    assert max(left) <= 1 - amount
    assert max(left) > 1 - amount - (0.2 if parent.architecture != "tiny" else 0.3)
    assert built.head.out_features == 2
    narrower = built.head.in_features < parent.head.in_features
    assert torch.equal(built.head.bias, parent.head.bias) != narrower


def test_prune_cuts_the_tensors_themselves(parent: Detector, half: Detector) -> None:
    stored = sum(tensor.numel() for tensor in half.state_dict().values())
    assert stored < 0.51 * sum(tensor.numel() for tensor in parent.state_dict().values())
    for name, module in half.named_modules():
        if isinstance(module, nn.Conv2d):
            assert module.weight.shape[:2] == (module.out_channels, module.in_channels // module.groups)
            was = parent.get_submodule(name)
            assert isinstance(was, nn.Conv2d)
            assert module.out_channels % 8 == 0 or module.out_channels == was.out_channels


def test_prune_takes_what_does_nothing_first(tiny_family: Any, tmp_path: Path) -> None:
    """With every fourth expanded channel silent, a light pruning must not change the outputs much."""
    torch.manual_seed(0)
    parent = tiny.lively(tiny.build("tiny", "tiny", tiny.PREPROCESSING))
    with torch.no_grad():
        for tensor in (parent.backbone[1].expand[0].weight, parent.backbone[1].depthwise[0].weight):  # type: ignore[index]
            tensor[::4] = 0
        parent.backbone[1].project[0].weight[:, ::4] = 0  # type: ignore[index]
        parent.backbone[1].gate.reduce.weight[:, ::4] = 0  # type: ignore[index]
        parent.backbone[1].gate.expand.weight[::4] = 0  # type: ignore[index]
    built = prune.apply(copy.deepcopy(parent), prune.Settings(amount=0.2), work(tmp_path, parent))
    weights = built.backbone[1].project[0].weight  # type: ignore[index]
    assert weights.shape[1] < 64
    assert (weights.flatten(2).square().sum((0, 2)) > 0).sum() >= min(48, weights.shape[1])


@pytest.mark.parametrize("ranking", ["loss", "magnitude"])
def test_half_a_network_answers_as_the_whole_one_does(ranking: Any, tiny_family: Any, tmp_path: Path) -> None:
    """On frames that calibration never saw; without the repair it does not."""
    torch.manual_seed(0)
    parent = tiny.lively(tiny.build("tiny", "tiny", tiny.PREPROCESSING))
    errors, alike = {}, {}
    for repair in (True, False):
        settings = prune.Settings(amount=0.5, ranking=ranking, repair=repair)
        built = prune.apply(copy.deepcopy(parent), settings, work(tmp_path, parent, count=128))
        with torch.inference_mode():
            answers = [network(frames(64, 32, seed=5))[0] for network in (parent, built)]
        whole, half = ((logits[:, 1] - logits[:, 0]).double().numpy() for logits in answers)
        errors[repair] = float(np.square(half - whole).mean() / whole.var())
        alike[repair] = float(spearmanr(half, whole).statistic)
    assert alike[True] > 0.98
    assert errors[True] < 0.02
    assert errors[True] < 0.6 * errors[False]


@pytest.mark.cuda
def test_prune_is_repeatable_on_cuda(tiny_family: Any, tmp_path: Path) -> None:
    parent = tiny.lively(tiny.build("tiny", "tiny", tiny.PREPROCESSING))
    first, second = (
        prune.apply(copy.deepcopy(parent), prune.Settings(amount=0.5), replace(work(tmp_path, parent), device="cuda"))
        for _ in range(2)
    )
    for name, tensor in first.state_dict().items():
        torch.testing.assert_close(tensor, second.state_dict()[name], rtol=0, atol=0)


def test_prune_sets_flags_of_cuda_and_leaves_none_behind(
    tiny_family: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the step fails in the middle."""
    parent = tiny.lively(tiny.build("tiny", "tiny", tiny.PREPROCESSING))
    flags = torch.backends.cudnn

    def flags_now() -> tuple[Any, ...]:
        return flags.deterministic, flags.benchmark, flags.allow_tf32, torch.get_float32_matmul_precision()

    def fail(*_: Any) -> None:
        assert flags_now() == (True, False, False, "highest")
        raise RuntimeError("broke in the middle")

    monkeypatch.setattr(prune, "_narrow", fail)
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    with flags.flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=True):
        before = flags_now()
        with pytest.raises(RuntimeError, match="middle"):
            prune.apply(parent, prune.Settings(amount=0.5), work(tmp_path, parent))
        after = flags_now()
    torch.set_float32_matmul_precision(precision)
    assert after == before == (False, True, True, "high")


def test_prune_says_what_it_cannot_take(parent: Detector, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected at most"):
        prune.apply(parent, prune.Settings(amount=0.999), work(tmp_path, parent))


# ---------------------------------------------------------------------------------------- recover
def test_recover_lowers_the_distillation_loss(tiny_family: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    parent = _spread(tiny.build("tiny", "tiny", tiny.PREPROCESSING))
    pruned = prune.apply(copy.deepcopy(parent), prune.Settings(amount=0.5, repair=False), work(tmp_path))
    losses = []
    for steps in (0, 25):
        settings = recover.Settings(steps=steps, batch_size=8, learning_rate=3e-4, recalibrate=True)
        recovered = recover.apply(copy.deepcopy(pruned), settings, work(tmp_path, parent))
        with torch.no_grad():
            losses.append(float(distillation_loss(recovered, parent, frames(32, 32, seed=1))))
    assert losses[1] < 0.8 * losses[0]


def test_recalibration_measures_the_statistics(parent: Detector, tmp_path: Path) -> None:
    """One batch of all frames: the first norm's mean must be that of what reaches it."""
    surroundings = work(tmp_path, parent, count=16)
    recalibrate(parent, surroundings.frames["train"].frames, 16, surroundings)
    norm = next(module for module in parent.modules() if isinstance(module, nn.BatchNorm2d))
    seen: list[Tensor] = []
    norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        parent(frames(16, parent.preprocessing.size, seed=1))
    assert norm.running_mean is not None
    torch.testing.assert_close(norm.running_mean, seen[0].mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert norm.momentum is not None


def test_recover_depends_on_the_seed_and_keeps_the_dtype(parent: Detector, tmp_path: Path) -> None:
    parent = cast.apply(parent, cast.Settings(dtype="fp16"), work(tmp_path))
    settings = recover.Settings(steps=8, batch_size=4, learning_rate=1e-5, precision="fp32", recalibrate=False)
    student = copy.deepcopy(parent)
    with torch.no_grad():
        student.head.weight.mul_(1.5)
    first, second = (recover.apply(copy.deepcopy(student), settings, work(tmp_path, parent, seed=s)) for s in (0, 1))
    assert safetensors.stored_dtype(first) == "fp16"
    weights = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    assert not all(torch.equal(*pair) for pair in weights)


def test_recover_tells_how_far_it_is(tiny_family: Any, tmp_path: Path) -> None:
    parent = tiny.lively(tiny.build("tiny", "tiny", tiny.PREPROCESSING))
    events: list[Event] = []
    surroundings = work(tmp_path, parent)
    object.__setattr__(surroundings, "on_event", events.append)
    recover.apply(copy.deepcopy(parent), recover.Settings(steps=7, batch_size=4, enough=0.0), surroundings)
    steps = [event for event in events if event.unit == "steps"]
    assert (steps[-1].done, steps[-1].total) == (7, 7)
    assert "loss" in steps[-1].note


def test_recalibration_with_a_large_batch_measures_at_least_one(tiny_family: Any, tmp_path: Path) -> None:
    parent = tiny.lively(tiny.build("tiny", "tiny", tiny.PREPROCESSING))
    model = copy.deepcopy(parent)
    surroundings = work(tmp_path, parent, count=330)
    recalibrate(model, surroundings.frames["train"].frames, 330, surroundings)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    for norm in norms:
        assert norm.running_var is not None
        assert not torch.allclose(norm.running_var, torch.ones_like(norm.running_var)), "statistics were only reset"


def test_recover_refuses_too_few_frames_and_wild_rates(tiny_family: Any, tmp_path: Path) -> None:
    parent = tiny.lively(tiny.build("tiny", "tiny", tiny.PREPROCESSING))
    with pytest.raises(UserError, match="3 train frames are less than one batch of 16"):
        recover.check(recover.Settings(), work(tmp_path, parent, count=3).frames)
    broken = copy.deepcopy(parent)
    with torch.no_grad():
        broken.head.bias[0] = float("nan")
    with pytest.raises(UserError, match="not finite on the frames that it is judged by"):
        recover.apply(broken, recover.Settings(steps=2, batch_size=4, learning_rate=1e-5), work(tmp_path, parent))


# --------------------------------------------------------------------------------------- settings
@pytest.mark.parametrize(
    ("step", "fields"),
    [
        (cast, {}), (cast, {"dtype": "int8"}), (cast, {"dtype": "fp16", "extra": 1}),
        (prune, {}), (prune, {"amount": 0.0}), (prune, {"amount": 1.0}), (prune, {"amount": 124}),
        (prune, {"amount": True}), (prune, {"amount": "0.5"}), (prune, {"amount": 0.5, "ratio": 1}),
        (prune, {"amount": 0.5, "frames": 4}), (prune, {"amount": 0.5, "repair": "no"}),
        (prune, {"amount": 0.5, "structure": "unstructured", "repair": False}),
        (recover, {"steps": -1}), (recover, {"steps": 1.5}), (recover, {"steps": True}),
        (recover, {"batch_size": 1}), (recover, {"learning_rate": 0}), (recover, {"epochs": 3}),
    ],
)  # fmt: skip
def test_settings_refuse(step: Any, fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        step.Settings(**fields)
