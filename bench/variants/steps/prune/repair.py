"""Repair after channels were cut: the weights that stay take over what went, in closed form and without labels.

Layer after layer, in the order of the network: what the original wrote at the channels that stay is the target of a
regression on what the pruned network reads by now (ridge regression towards the present weights, on calibration frames;
compare He et al., Channel Pruning, ICCV 2017). Where a unit adds its input to what it computes, its last layer also
corrects what the units before got wrong. How strong the ridge is, a part of the frames decides, which the fit is not
made from: by the errors that the logit difference feels, where its gradients are known from the ranking.

Where what is cut will be felt, the fit is made from more frames, and from copies of few that are varied as frames of
the field are: they fill the place of frames that nobody has.

Scales do not matter: inputs are brought to unit variance before the ridge is added, so that a network whose
channels are scaled and whose next layer takes the inverse is repaired to the same function.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from timm.layers.layer_scale import LayerScale
from torch import Tensor, nn

from bench.errors import UserError
from bench.variants import augmentation
from bench.variants.layers import convolutions
from bench.variants.layers.convolutions import HalvedBatches, PositionSampler, as_map, at, input_of, patches
from bench.variants.steps.prune.regression import Moments, deciding_frames

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.detectors.detector import Detector
    from bench.variants.checkpoints import State
    from bench.variants.layers.convolutions import Layer
    from bench.variants.steps import StepContext

# The fit is made from so many frames with their copies, of so many pixels: a large frame has many positions anyway.
_FRAMES_AND_COPIES, _PIXELS, _MOST_COPIES = 512, 512 * 160 * 160, 4
# Of the variance of the logit difference: channels of so little noise are taken over well by few frames.
_HARDLY_FELT = 3e-4


@dataclass(frozen=True)
class Evidence:
    """What a repair goes by: at most so many calibration `frames`, and whether `varied` copies of few are read too.

    `felt` gives, by layer, the second moments [outputs, outputs] of the logit difference's gradient at what the
    original writes: errors that it feels decide on the ridge there.
    """

    frames: int
    felt: Mapping[str, Tensor] = field(default_factory=dict)
    varied: bool = True


def will_be_felt(noise: float | None) -> bool:
    """Whether more frames, or varied copies, pay, by the noise that is foretold of what was cut; None: nothing is."""
    return noise is None or noise > _HARDLY_FELT


def most_frames(frames: int, size: int) -> int:
    """How many frames of `size` x `size` pixels a fit is made from where more pay: up to 512, at least `frames`."""
    return max(frames, _fitted_to(size))


@torch.no_grad()
def repair(
    pruned: Detector, original: Detector, left: Mapping[str, Tensor], work: StepContext, evidence: Evidence
) -> None:
    """Refit every layer of `pruned` that lost inputs, in place, to what `original` writes there.

    `left` gives, by layer that lost outputs, which of the original's stayed. Raises `UserError` where a fit is not
    finite.
    """
    before, now = HalvedBatches(), HalvedBatches()
    sources = [frame.source for frame in work.sample_evenly("calibration", evidence.frames)]
    copies = _copies_of(len(sources), work.spec.size) if evidence.varied else 1
    for batch in _copies(work, evidence.frames, copies):
        inputs = convolutions.prepared(original, batch)
        before.append(inputs)
        now.append(inputs)
    norms = convolutions.norms_after(pruned, now[0][:1])
    decides = deciding_frames(sources).repeat(copies)
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
            weighing = _stayed_in_both(evidence.felt.get(layer), left.get(layer))
            moments = Moments(decides, weighing)
            _refit(pruned.get_submodule(layer), norm, cut, now, targets, moments, layer)
        before = after
        for index in range(len(now)):
            now[index] = cut(now[index])
        part.keep(done, len(pairs), state)
        work.progress(done, len(pairs), "layers", "repairing")
    if now[0].shape[1] < before[0].shape[1]:
        _correct_head(pruned, original, before, now)


def _copies_of(frames: int, size: int) -> int:
    """How many times so many frames of `size` x `size` pixels are fitted to: as they are, and varied."""
    return max(1, min(_MOST_COPIES, _fitted_to(size) // frames))


def _fitted_to(size: int) -> int:
    return min(_FRAMES_AND_COPIES, _PIXELS // size**2)


def _copies(work: StepContext, frames: int, copies: int) -> Iterator[NDArray[np.uint8]]:
    """Batches of the calibration frames so many times: as they are, then varied, every time otherwise."""
    read = []
    for batch in work.calibration_batches(frames):
        yield batch
        if copies > 1:
            read.append(torch.from_numpy(batch))
    for copy in range(1, copies):
        for number, frames_read in enumerate(read):
            yield augmentation.varied(frames_read, copy, number, all_ways=True).numpy()


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


def _stayed_in_both(moments: Tensor | None, left: Tensor | None) -> Tensor | None:
    """Second moments between the outputs that stayed."""
    return moments if moments is None or left is None else moments[left][:, left]


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
    targets: list[tuple[Tensor, Tensor]], moments: Moments, name: str,
) -> None:  # fmt: skip
    """Ridge regression of the targets on what `layer` reads, towards its weights. The intercept goes where one is."""
    mean = norm.running_mean if isinstance(norm, nn.BatchNorm2d) else None
    if layer.bias is None and mean is None:
        # Nothing here can take up a mean, and weights that were fitted around one would be worse than none.
        return
    deciding = torch.split(moments.decides.to(layer.weight.device), [len(positions) for positions, _ in targets])
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
