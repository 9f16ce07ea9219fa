"""Repair after channels were cut: the weights that stay take over what went, in closed form and without labels.

Layer after layer, in the order of the network: what the original wrote at the channels that stay is the target of a
regression on what the pruned network reads by now (ridge regression towards the present weights, on calibration frames;
compare He et al., Channel Pruning, ICCV 2017). Where a unit adds its input to what it computes, its last layer also
corrects what the units before got wrong. How strong the ridge is, a part of the frames decides, which the fit is not
made from.

Scales do not matter: inputs are brought to unit variance before the ridge is added, so that a network whose
channels are scaled and whose next layer takes the inverse is repaired to the same function.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from timm.layers.layer_scale import LayerScale
from torch import Tensor, nn

from bench.errors import UserError
from bench.variants.layers import convolutions
from bench.variants.layers.convolutions import (
    HalvedBatches,
    PositionSampler,
    as_map,
    at,
    input_of,
    is_constant,
    patches,
)

if TYPE_CHECKING:
    from bench.detectors.detector import Detector
    from bench.variants.checkpoints import State
    from bench.variants.layers.convolutions import Layer
    from bench.variants.steps import StepContext

# Shares of an input's variance that may be added to it: how strongly weights hold to their present values. Few
# frames and many inputs want a strong hold; with the last one weights stay as they are.
_RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0, math.inf)
# One in so many sources, or frames, decides on the ridge.
_DECIDING = 4


@torch.no_grad()
def repair(pruned: Detector, original: Detector, left: Mapping[str, Tensor], work: StepContext, frames: int) -> None:
    """Refit every layer of `pruned` that lost inputs, in place, to what `original` writes there.

    `left` gives, by layer that lost outputs, which of the original's stayed. At most `frames` calibration frames
    are read. Raises `UserError` where a fit is not finite.
    """
    before, now = HalvedBatches(), HalvedBatches()
    for batch in work.calibration_batches(frames):
        inputs = convolutions.prepared(original, batch)
        before.append(inputs)
        now.append(inputs)
    norms = convolutions.norms_after(pruned, now[0][:1])
    decides = deciding_frames([frame.source for frame in work.sample_evenly("calibration", frames)])
    pairs = list(zip(original.units(), pruned.units(), strict=True))
    part = work.part("repairing")
    if part.state:
        pruned.load_state_dict(part.state["network"])
        before, now = (HalvedBatches(part.state[side], pruned.device) for side in ("wanted", "found"))

    def state() -> State:
        return {"network": pruned.state_dict(), "wanted": before.batches, "found": now.batches}

    for done, ((name, whole), (_, cut)) in enumerate(pairs[part.done :], start=part.done + 1):
        lacking = _lost_inputs(name, whole, cut)
        targets_by_layer, after = _targets(whole, lacking, left, before, PositionSampler(len(decides)))
        for layer, targets in targets_by_layer.items():
            norm = pruned.get_submodule(norms[layer]) if layer in norms else None
            if _adds_input(whole, original.get_submodule(norms.get(layer, layer)), before[0]):
                _add_input_error(targets, pruned.get_submodule(layer), norm, left.get(layer), before, now)
            _refit(pruned.get_submodule(layer), norm, cut, now, targets, decides, layer)
        before = after
        for index in range(len(now)):
            now[index] = cut(now[index])
        part.keep(done, len(pairs), state)
        work.progress(done, len(pairs), "layers", "repairing")
    if now[0].shape[1] < before[0].shape[1]:
        _correct_head(pruned, original, before, now)


def _lost_inputs(name: str, whole: nn.Module, cut: nn.Module) -> dict[str, Layer]:
    """The layers of a unit whose counterparts in the `cut` one read fewer channels."""
    counterparts = convolutions.layers(name, cut)
    layers = convolutions.layers(name, whole).items()
    return {layer: module for layer, module in layers if module.weight.shape[1] != counterparts[layer].weight.shape[1]}


def _correct_head(pruned: Detector, original: Detector, before: HalvedBatches, now: HalvedBatches) -> None:
    """Add to the head's bias what the channels that are gone contributed on average.

    Its weights stay: a frame is one sample here, and there are more features than frames.
    """
    lacking = [original.classify(b)[0] - pruned.classify(n)[0] for b, n in zip(before, now, strict=True)]
    pruned.shift_logits(torch.cat(lacking).mean(0))


def _targets(
    unit: nn.Module,
    lacking: Mapping[str, Layer],
    left: Mapping[str, Tensor],
    inputs: HalvedBatches,
    sampler: PositionSampler,
) -> tuple[dict[str, list[tuple[Tensor, Tensor]]], HalvedBatches]:
    """Per layer that is lacking inputs, as they run: positions [n, P], and what the original writes there.

    Both are by batch. Also given is what the unit itself writes, which the next one reads.
    """
    targets: dict[str, list[tuple[Tensor, Tensor]]] = {}

    def note(layer: str, module: Any, _: Tensor, output: Tensor) -> None:
        features = as_map(module, output)
        positions = sampler.draw(module, features)
        targets.setdefault(layer, []).append((positions, at(_stayed(features, left.get(layer)), positions)))

    written = HalvedBatches()
    with convolutions.watched(lacking, note):
        for batch in inputs:
            written.append(unit(batch))
    return targets, written


def _stayed(features: Tensor, left: Tensor | None) -> Tensor:
    return features if left is None else features[:, left.to(features.device)]


def _adds_input(unit: nn.Module, last: nn.Module, inputs: Tensor) -> bool:
    """Whether a unit's output is its input plus what `last` gives, perhaps with a ReLU after the sum.

    A convolution without a batch norm behind it counts as none that does.
    """
    if isinstance(last, nn.Conv2d):
        return False
    normed: list[Tensor] = []
    handle = last.register_forward_hook(lambda _, __, output: normed.append(output.clone()))
    output = unit(inputs.clone())
    handle.remove()
    if len(normed) != 1 or normed[0].shape != inputs.shape or output.shape != inputs.shape:
        return False
    tolerance = 1e-4 * float(output.abs().max())
    summed = normed[0] + inputs
    return any(torch.allclose(total, output, atol=tolerance) for total in (summed, F.relu(summed)))


def _add_input_error(
    targets: list[tuple[Tensor, Tensor]],
    layer: nn.Module,
    norm: nn.Module | None,
    left: Tensor | None,
    before: HalvedBatches,
    now: HalvedBatches,
) -> None:
    """Add to the targets of the last layer before a sum what its unit's input lacks by now, behind its norm."""
    gain = _gain(norm)
    for index, (positions, target) in enumerate(targets):
        was, is_now = as_map(layer, before[index]), as_map(layer, now[index])
        target.add_(gain * (at(_stayed(was, left), positions) - at(is_now, positions)))


def _gain(norm: nn.Module | None) -> Tensor | float:
    """By how much more a layer has to write for one more behind its norm; 0 where that lets nothing through."""
    if isinstance(norm, LayerScale):
        return torch.where(norm.gamma.abs() > 1e-6, 1 / norm.gamma, 0.0)
    if not isinstance(norm, nn.BatchNorm2d):
        return 1.0
    assert norm.running_var is not None
    deviation = (norm.running_var + norm.eps).sqrt()
    return torch.where(norm.weight.abs() > 1e-6, deviation / norm.weight, 0.0)


def _refit(
    layer: Any, norm: nn.Module | None, unit: nn.Module, inputs: HalvedBatches,
    targets: list[tuple[Tensor, Tensor]], decides: Tensor, name: str,
) -> None:  # fmt: skip
    """Ridge regression of the targets on what `layer` reads, towards its weights. The intercept goes where one is."""
    mean = norm.running_mean if isinstance(norm, nn.BatchNorm2d) else None
    if layer.bias is None and mean is None:
        # Nothing here can take up a mean, and weights that were fitted around one would be worse than none.
        return
    moments = Moments()
    deciding = torch.split(decides.to(layer.weight.device), [len(positions) for positions, _ in targets])
    groups = getattr(layer, "groups", 1)
    weight = layer.weight.reshape(groups, len(layer.weight) // groups, -1)
    for batch, (positions, target), of_batch in zip(inputs, targets, deciding, strict=True):
        read = patches(layer, input_of(layer, unit, batch), positions)
        written = torch.einsum("sgd,god->sgo", read, weight)
        if layer.bias is not None:
            written = written + layer.bias.reshape(groups, -1)
        outputs = target.reshape(written.shape)
        moments.add(read, outputs - written, outputs, of_batch.repeat_interleave(positions.shape[1]))
    change, intercept = moments.solve()
    if not (change.isfinite().all() and intercept.isfinite().all()):
        raise UserError(
            f"prune: what {name} reads on the calibration frames is not finite; expected numbers that weights can be "
            "fitted to; look at these frames and at the detector's weights, or set `repair: false`"
        )
    layer.weight.add_(change.reshape(layer.weight.shape))
    if layer.bias is not None:
        layer.bias.add_(intercept.flatten())
    elif mean is not None:
        mean.sub_(intercept.flatten())


# ------------------------------------------------------------------------------------ regression
def deciding_frames(sources: Sequence[str | None]) -> Tensor:
    """By frame [n], whether it decides on the ridge: every fourth source, so that no video is on both sides.

    Where there are fewer sources than that, every fourth frame. A frame without a source is its own.
    """
    named = [source or f"/{index}" for index, source in enumerate(sources)]
    numbers = {source: number for number, source in enumerate(dict.fromkeys(named))}
    if len(numbers) < _DECIDING:
        return torch.arange(len(named)) % _DECIDING == _DECIDING - 1
    return torch.tensor([numbers[source] % _DECIDING == _DECIDING - 1 for source in named])


@dataclass(frozen=True)
class _Problem:
    """Inputs brought to unit variance: their mean [g, d], scale [g, d] and correlation [g, d, d], about the shift.

    `lacking` [g, o] is the mean of what outputs lack, `products` [g, d, o] its covariance with the inputs.
    """

    mean: Tensor
    scale: Tensor
    correlation: Tensor
    lacking: Tensor
    products: Tensor

    def solution(self, ridge: float) -> tuple[Tensor, Tensor]:
        """Change of weights [g, o, d] and intercept [g, o], about the shift."""
        if ridge == math.inf:
            return torch.zeros_like(self.products).transpose(1, 2), self.lacking
        correlation = self.correlation.clone()
        correlation.diagonal(dim1=1, dim2=2).add_(ridge)
        factor, _ = torch.linalg.cholesky_ex(correlation)
        scale = self.scale[:, :, None]
        change = (torch.cholesky_solve(self.products / scale, factor) / scale).transpose(1, 2)
        return change, self.lacking - (change * self.mean[:, None]).sum(2)


class Moments:
    """Second moments of what convolutions read, with what their outputs lack; one set a convolution group.

    The sums [2, groups, ...] are apart for the frames that a fit is made from and those that decide on its ridge.
    """

    def __init__(self) -> None:
        self._begun = False

    def add(self, read: Tensor, lacking: Tensor, targets: Tensor, decides: Tensor) -> None:
        """Add `read` [S, groups, d], what is `lacking` of the `targets` [S, groups, outputs a group]; by row, `decides`
        [S].
        """
        if not self._begun:
            self._begin(read, lacking, targets)
        # Around the first batch's means, float32 products lose nothing that is needed.
        shifted = zip((read, lacking, targets), self._shift, strict=True)
        rows = [(values - shift).transpose(0, 1) for values, shift in shifted]
        for part, chosen in enumerate((~decides, decides)):
            x, y, target = (values[:, chosen] for values in rows)
            self._count[part] += x.shape[1]
            self._squares[part] += x.transpose(1, 2) @ x
            self._products[part] += x.transpose(1, 2) @ y
            self._read[part] += x.sum(1)
            self._lacking[part] += y.sum(1)
            self._errors[part] += y.square().sum(1)
            self._targets[part] += target.sum(1)
            self._energy[part] += target.square().sum(1)

    def _begin(self, read: Tensor, lacking: Tensor, targets: Tensor) -> None:
        (_, groups, inputs), outputs = read.shape, lacking.shape[2]
        zeros = torch.zeros(2, groups, dtype=torch.float64, device=read.device)
        self._shift = read.mean(0), lacking.mean(0), targets.mean(0)
        self._count = zeros[:, :1].clone()
        self._squares = zeros.new_zeros(2, groups, inputs, inputs)
        self._products = zeros.new_zeros(2, groups, inputs, outputs)
        self._read = zeros.new_zeros(2, groups, inputs)
        self._lacking, self._errors, self._targets, self._energy = zeros.new_zeros(4, 2, groups, outputs)
        self._begun = True

    def solve(self) -> tuple[Tensor, Tensor]:
        """By how much weights [groups, outputs, d] and intercepts [groups, outputs] have to change."""
        fitted = self._problem(slice(0, 1))
        errors = [self._error(*fitted.solution(ridge)) for ridge in _RIDGES]
        ridge = _RIDGES[min(range(len(errors)), key=errors.__getitem__)]
        change, intercept = self._problem(slice(0, 2)).solution(ridge)
        return change, intercept + self._shift[1] - (change * self._shift[0][:, None]).sum(2)

    def _problem(self, parts: slice) -> _Problem:
        count = self._count[parts].sum()
        mean, lacking = self._read[parts].sum(0) / count, self._lacking[parts].sum(0) / count
        squares = self._squares[parts].sum(0) / count - mean[:, :, None] * mean[:, None]
        products = self._products[parts].sum(0) / count - mean[:, :, None] * lacking[:, None]
        variance = squares.diagonal(dim1=1, dim2=2)
        # Infinitely far away: inputs that are constant over the frames, whose variance is rounding, get no weight.
        constant = is_constant(variance, mean + self._shift[0])
        scale = torch.where(constant, torch.inf, variance.clamp_min(0).sqrt())
        return _Problem(mean, scale, squares / (scale[:, :, None] * scale[:, None]), lacking, products)

    def _error(self, change: Tensor, intercept: Tensor) -> float:
        """What the deciding frames' outputs would lack, each as a share of its variance; the mean over outputs."""
        count, squares, products = self._count[1], self._squares[1], self._products[1]
        read, lacking, errors = self._read[1], self._lacking[1], self._errors[1]
        explained = (change * (2 * products.transpose(1, 2) - change @ squares)).sum(2)
        crossed = 2 * intercept * (lacking - (change * read[:, None]).sum(2)) - count * intercept.square()
        left = (errors - explained - crossed) / count
        total = self._count.sum()
        energy, mean = self._energy.sum(0) / total, self._targets.sum(0) / total
        varies = energy - mean.square()
        floor = convolutions.CONSTANT * (energy + (mean + self._shift[2]).square())
        return float((left / torch.maximum(varies, floor).clamp_min(1e-30)).mean())
