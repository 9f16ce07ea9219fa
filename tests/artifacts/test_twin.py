"""The hard twin: the same function, uneven weights and activations, and the end of per-tensor tricks."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from twin import twin

from bench.detectors.detector import Detector
from bench.detectors.families import efficientnet
from bench.detectors.heads.gap_linear import GapLinear
from tests.support import b0, families, tiny


def outputs(detector: Detector, count: int = 16, seed: int = 3) -> tuple[Tensor, Tensor]:
    with torch.inference_mode():
        logits, cam = detector(torch.from_numpy(b0.frames(count, seed)))
    return logits, cam


def margin(detector: Detector) -> Tensor:
    logits, _ = outputs(detector)
    return logits[:, 1] - logits[:, 0]


def streams(detector: Detector) -> Iterator[tuple[str, Tensor]]:
    """What every linear bottleneck gives out, by name: the largest magnitude of each channel."""
    maxima: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda _, __, out, name=name: maxima.update({name: out.abs().amax((0, 2, 3))}))
        for name, module in detector.named_modules()
        if isinstance(getattr(module, "act", None), nn.Identity)
    ]
    outputs(detector)
    for hook in hooks:
        hook.remove()
    yield from maxima.items()


def octaves(magnitudes: Tensor) -> float:
    """How many doublings lie between the small channels and the large ones, a tenth left out on either side."""
    low, high = np.quantile(magnitudes.numpy(), (0.1, 0.9))
    return float(np.log2(high / low))


def per_tensor_int8(detector: Detector) -> Detector:
    """Every convolution's weights rounded to 255 steps of one size."""
    rounded = copy.deepcopy(detector)
    with torch.no_grad():
        for module in rounded.backbone.modules():
            if isinstance(module, nn.Conv2d):
                step = module.weight.abs().max() / 127
                module.weight.copy_((module.weight / step).round() * step)
    return rounded


def other(architecture: str) -> Detector:
    if architecture == "tiny":
        return tiny.lively(tiny.build("tiny", "tiny", tiny.PREPROCESSING))
    return families.drawn(architecture)


def test_twin_computes_the_same() -> None:
    for original_output, twin_output in zip(outputs(b0.detector()), outputs(twin(b0.detector())), strict=True):
        assert original_output.std() > 1e-2
        torch.testing.assert_close(twin_output, original_output, rtol=0, atol=1e-4)


def test_twin_of_timms_own_flavour_with_several_depthwise_first_blocks() -> None:
    """B3 has two blocks in its first stage, so a stream that depthwise convolutions read."""
    torch.manual_seed(0)
    detector = efficientnet.build("tf_efficientnet_b3", "tf", b0.detector().preprocessing)
    with torch.no_grad():
        detector.head.weight.normal_()
    torch.testing.assert_close(outputs(twin(detector))[1], outputs(detector)[1], rtol=1e-4, atol=1e-5)
    assert not torch.equal(twin(detector).state_dict()["backbone.blocks.0.1.conv_dw.weight"],
                           detector.state_dict()["backbone.blocks.0.1.conv_dw.weight"])  # fmt: skip


@pytest.mark.parametrize("architecture", ["tiny", *families.ARCHITECTURES])
def test_twins_of_other_families_compute_the_same(architecture: str) -> None:
    detector = other(architecture)
    assert margin(detector).std() > 1e-3
    hard = twin(detector)
    torch.testing.assert_close(margin(hard), margin(detector), rtol=1e-4, atol=1e-4)
    convolutions = [name for name, module in detector.named_modules() if isinstance(module, nn.Conv2d)]
    changed = [
        name
        for name in convolutions
        if not torch.equal(hard.get_submodule(name).weight, detector.get_submodule(name).weight)  # type: ignore[arg-type]
    ]
    # Squeeze-and-excitation has two without a batch norm, of which SiLU and sigmoid let nothing through.
    assert len(changed) > 0.6 * len(convolutions)


def test_weights_and_streams_are_uneven() -> None:
    before, after = dict(streams(b0.detector())), dict(streams(twin(b0.detector())))
    assert len(after) == 16
    for name, channels in after.items():
        assert octaves(channels) > octaves(before[name]) + 2, name
    for name, module in twin(b0.detector()).backbone.named_modules():
        if isinstance(module, nn.Conv2d) and ".se." not in name:
            assert octaves(module.weight.detach().abs().amax((1, 2, 3))) > 3, name


def test_one_step_for_all_channels_destroys_the_twin_alone() -> None:
    logit_diff = margin(b0.detector())
    error = {
        name: float((margin(per_tensor_int8(detector)) - logit_diff).pow(2).mean().sqrt() / logit_diff.std())
        for name, detector in (("original", b0.detector()), ("twin", twin(b0.detector())))
    }
    assert error["twin"] > 5 * error["original"], error
    assert error["twin"] > 0.5, error


def test_seed_decides() -> None:
    first, again, other = (twin(b0.detector(), seed).backbone[0].weight for seed in (0, 0, 1))  # type: ignore[index]
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_original_stays_as_it_was() -> None:
    before = copy.deepcopy(b0.detector().state_dict())
    twin(b0.detector())
    assert all(torch.equal(tensor, before[name]) for name, tensor in b0.detector().state_dict().items())


def test_network_that_lets_no_factor_through_is_refused() -> None:
    preprocessing = b0.detector().preprocessing
    backbone = nn.Sequential(nn.SiLU(), nn.Conv2d(3, 8, 3), nn.SiLU())
    with pytest.raises(ValueError, match="no channel can be rescaled"):
        twin(Detector("bent", "none", preprocessing, backbone, GapLinear(8)))
