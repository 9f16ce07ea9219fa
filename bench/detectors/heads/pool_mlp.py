"""Global average pooling and layers with activations between them: a map that is exactly Grad-CAM, without gradients.

The head's Jacobian is written out as operations of the forward pass, so that every runtime and every exported graph
computes the map. No autograd takes part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.detectors.heads import Head
from bench.records import Prediction

Pull: TypeAlias = Callable[[Tensor], Tensor]
"""From the gradient at a layer's output [n or 1, out] to that at its input [n or 1, in]."""


class Residual(nn.Module):
    """What `layers` make of a vector, plus what `shortcut` makes of it."""

    def __init__(self, layers: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.layers, self.shortcut = layers, shortcut

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.layers(x) + self.shortcut(x)
        return total


class PoolMlp(Head):
    """`layers` over the means [N, C] of a feature map [N, C, h, w]; the last one with weights gives two logits.

    Layers are linear ones, 1x1 convolutions, batch norms, layer norms, activations, dropout, `Flatten`, and sequences
    and `Residual`s of these; another kind is a `ValueError`. They compute as in evaluation, in training too.

    The CAM is the gradient of `logit_fake - logit_real` with respect to the pooled vector, times the feature map,
    summed over channels: Grad-CAM of the difference (Selvaraju et al., ICCV 2017) without its ReLU. Its mean is what
    the difference would be if the layers were straight lines there, so nothing constant is missing to it.
    """

    MAP = "maps are Grad-CAM of the logit difference, in the forward pass"
    MAP_KIND = "Grad-CAM map"

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        if kinds := unknown_layers(layers):
            raise ValueError(f"no derivative is written out for {', '.join(kinds)}")
        self.layers = layers

    def predict(self, features: Tensor) -> Prediction[Tensor]:
        """Logits [N, 2] and CAMs [N, h, w]."""
        features = features.float()
        hidden, pull = _run(self._hidden(), features.mean((2, 3)))
        weight, bias = _matrix(self._last())
        logits = F.linear(hidden, weight, bias)
        gradient = pull((weight[1] - weight[0])[None])
        return Prediction(logits, (features * gradient[:, :, None, None]).sum(1))

    def layers_to_logits(self) -> list[nn.Module]:
        flattens = any(isinstance(module, nn.Flatten) for module in self.layers.modules())
        return [nn.AdaptiveAvgPool2d(1), *([] if flattens else [nn.Flatten()]), *self.layers.children()]

    def layers_to_embedding(self) -> list[nn.Module]:
        """Up to the layer that is called `embedding`, where there is one: GANFingerprint's fingerprint."""
        layers, named = self.layers_to_logits(), dict(self.layers.named_children()).get("embedding")
        if named is None:
            return super().layers_to_embedding()
        return layers[: next(index for index, layer in enumerate(layers) if layer is named) + 1]

    def logit_layers(self) -> list[nn.Module]:
        return [self._last()]

    def shift_logits(self, shift: Tensor) -> None:
        with torch.no_grad():
            self._last().bias.add_(shift)

    def _last(self) -> Any:
        """The layer that gives the logits."""
        return next(part for part in reversed(list(self.layers.children())) if isinstance(part, (nn.Linear, nn.Conv2d)))

    def _hidden(self) -> list[nn.Module]:
        """The layers before it; behind it there is nothing that changes logits."""
        children = list(self.layers.children())
        return children[: children.index(self._last())]


def unknown_layers(layers: nn.Module) -> list[str]:
    """The kinds of layers that `PoolMlp` has no derivative of; none where it can take them all."""
    return sorted({_kind(part) for part in _leaves(layers) if not _is_known(part)})


# ------------------------------------------------------------------------------------ forward, and how to go back
def _run(layers: list[nn.Module], x: Tensor) -> tuple[Tensor, Pull]:
    """What layers make of vectors [n, in], one after another, and how a gradient comes back through them."""
    pulls: list[Pull] = []
    for layer in layers:
        x, pull = _step(layer, x)
        pulls.append(pull)

    def through(gradient: Tensor) -> Tensor:
        for pull in reversed(pulls):
            gradient = pull(gradient)
        return gradient

    return x, through


def _step(layer: Any, x: Tensor) -> tuple[Tensor, Pull]:
    """`_run` of one layer, float32 whatever its weights are stored in."""
    for kinds, step in _STEPS.items():
        if isinstance(layer, kinds):
            return step(layer, x)
    if _kind(layer) not in _SLOPES:
        return x, lambda gradient: gradient
    slope = _SLOPES[_kind(layer)](layer, x)
    return layer(x.clone()), lambda gradient: gradient * slope  # a copy, since activations may work in place


def _linear(layer: Any, x: Tensor) -> tuple[Tensor, Pull]:
    weight, bias = _matrix(layer)
    return F.linear(x, weight, bias), lambda gradient: gradient @ weight


def _residual(layer: Residual, x: Tensor) -> tuple[Tensor, Pull]:
    long, pull_long = _step(layer.layers, x)
    short, pull_short = _step(layer.shortcut, x)
    return long + short, lambda gradient: pull_long(gradient) + pull_short(gradient)


def _matrix(layer: Any) -> tuple[Tensor, Tensor | None]:
    """The weights [out, in] and bias of a linear layer or a 1x1 convolution."""
    return layer.weight.float().flatten(1), None if layer.bias is None else layer.bias.float()


def _batch_norm(layer: Any, x: Tensor) -> tuple[Tensor, Pull]:
    """With the statistics that it keeps. timm's have an activation in them."""
    scale = (layer.running_var.float() + layer.eps).rsqrt()
    shift = -layer.running_mean.float() * scale
    if layer.affine:
        weight = layer.weight.float()
        scale, shift = scale * weight, shift * weight + layer.bias.float()
    activated, pull = _step(getattr(layer, "act", nn.Identity()), x * scale + shift)
    return activated, lambda gradient: pull(gradient) * scale


def _layer_norm(layer: Any, x: Tensor) -> tuple[Tensor, Pull]:
    """Over a vector, whose mean and variance have gradients too."""
    centred = x - x.mean(1, keepdim=True)
    inverse = (centred.square().mean(1, keepdim=True) + layer.eps).rsqrt()
    normal = centred * inverse
    weight: Any = 1.0 if layer.weight is None else layer.weight.float()
    bias: Any = 0.0 if layer.bias is None else layer.bias.float()

    def pull(gradient: Tensor) -> Tensor:
        inner: Tensor = gradient * weight
        along = (inner * normal).mean(1, keepdim=True)
        pulled: Tensor = (inner - inner.mean(1, keepdim=True) - normal * along) * inverse
        return pulled

    return normal * weight + bias, pull


_STEPS: Mapping[Any, Callable[[Any, Tensor], tuple[Tensor, Pull]]] = {
    nn.Sequential: lambda layer, x: _run(list(layer.children()), x),
    Residual: _residual,
    (nn.Linear, nn.Conv2d): _linear,
    (nn.BatchNorm1d, nn.BatchNorm2d): _batch_norm,
    nn.LayerNorm: _layer_norm,
}


# ------------------------------------------------------------------------------------ activations
def _slope_of_gelu(layer: Any, x: Tensor) -> Tensor:
    if getattr(layer, "approximate", "none") == "tanh" or _kind(layer) == "GELUTanh":
        root = math.sqrt(2 / math.pi)
        tanh = (root * (x + 0.044715 * x**3)).tanh()
        return (1 + tanh) / 2 + x * (1 - tanh.square()) / 2 * root * (1 + 3 * 0.044715 * x.square())
    return (1 + (x / math.sqrt(2)).erf()) / 2 + x * (-x.square() / 2).exp() / math.sqrt(2 * math.pi)


def _slope_of_hard_swish(layer: Any, x: Tensor) -> Tensor:
    return torch.where(x <= -3, torch.zeros_like(x), torch.where(x >= 3, torch.ones_like(x), (2 * x + 3) / 6))


def _slope_of_leaky_relu(layer: Any, x: Tensor) -> Tensor:
    return torch.where(x > 0, torch.ones_like(x), torch.full_like(x, layer.negative_slope))


_SLOPES: Mapping[str, Callable[[Any, Tensor], Tensor]] = {
    "ReLU": lambda layer, x: (x > 0).to(x),
    "LeakyReLU": _slope_of_leaky_relu,
    "Hardswish": _slope_of_hard_swish,
    "SiLU": lambda layer, x: x.sigmoid() * (1 + x * (1 - x.sigmoid())),
    "GELU": _slope_of_gelu,
    "GELUTanh": _slope_of_gelu,
    "Tanh": lambda layer, x: 1 - x.tanh().square(),
}
"""The derivative of an activation at x, by the name of its class: timm has some of torch's under the same names."""
_PLAIN = {"Identity", "Dropout", "Dropout1d", "Dropout2d", "Flatten"}


def _kind(layer: nn.Module) -> str:
    return type(layer).__name__


def _leaves(layer: nn.Module) -> list[nn.Module]:
    """The layers within sequences and residuals."""
    if isinstance(layer, Residual) or type(layer) is nn.Sequential:
        return [leaf for child in layer.children() for leaf in _leaves(child)]
    return [layer]


def _is_known(layer: Any) -> bool:
    if isinstance(layer, nn.Conv2d):
        plain = type(layer) is nn.Conv2d and layer.groups == 1
        return plain and layer.kernel_size == (1, 1) and layer.padding == (0, 0)
    if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
        inner = all(_is_known(part) for name, part in layer.named_children() if name in ("act", "drop"))
        return inner and layer.running_var is not None
    if isinstance(layer, nn.LayerNorm):
        return len(layer.normalized_shape) == 1
    return isinstance(layer, nn.Linear) or _kind(layer) in {*_SLOPES, *_PLAIN}
