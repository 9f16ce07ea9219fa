"""How far each convolution's rounding alone would move the margin: one backward pass for all of them.

To first order, a disturbance d of a tensor x moves a frame's margin by the sum of d * dm/dx. So the
gradients of one pass over a few frames tell of every convolution, and of every way to quantise it, what
it would cost, in shares of the margin's variance.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from bench.variants.layers.convolutions import backward_from_logit_diff, logit_diff_variance, on_gradient, padded
from bench.variants.steps.quantize.qdq import Layer
from bench.variants.steps.quantize.scales import LEVELS, Activation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from bench.detectors.detector import Detector
    from bench.variants.steps import StepContext


def sensitivities(
    model: Detector, ways: Mapping[str, Sequence[Layer]], frames: int, work: StepContext
) -> dict[str, list[float]]:
    """For every convolution by name, and every way to quantise it: E[(change of margin)^2] / Var(margin).

    At most `frames` calibration frames are read.
    """
    import torch

    network = _Watched(model.float().eval(), ways)
    total, part = len(work.sample_evenly("calibration", frames)), work.part("sensitivity")
    # Made once for all frames: small tensors that stay between large ones that go would tear the memory to pieces.
    margins = part.state["margins"] if part.done else torch.zeros(total)
    moved = part.state["moved"] if part.done else {name: torch.zeros(len(ways[name]), total) for name in ways}

    def observe(batch: NDArray[np.uint8], first: int) -> None:
        found, margin = network.moved_by(torch.from_numpy(batch))
        now = slice(first, first + len(batch))
        for name, one in found.items():
            moved[name][:, now] = one
        margins[now] = margin

    try:
        work.calibrate(part, frames, "sensitivity", observe, lambda: {"margins": margins, "moved": moved})
    finally:
        network.release()
    variance = logit_diff_variance(margins, "quantize")
    return {name: (one.square().mean(1) / variance).tolist() for name, one in moved.items()}


class _Watched:
    """A detector whose convolutions tell, in a backward pass, what disturbing them would do."""

    def __init__(self, model: Detector, ways: Mapping[str, Sequence[Layer]]) -> None:
        self.model = model
        self.moved: dict[str, Tensor] = {}
        self.hooks: list[Any] = []
        self.frozen = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
        model.requires_grad_(False)
        for name, layers in ways.items():
            convolution: Any = model.get_submodule(name)
            watch = _Convolution(convolution, layers)
            self.hooks += [
                convolution.register_forward_pre_hook(partial(self._enters, name, watch)),
                convolution.register_forward_hook(partial(self._leaves, name, watch)),
            ]

    def moved_by(self, frames: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """By convolution: how far each way moves each frame's margin [ways, n]; and the margins [n]."""
        import torch

        self.moved = {}
        with torch.no_grad():
            inputs = self.model.preprocess(frames)
        margin = backward_from_logit_diff(self.model, inputs)
        return self.moved, margin

    def release(self) -> None:
        for hook in self.hooks:
            hook.remove()
        for parameter, wanted in self.frozen:
            parameter.requires_grad_(wanted)

    def _add(self, name: str, moved: Tensor) -> None:
        self.moved[name] = self.moved[name] + moved if name in self.moved else moved

    def _enters(self, name: str, watch: _Convolution, module: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
        # A tensor of its own, so that its gradient is what passes through this convolution alone.
        own: Any = inputs[0].view_as(inputs[0])
        watch.input = own.detach()
        on_gradient(own, lambda gradient: self._add(name, watch.by_input(gradient)))
        return (own, *inputs[1:])

    def _leaves(self, name: str, watch: _Convolution, module: nn.Module, inputs: object, output: Any) -> None:
        written = output.detach()
        on_gradient(output, lambda gradient: self._add(name, watch.by_output(written, gradient)))


@dataclass
class _Convolution:
    """A convolution with the ways to quantise it. `input` is what the last batch put in."""

    module: Any
    layers: Sequence[Layer]
    input: Any = None

    def by_input(self, gradient: Tensor) -> Tensor:
        """How far rounding the inputs moves each margin: [ways, n]."""

        def moved(layer: Layer) -> Tensor:
            if layer.input is None:
                return gradient.new_zeros(len(gradient))
            return _product(_rounding(self.input, layer.input, layer.factors), gradient)

        return self._once_each(lambda layer: (id(layer.input), id(layer.factors)), moved)

    def by_output(self, written: Tensor, gradient: Tensor) -> Tensor:
        """The same of rounding weights and outputs. The graph's weights have the batch norm folded in."""
        import torch
        import torch.nn.functional as F

        module, ratio, framed = self.module, self.unfolding, padded(self.module, self.input)
        own = 0 if module.bias is None else module.bias.detach().reshape(-1, 1, 1)
        scale = ratio.reshape(-1, 1, 1)

        # What the margin's gradient at the weights is, frame by frame, is the same for every way to round them.
        by_frame = _at_weights(module, framed, gradient) if _is_matrix(module) else None

        def by_weight(layer: Layer) -> Tensor:
            weight = torch.from_numpy(layer.change()).to(written) * ratio.reshape(-1, 1, 1, 1)
            if by_frame is not None:
                return by_frame @ weight.flatten()
            change = F.conv2d(framed, weight, None, module.stride, 0, module.dilation, module.groups)
            return _product(change, gradient)

        def by_rounding(layer: Layer) -> Tensor:
            if layer.output is None:
                return gradient.new_zeros(len(gradient))
            bias = torch.from_numpy(layer.convolution.bias).to(written).reshape(-1, 1, 1)
            rounded = _rounding((written - own) / scale + bias, layer.output, layer.output_factors)
            return _product(scale * rounded, gradient)

        return self._once_each(lambda layer: id(layer.weight), by_weight) + self._once_each(
            lambda layer: (id(layer.output), id(layer.output_factors)), by_rounding
        )

    def _once_each(self, part: Callable[[Layer], Hashable], moved: Callable[[Layer], Tensor]) -> Tensor:
        """[ways, n], computed once for all layers that have the same part."""
        import torch

        found: dict[Hashable, Tensor] = {}
        for layer in self.layers:
            if part(layer) not in found:
                found[part(layer)] = moved(layer)
        return torch.stack([found[part(layer)] for layer in self.layers])

    @cached_property
    def unfolding(self) -> Tensor:
        """By output channel, the network's weights over the graph's."""
        import torch

        own = self.module.weight.detach().flatten(1)
        folded = torch.from_numpy(self.layers[0].convolution.weight).to(own).flatten(1)
        energy = folded.square().sum(1)
        return torch.where(energy > 0, (own * folded).sum(1) / energy.clamp_min(1e-30), torch.ones_like(energy))


def _is_matrix(convolution: Any) -> bool:
    """Whether a convolution is one matrix product, at every place by itself."""
    return tuple(convolution.kernel_size) == (1, 1) and convolution.groups == 1


def _at_weights(convolution: Any, framed: Tensor, gradient: Tensor) -> Tensor:
    """The gradient at the weights of a 1x1 convolution that reads `framed`, frame by frame: [n, out * in]."""
    down, right = convolution.stride
    read = framed[:, :, ::down, ::right].flatten(2)
    return (gradient.flatten(2) @ read.transpose(1, 2)).flatten(1)


def _product(change: Tensor, gradient: Tensor) -> Tensor:
    return (change * gradient).flatten(1).sum(1)


def _rounding(tensor: Tensor, activation: Activation, factors: NDArray[np.float32] | None = None) -> Tensor:
    """What writing a tensor in eight bits adds to it."""
    import torch

    factor: Any = 1 / activation.scale
    if factors is not None:
        factor = torch.from_numpy(factors).to(tensor).reshape(1, -1, 1, 1) * factor
    integers = torch.round(tensor * factor).add_(activation.zero_point).clamp_(0, LEVELS)
    return integers.sub_(activation.zero_point).div_(factor).sub_(tensor)
