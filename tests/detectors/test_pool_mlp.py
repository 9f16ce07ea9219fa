"""The head with hidden layers: its map is the gradient that autograd finds, and Grad-CAM's."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import onnxruntime
import pytest
import torch
from pytorch_grad_cam import GradCAM
from timm.layers import GELU, GELUTanh
from timm.layers.norm import LayerNorm2d
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn

from bench.artifacts.onnx_export import to_onnx
from bench.detectors.detector import Detector
from bench.detectors.heads.pool_mlp import PoolMlp, Residual, unknown_layers
from tests.support import upstream_families
from tests.support.step_work import frames

CHANNELS = 12
ACTIVATIONS = (
    nn.ReLU(), nn.LeakyReLU(0.1), nn.Hardswish(), nn.SiLU(), nn.GELU(), nn.GELU(approximate="tanh"), nn.Tanh(),
    GELU(), GELUTanh(), nn.ReLU(inplace=True),
)  # fmt: skip


_Module = TypeVar("_Module", bound=nn.Module)


def _drawn(layers: _Module) -> _Module:
    """Random weights and statistics."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in layers.state_dict().items():
        if tensor.is_floating_point():
            values = torch.rand(tensor.shape, generator=generator)
            tensor.copy_(values + 0.5 if name.endswith("running_var") else values - 0.5)
    return layers.eval()


def _residual() -> nn.Sequential:
    inner = nn.Sequential(nn.Linear(9, 7), nn.BatchNorm1d(7), nn.LeakyReLU(0.1), nn.Dropout(0.4))
    return nn.Sequential(nn.Linear(CHANNELS, 9), Residual(inner, nn.Linear(9, 7)), nn.SiLU(), nn.Linear(7, 2))


HEADS: dict[str, Any] = {
    **{
        f"{type(activation).__name__} {index}": lambda activation=activation: nn.Sequential(
            nn.Linear(CHANNELS, 9), activation, nn.Linear(9, 2)
        )
        for index, activation in enumerate(ACTIVATIONS)
    },
    "linear": lambda: nn.Sequential(nn.Dropout(0.5), nn.Linear(CHANNELS, 2)),
    "residual": _residual,
    "layer norm": lambda: nn.Sequential(
        nn.LayerNorm(CHANNELS), nn.Linear(CHANNELS, 9), nn.GELU(), nn.LayerNorm(9, elementwise_affine=False),
        nn.Linear(9, 2),
    ),
    "convolutions": lambda: nn.Sequential(
        nn.Conv2d(CHANNELS, 9, 1), nn.BatchNorm2d(9), nn.Hardswish(), nn.Flatten(), nn.Linear(9, 2)
    ),
    "norm with an activation": lambda: nn.Sequential(
        nn.Conv2d(CHANNELS, 9, 1, bias=False), BatchNormAct2d(9), nn.Flatten(), nn.Linear(9, 2)
    ),
    "channels first": lambda: nn.Sequential(
        LayerNorm2d(CHANNELS), nn.Flatten(), nn.Linear(CHANNELS, 8), nn.GELU(), nn.Linear(8, 2)
    ),
}  # fmt: skip


def _features(seed: int = 1) -> Tensor:
    return torch.randn(5, CHANNELS, 4, 3, generator=torch.Generator().manual_seed(seed)) * 2


@pytest.mark.parametrize("name", HEADS)
def test_the_map_is_the_gradient_times_the_features(name: str) -> None:
    head = PoolMlp(_drawn(HEADS[name]()))
    features = _features().requires_grad_()
    plain = nn.Sequential(*head.layers_to_logits())
    expected = plain(features)
    (gradient,) = torch.autograd.grad((expected[:, 1] - expected[:, 0]).sum(), features)
    # Each position has its share of the pooled vector.
    weights = gradient.sum((2, 3), keepdim=True)
    with torch.no_grad():
        logits, cam = head.predict(features)
    assert cam is not None
    torch.testing.assert_close(logits, expected.detach(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(cam, (weights * features).sum(1).detach(), atol=1e-5, rtol=1e-5)
    assert cam.std() > 1e-3, "a constant map proves nothing"
    assert head.margin_bias is None


def test_it_is_grad_cam_of_the_logit_difference() -> None:
    """On a whole detector: the package's map is ours without what is negative, scaled to [0, 1]."""
    detector = upstream_families.build(upstream_families.GAN)
    _drawn(detector)

    class LogitDifference(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = detector.logit_network()

        def forward(self, inputs: Tensor) -> Tensor:
            logits: Tensor = self.network(inputs)
            return (logits[:, 1] - logits[:, 0])[:, None]

    pictures = frames(3, 64)
    with torch.no_grad():
        cam = detector(pictures).cam
    network = LogitDifference()
    backbone: Any = network.network[0]

    with GradCAM(network, [backbone]) as grad_cam:
        maps = grad_cam(detector.preprocess(pictures), [lambda output: output[0]] * 3)
    ours = cam.clamp_min(0).numpy()
    assert ours.max() > 0
    for grad_cam_map, of_frame in zip(maps, ours, strict=True):
        expected = of_frame - of_frame.min()
        expected /= 1e-7 + expected.max()
        upscaled = nn.functional.interpolate(
            torch.from_numpy(expected)[None, None], size=(64, 64), mode="bilinear", align_corners=False
        )
        np.testing.assert_allclose(grad_cam_map, upscaled[0, 0], atol=5e-2)


@pytest.mark.slow
def test_an_exported_graph_gives_the_same_map() -> None:
    detector = _drawn(upstream_families.build(upstream_families.GAN))
    assert isinstance(detector, Detector)
    graph = to_onnx(detector)
    names = [node.name for node in graph.graph.node]
    assert len(set(names)) == len(names)
    assert not [prop for prop in graph.metadata_props if prop.key == "margin_bias"]
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    pictures = frames(5, 64)
    with torch.no_grad():
        expected = detector(pictures)
    for ours, exported in zip(expected, session.run(["logits", "cam"], {"frames": pictures.numpy()}), strict=True):
        np.testing.assert_allclose(exported, ours, atol=1e-4 * float(ours.abs().max()))


def test_weights_in_half_compute_in_float() -> None:
    head = PoolMlp(_drawn(_residual()))
    expected = head.predict(_features())
    head.half()
    for half, whole in zip(head.predict(_features().half()), expected, strict=True):
        assert half is not None
        assert half.dtype == torch.float32
        torch.testing.assert_close(half, whole, atol=2e-2, rtol=2e-2)


def test_a_shift_moves_the_logits_alone() -> None:
    head = PoolMlp(_drawn(_residual()))
    logits, cam = head.predict(_features())
    head.shift_logits(torch.tensor([0.5, -1.0]))
    shifted, same = head.predict(_features())
    torch.testing.assert_close(shifted - logits, torch.tensor([[0.5, -1.0]]).expand(5, 2))
    assert cam is not None
    assert same is not None
    assert torch.equal(cam, same)


def test_training_changes_neither_norms_nor_answers() -> None:
    head = PoolMlp(_drawn(_residual()))
    before = head.predict(_features()).logits
    norm: Any = head.layers.get_submodule("1.layers.1")
    before_training = norm.running_mean.clone()
    assert torch.equal(head.train().predict(_features()).logits, before)
    assert torch.equal(norm.running_mean, before_training)


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        (nn.Softmax(1), "Softmax"),
        (nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), "Conv2d"),
        (nn.BatchNorm1d(CHANNELS, track_running_stats=False), "BatchNorm1d"),
        (nn.Sequential(nn.ReLU(), nn.PReLU()), "PReLU"),
    ],
)
def test_a_layer_without_a_derivative_is_refused(layer: nn.Module, kind: str) -> None:
    layers = nn.Sequential(layer, nn.Linear(CHANNELS, 2))
    assert unknown_layers(layers) == [kind]
    with pytest.raises(ValueError, match=f"no derivative is written out for {kind}"):
        PoolMlp(layers)


def test_a_head_that_is_pruned_is_stored_and_read_back() -> None:
    """Its norms of vectors have widths as those of maps do."""
    from bench.artifacts.safetensors import _resize, _widths

    norm = nn.BatchNorm1d(8, device="meta")
    _resize(norm, 5, 5, 1)
    assert _widths(norm) == [5, 5, 1]
    assert norm.weight.shape == norm.running_mean.shape == (5,)  # type: ignore[union-attr]
