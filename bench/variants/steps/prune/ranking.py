"""Which channels the logit difference can spare, by calibration frames without labels.

`rank`, second order: a channel's price is what the logit difference loses when the channel goes *and the others take
over as well as they can*: optimal brain surgeon (Hassibi & Stork, NeurIPS 1993) on the convolution that reads the
channels. With H the second moments of what it reads and G those of the logit difference's gradient at what it writes,
removing input c costs (w_c' G w_c) / [H^-1]_cc. Channels go one by one, the cheapest first, and the rest is
compensated each time: of two channels that say the same, one goes, and the other is expensive then. The hidden units
of a vision transformer go likewise, with its tokens as positions, and whole heads as all the inputs that read them:
removing inputs S costs trace(W_S' G W_S [H^-1]_SS^-1).

That gives the order. What is lost by how many are gone is measured on frames that H leaves out (`held_out`): by H alone
a last block of few positions seemed to lose a fiftieth of what it lost on others.

`importances`, first order, for channels of a sum, which many convolutions read: what the logit difference would change
if all that writes a channel wrote its mean instead, which a bias can make up for. That is the mean over frames of (sum
over writers and positions of (y - mean y) dM/dy)^2 (Molchanov et al., Importance Estimation for Neural Network Pruning,
CVPR 2019).

Scales of channels cancel out in both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bench import phases
from bench.artifacts.footprint import positions_per_frame
from bench.errors import UserError
from bench.variants.checkpoints import each
from bench.variants.layers import compensation, convolutions
from bench.variants.layers.convolutions import PositionSampler, as_map, at
from bench.variants.steps.prune.elimination import Ranked, eliminated
from bench.variants.steps.prune.held_out import HeldOut, held_out

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.detectors.detector import Detector
    from bench.variants.checkpoints import Part, State
    from bench.variants.steps import StepContext
    from bench.variants.steps.prune.channels import Group

# At most: a gradient wants three times the work of a forward pass, and four times these frames rank no better.
FRAMES = 64


@dataclass
class _Sums:
    """Sums over what a layer read and over the logit difference's gradients at what it wrote."""

    samples: int = 0
    frames: int = 0
    read: Tensor | float = 0.0
    squares: Tensor | float = 0.0
    gradients: Tensor | float = 0.0
    held_out: HeldOut = field(default_factory=HeldOut)


def readers(model: Detector, groups: list[Group]) -> dict[str, str]:
    """By root, the layer that reads a group's channels: for groups that begin and end inside one unit.

    Channels that pass from unit to unit, such as those of residual sums, have no single reader, and neither
    have those that are read from pooled features only.
    """
    positions = positions_per_frame(model)
    unit_of = {layer: unit for unit, module in model.units() for layer in convolutions.layers(unit, module)}
    by_root = {}
    for group in groups:
        layers = [name for name in (*group.outputs, *group.inputs) if name in unit_of]
        reading = [name for name in group.inputs if name in unit_of]
        if len({unit_of[name] for name in layers}) == 1 and reading and set(group.inputs) <= set(unit_of):
            reader = max(reading, key=positions.__getitem__)
            # What reads more than these channels, behind a concatenation, does not tell of them alone.
            inputs = convolutions.inputs_of(model.get_submodule(reader))
            if positions[reader] > 1 and inputs == group.width * group.columns:
                by_root[group.root] = reader
    return by_root


def rank(model: Detector, groups: list[Group], work: StepContext, frames: int) -> dict[str, Ranked]:
    """The groups that have one reader, by root. Raises `UserError` where gradients are not finite."""
    by_root = readers(model, groups)
    layers: dict[str, Any] = {name: model.get_submodule(name) for name in by_root.values()}
    sums, variance = _observed(model, layers, work, min(frames, FRAMES))
    columns = {group.root: group.columns for group in groups}
    roots = [group.root for group in groups if group.root in by_root]

    def eliminate(root: str) -> State:
        """The order of a group's channels and what it loses."""
        reader = by_root[root]
        layer = layers[reader]
        # No other group has this reader, and its sums are large.
        of_layer = sums.pop(reader)
        mean, covariance, gradients = _moments(reader, of_layer)
        of_held_out = of_layer.held_out.centred(layer, mean)
        ranked = eliminated(layer, columns[root], mean, covariance, gradients, of_held_out)
        losses = torch.from_numpy(ranked.losses)
        felt = gradients.float().cpu()
        return {"importance": ranked.importance, "losses": losses, "gradients": felt, "held_out": len(of_held_out)}

    phases.begin("ranking")
    # What shares a GPU takes turns on it anyway.
    threads = work.threads if work.device == "cpu" else 1
    ranked = {}
    states = each(work.part("ranking"), roots, lambda rest: compensation.side_by_side(eliminate, rest, threads))
    for root, state in zip(roots, states, strict=True):
        losses = state["losses"].numpy()
        ranked[root] = Ranked(state["importance"], losses, state["gradients"], variance, state["held_out"])
        work.progress(len(ranked), len(roots), "layers", "ranking")
    return ranked


def _observed(
    model: Detector, layers: Mapping[str, Any], work: StepContext, frames: int
) -> tuple[dict[str, _Sums], float]:
    """The sums of each of these layers, over a forward and a backward pass of the frames.

    And the variance of the logit difference over these.
    """
    part = work.part("ranking, observed")
    sources = [frame.source for frame in work.sample_evenly("calibration", frames)]
    held = held_out(sources, sum(layer.weight.numel() for layer in layers.values()))
    sampler = PositionSampler(int((~held).sum()), seed=1)
    sums = {name: _Sums() for name in layers}
    if part.state:
        sampler.generator.set_state(part.state["seen"]["generator"])
        for name, (samples, count, *tensors, shift, of_weights, of_bias) in part.state["seen"]["sums"].items():
            read, squares, gradients = (tensor.to(model.device) for tensor in tensors)
            sums[name] = _Sums(samples, count, read, squares, gradients, HeldOut(shift, of_weights, of_bias))
    of_batch = held[:0]

    def begin(first: int, count: int) -> None:
        nonlocal of_batch
        of_batch = held[first : first + count].to(model.device)

    def note(name: str, layer: Any, read: Tensor, written: Tensor) -> None:
        """Add what a layer reads at sampled positions, and the gradients that come back to what it wrote."""
        of_layer = sums[name]
        # By channel, not by tap: of a 3 x 3 convolution's reads only the middles are looked at.
        features, is_held = as_map(layer, read.detach()), of_batch
        if not is_held.all():
            fitted = features[~is_held]
            vectors = at(fitted, sampler.draw(layer, fitted)).double()
            of_layer.samples += len(vectors)
            of_layer.read = of_layer.read + vectors.sum(0)
            of_layer.squares = of_layer.squares + vectors.T @ vectors

        def note_gradient(gradient: Tensor) -> None:
            rows = as_map(layer, gradient).permute(0, 2, 3, 1).flatten(0, 2)
            of_layer.gradients = of_layer.gradients + rows.T @ rows
            of_layer.frames += len(gradient)
            if is_held.any():
                of_layer.held_out.add(layer, read_of_held, gradient[is_held])

        read_of_held = read.detach()[is_held]
        convolutions.on_gradient(written, note_gradient)

    def state() -> State:
        by_name = {}
        for name, s in sums.items():
            of_held_out = [s.held_out.shift, s.held_out.of_weights, s.held_out.of_bias]
            by_name[name] = [s.samples, s.frames, s.read, s.squares, s.gradients, *of_held_out]
        return {"generator": sampler.generator.get_state(), "sums": by_name}

    with convolutions.watched(layers, note):
        variance = _backward(model, work, frames, part, state, begin)
    return sums, variance


def _moments(name: str, sums: _Sums) -> tuple[Tensor, Tensor, Tensor]:
    """Mean [d] and covariance [d, d] of what was read, the gradient's second moments per frame [o, o]."""
    assert isinstance(sums.read, Tensor)
    assert isinstance(sums.squares, Tensor)
    assert isinstance(sums.gradients, Tensor)
    mean = sums.read / sums.samples
    covariance = sums.squares / sums.samples - mean[:, None] * mean
    gradients = sums.gradients.double() / sums.frames
    if not (covariance.isfinite().all() and gradients.isfinite().all()):
        raise _not_finite(name)
    return mean, covariance, gradients


def _backward(
    model: Detector,
    work: StepContext,
    frames: int,
    part: Part,
    gathered: Callable[[], State],
    begin: Callable[[int, int], None] = lambda first, count: None,
    *,
    by_layer: bool = False,
) -> float:
    """Pass the calibration frames forward and their logit differences backward, for hooks that watch the gradients.

    Returns the variance of the logit differences. Goes on where `part` was, and saves there what the hooks have
    `gathered` by then. Calls `begin(first, count)` before every batch, with the number of its first frame. `by_layer`
    is that of `backward_from_logit_diff`. Raises `UserError` where the logit difference says nothing.
    """
    model.requires_grad_(False)
    logit_diffs: list[Tensor] = part.state.get("margins", [])

    def observe(batch: NDArray[np.uint8], first: int) -> None:
        begin(first, len(batch))
        inputs = convolutions.prepared(model, batch)
        logit_diffs.append(convolutions.backward_from_logit_diff(model, inputs, by_layer=by_layer).cpu())

    work.calibrate(part, frames, "ranking", observe, lambda: {"margins": logit_diffs, "seen": gathered()})
    return convolutions.logit_diff_variance(torch.cat(logit_diffs), "prune")


def _not_finite(name: str) -> UserError:
    """The error where no number tells channels apart."""
    return UserError(
        f"prune: activations or gradients at {name} are not finite on the calibration frames; expected finite "
        "numbers; look at these frames and at the detector's weights, or set `ranking: magnitude`"
    )


# ------------------------------------------------------------------------------------ channels of sums
@dataclass
class _Written:
    """Of one convolution: frame by frame [n, C], sums over positions of outputs, of gradients, of their products."""

    outputs: list[Tensor] = field(default_factory=list)
    gradients: list[Tensor] = field(default_factory=list)
    products: list[Tensor] = field(default_factory=list)
    positions: int = 0

    def changes(self) -> Tensor:
        """By frame and channel [n, C], how the logit difference changes to first order where the mean is written."""
        outputs = torch.cat(self.outputs)
        mean = outputs.sum(0) / (len(outputs) * self.positions)
        return torch.cat(self.products) - mean * torch.cat(self.gradients)


def importances(model: Detector, groups: Sequence[Group], work: StepContext, frames: int) -> dict[str, Tensor]:
    """First order: [width] of each of these groups, by root. Raises `UserError` where gradients are not finite."""
    writers = {group.root: _writers(model, group) for group in groups}
    convs = {name: model.get_submodule(name) for names in writers.values() for name in names}
    written = _written(model, convs, work, min(frames, FRAMES))
    by_root = {}
    for root, names in writers.items():
        if names:
            by_root[root] = torch.stack([written[name].changes() for name in names]).sum(0).square().mean(0).cpu()
            if not by_root[root].isfinite().all():
                raise _not_finite(names[0])
    return by_root


def _writers(model: Detector, group: Group) -> list[str]:
    """The convolutions whose outputs are the group's channels, one for one; depthwise ones only pass them on."""
    layers = {name: model.get_submodule(name) for name in group.outputs}
    convs = {name: layer for name, layer in layers.items() if isinstance(layer, nn.Conv2d)}
    return [name for name, conv in convs.items() if conv.out_channels == group.width and conv.groups < group.width]


def _written(model: Detector, convs: Mapping[str, nn.Module], work: StepContext, frames: int) -> dict[str, _Written]:
    """What each of these convolutions writes, over a forward and a backward pass of the frames."""
    part = work.part("ranking of sums")
    written = {name: _Written() for name in convs}
    for name, (positions, *sums) in part.state.get("seen", {}).items():
        device = model.device
        outputs, gradients, products = ([tensor.to(device) for tensor in by_batch] for by_batch in sums)
        written[name] = _Written(outputs, gradients, products, positions)

    def note(name: str, _: nn.Module, __: Tensor, output: Tensor) -> None:
        """Add what a convolution writes, and its products with the gradients that come back."""
        of_conv, outputs = written[name], output.detach().double()
        of_conv.positions = outputs[0, 0].numel()
        of_conv.outputs.append(outputs.sum((2, 3)))

        def note_gradient(gradient: Tensor) -> None:
            of_conv.gradients.append(gradient.double().sum((2, 3)))
            of_conv.products.append((gradient * outputs).sum((2, 3)))

        convolutions.on_gradient(output, note_gradient)

    def state() -> State:
        return {name: [w.positions, w.outputs, w.gradients, w.products] for name, w in written.items()}

    with convolutions.watched(convs, note):
        in_head = any(map(model.is_in_head, convs.values()))
        _backward(model, work, frames, part, state, by_layer=in_head)
    return written
