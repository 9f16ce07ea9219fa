"""The noise of every candidate: by how much the rounding of one convolution alone moves the logit difference.

To first order, a disturbance d of a tensor x moves a frame's logit difference m by the sum of d * dm/dx. So one
backward pass over a few frames gives, for every convolution and each of its candidates, the expected noise: the mean
square of what its rounding alone moves m by, as a share of the variance of m.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench import phases
from bench.variants.layers.convolutions import (
    as_map,
    backward_from_logit_diff,
    computed_weight,
    logit_diff_variance,
    on_gradient,
    padded,
)
from bench.variants.steps.quantize.rounding import LEVELS, Activation, Layer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.detectors.detector import Detector
    from bench.variants.checkpoints import State
    from bench.variants.steps import StepContext


@dataclass(frozen=True)
class Effects:
    """What rounding adds to the logit differences of calibration frames, to first order.

    `logit_diffs` are those [n], and `variance` theirs; `changes` has by convolution what each of its candidates adds
    to each [candidates, n].
    """

    logit_diffs: Tensor
    variance: float
    changes: Mapping[str, Tensor]

    def noise(self) -> dict[str, list[float]]:
        """By convolution, the noise of each of its candidates: E[(change of m)^2] / Var(m)."""
        return {name: (change.square().mean(1) / self.variance).tolist() for name, change in self.changes.items()}

    def of(self, chosen: Mapping[str, int]) -> Errors:
        """What the chosen candidate of each convolution adds to each logit difference, all together."""
        added = [self.changes[name][candidate] for name, candidate in chosen.items()]
        if not added:
            return Errors(torch.zeros_like(self.logit_diffs), torch.zeros_like(self.logit_diffs))
        stacked = torch.stack(added)
        return Errors(stacked.sum(0), stacked.square().sum(0))

    def mean_dp(self, errors: Errors) -> float:
        """The mean absolute change of P(fake) under these errors [n]: the larger of two estimates.

        Errors that draw all answers to the middle add up with their signs, and do not cancel out. By chance, others may
        do so on these few frames; what they come to as independent ones counts then.
        """
        deviation = errors.squares.sqrt()
        independent = (self._moved(deviation) + self._moved(-deviation)) / 2
        return max(self._moved(errors.signed), independent)

    def noise_of(self, errors: Errors) -> float:
        """The noise of errors that are taken as independent."""
        return float(errors.squares.mean() / self.variance)

    def _moved(self, change: Tensor) -> float:
        return float((torch.sigmoid(self.logit_diffs + change) - torch.sigmoid(self.logit_diffs)).abs().mean())


class Errors(NamedTuple):
    """What several layers add to each logit difference [n], to first order: their sum, and that of their squares."""

    signed: Tensor
    squares: Tensor

    def with_others(self, gone: Errors, come: Errors) -> Errors:
        """The same with the errors of some layers in the place of those that they had."""
        return Errors(
            self.signed - gone.signed + come.signed, (self.squares - gone.squares + come.squares).clamp_min(0)
        )


def sensitivities(
    model: Detector, candidates: Mapping[str, Sequence[Layer]], frames: int, work: StepContext
) -> Effects:
    """What each candidate of each convolution adds; at most `frames` calibration frames are read."""
    phases.begin("preparing sensitivities")
    return _effects(model, candidates, frames, work, "sensitivity")


def of_layers(model: Detector, layers: Sequence[Layer], frames: int, work: StepContext) -> Effects:
    """What each layer adds as it is rounded at last: its one candidate."""
    phases.begin("preparing the forecast")
    by_name = {layer.convolution.name: [layer] for layer in layers}
    return _effects(model, by_name, frames, work, "forecast")


def _effects(
    model: Detector, candidates: Mapping[str, Sequence[Layer]], frames: int, work: StepContext, title: str
) -> Effects:
    """What each candidate adds. `title` is that of the checkpoint, and of the pass in progress bars."""
    network = _Probed(model.float().eval(), candidates)
    total, part = len(work.sample_evenly("calibration", frames)), work.part(title)
    # Made once for all frames: small tensors that stay, between large ones that go, would fragment the memory.
    state: State = part.state or {
        "margins": torch.zeros(total),
        "moved": {name: torch.zeros(len(layers), total) for name, layers in candidates.items()},
    }
    logit_diffs, changes = state["margins"], state["moved"]

    def observe(batch: NDArray[np.uint8], first: int) -> None:
        of_batch, logit_diff = network.changes(torch.from_numpy(batch))
        columns = slice(first, first + len(batch))
        for name, change in of_batch.items():
            # Windows or patches of a frame may lie among the frames: what each does adds up.
            changes[name][:, columns] = change.reshape(len(change), len(batch), -1).sum(2)
        logit_diffs[columns] = logit_diff

    try:
        work.calibrate(part, frames, title, observe, lambda: state)
    finally:
        network.release()
    return Effects(logit_diffs, logit_diff_variance(logit_diffs, "quantize"), changes)


# ---------------- what `sensitivities` watches a network with
class _Probed:
    """A detector whose convolutions see, in a backward pass, by how much each candidate would move each frame."""

    def __init__(self, model: Detector, candidates: Mapping[str, Sequence[Layer]]) -> None:
        """Hook every convolution that has candidates, and freeze the weights until `release`."""
        self.model = model
        self.changes_by_name: dict[str, Tensor] = {}
        self.hooks: list[Any] = []
        self.trainable = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
        model.requires_grad_(False)
        for name, layers in candidates.items():
            convolution: Any = model.get_submodule(name)
            probe = _Convolution(convolution, layers)
            self.hooks += [
                convolution.register_forward_pre_hook(partial(self._on_input, name, probe)),
                convolution.register_forward_hook(partial(self._on_output, name, probe)),
            ]

    def changes(self, frames: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """By convolution, what each candidate adds to each logit difference [candidates, n]; and those [n]."""
        self.changes_by_name = {}
        with torch.no_grad():
            inputs = self.model.preprocess(frames)
        logit_diff = backward_from_logit_diff(self.model, inputs)
        return self.changes_by_name, logit_diff

    def release(self) -> None:
        """Leave the detector as it was."""
        for hook in self.hooks:
            hook.remove()
        for parameter, requires_grad in self.trainable:
            parameter.requires_grad_(requires_grad)

    def _add(self, name: str, change: Tensor) -> None:
        before = self.changes_by_name.get(name)
        self.changes_by_name[name] = change if before is None else before + change

    def _on_input(self, name: str, probe: _Convolution, module: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
        # A view, so that its gradient is what passes through this convolution alone.
        view: Any = inputs[0].view_as(inputs[0])
        if not view.requires_grad:  # a constant, such as encoded positions
            view.requires_grad_(True)
        probe.input = view.detach()
        on_gradient(view, lambda gradient: self._add(name, probe.by_input(gradient)))
        return (view, *inputs[1:])

    def _on_output(self, name: str, probe: _Convolution, module: nn.Module, inputs: object, output: Any) -> None:
        written = output.detach()
        on_gradient(output, lambda gradient: self._add(name, probe.by_output(written, gradient)))


@dataclass
class _Convolution:
    """A convolution and its candidates. `input` is what the last batch put in."""

    module: Any
    candidates: Sequence[Layer]
    input: Any = None

    def by_input(self, gradient: Tensor) -> Tensor:
        """What rounding the inputs adds to each logit difference [candidates, n]."""

        def change(layer: Layer) -> Tensor:
            if layer.input is None:
                return gradient.new_zeros(len(gradient))
            return _product(_rounding_error(self.input, layer.input, _scales(layer, layer.channel_scales)), gradient)

        return self._once_each(lambda layer: (id(layer.input), id(layer.channel_scales)), change)

    def by_output(self, written: Tensor, gradient: Tensor) -> Tensor:
        """The same of rounding weights and outputs. The graph's weights have the batch norm folded in."""
        module, ratio = self.module, self.unfolding
        framed = self.input if isinstance(module, nn.Linear) else padded(module, self.input)
        module_bias = 0 if module.bias is None else module.bias.detach().reshape(-1, 1, 1)
        scale = ratio.reshape(-1, 1, 1)

        # The gradient at the weights, frame by frame, is the same for every candidate.
        by_frame = _at_weights(module, framed, gradient) if _is_matrix_product(module) else None

        def of_weight(layer: Layer) -> Tensor:
            weight = torch.from_numpy(layer.weight_change()).to(written) * ratio.reshape(-1, 1, 1, 1)
            if by_frame is not None:
                return by_frame @ weight.flatten()
            change = F.conv2d(framed, weight, None, module.stride, 0, module.dilation, module.groups)
            return _product(change, gradient)

        def of_output(layer: Layer) -> Tensor:
            if layer.output is None:
                return gradient.new_zeros(len(gradient))
            bias = torch.from_numpy(layer.convolution.bias).to(written).reshape(-1, 1, 1)
            folded = (written - module_bias) / scale + bias
            scales = _scales(layer, layer.output_channel_scales)
            return _product(scale * _rounding_error(folded, layer.output, scales), gradient)

        def of_shift(layer: Layer) -> Tensor:
            if layer.shift is None:
                return gradient.new_zeros(len(gradient))
            added = torch.from_numpy(layer.shift).to(gradient) * ratio
            return _product(added if isinstance(module, nn.Linear) else added.reshape(-1, 1, 1), gradient)

        return (
            self._once_each(lambda layer: id(layer.weight), of_weight)
            + self._once_each(lambda layer: (id(layer.output), id(layer.output_channel_scales)), of_output)
            + self._once_each(lambda layer: id(layer.shift), of_shift)
        )

    def _once_each(self, part: Callable[[Layer], Hashable], change: Callable[[Layer], Tensor]) -> Tensor:
        """`change` of every candidate [candidates, n], computed once for all that have the same part."""
        changes: dict[Hashable, Tensor] = {}
        for layer in self.candidates:
            if part(layer) not in changes:
                changes[part(layer)] = change(layer)
        return torch.stack([changes[part(layer)] for layer in self.candidates])

    @cached_property
    def unfolding(self) -> Tensor:
        """By output channel, the weights that the module computes with over the graph's [out]."""
        weight = computed_weight(self.module).flatten(1)
        folded = torch.from_numpy(self.candidates[0].convolution.weight).to(weight).flatten(1)
        energy = folded.square().sum(1)
        return torch.where(energy > 0, (weight * folded).sum(1) / energy.clamp_min(1e-30), torch.ones_like(energy))


def _is_matrix_product(module: Any) -> bool:
    """Whether a layer is a matrix product at every position that it is applied at, with any stride."""
    return isinstance(module, nn.Linear) or (tuple(module.kernel_size) == (1, 1) and module.groups == 1)


def _at_weights(module: Any, framed: Tensor, gradient: Tensor) -> Tensor:
    """The gradient at the weights of such a layer that reads `framed`, frame by frame: [n, out * in]."""
    down, right = getattr(module, "stride", (1, 1))
    read = as_map(module, framed)[:, :, ::down, ::right].flatten(2)
    return (as_map(module, gradient).flatten(2) @ read.transpose(1, 2)).flatten(1)


def _product(change: Tensor, gradient: Tensor) -> Tensor:
    """Frame by frame the inner product of two tensors [n, …]: [n]."""
    return (change * gradient).flatten(1).sum(1)


def _scales(layer: Layer, channel_scales: NDArray[np.float32] | None) -> NDArray[np.floating] | None:
    """Channel scales of a layer in a shape that multiplies its input or output."""
    return None if channel_scales is None else layer.convolution.along_channels(channel_scales)


def _rounding_error(
    tensor: Tensor, activation: Activation, channel_scales: NDArray[np.floating] | None = None
) -> Tensor:
    """What writing a tensor in eight bits adds to it, multiplied by its channel scales while it is in them."""
    levels: Any = 1 / activation.scale
    if channel_scales is not None:
        levels = torch.from_numpy(channel_scales).to(tensor) * levels
    integers = torch.round(tensor * levels).add_(activation.zero_point).clamp_(0, LEVELS)
    return integers.sub_(activation.zero_point).div_(levels).sub_(tensor)
