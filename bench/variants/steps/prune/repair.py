"""Repair after channels were cut: the weights that stay take over what went, in closed form and without labels.

Convolution after convolution, in the order of the network: what the original wrote at the kept channels is
regressed on what the pruned network reads there by now (ridge regression towards the present weights, on
calibration frames; compare He et al., Channel Pruning, ICCV 2017). Where a unit adds its input to what it
computes, its last convolution also makes up for what the units before got wrong.

Scales do not matter: inputs are brought to unit variance before the ridge is added, so that a network whose
channels are scaled and whose next layer takes the inverse is repaired to the same function.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.errors import UserError
from bench.variants.layers import convolutions
from bench.variants.layers.convolutions import Places, at, patches
from bench.variants.steps.prune.ridge import Moments, judging_frames

if TYPE_CHECKING:
    from bench.detectors.detector import Detector
    from bench.variants.checkpoints import State
    from bench.variants.steps import StepContext

# Two networks' activations are kept between units: in half the bits, scaled into what those can hold.
_LARGEST = 2.0**14


class Kept:
    """Batches of activations, kept as fp16 with one power of two each: rounding far below what pruning changes."""

    def __init__(self, batches: Sequence[tuple[Tensor, float]] = (), device: torch.device | None = None) -> None:
        self.batches = [(small.to(device), scale) for small, scale in batches]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[place] for place in range(len(self)))

    def __getitem__(self, place: int) -> Tensor:
        small, scale = self.batches[place]
        return small.float() * scale

    def append(self, batch: Tensor) -> None:
        self.batches.append(_halved(batch))

    def __setitem__(self, place: int, batch: Tensor) -> None:
        self.batches[place] = _halved(batch)


def _halved(batch: Tensor) -> tuple[Tensor, float]:
    scale = 2.0 ** float((batch.abs().max().clamp_min(1e-30) / _LARGEST).log2().ceil())
    return (batch / scale).half(), scale


@torch.no_grad()
def repair(pruned: Detector, original: Detector, left: Mapping[str, Tensor], work: StepContext, frames: int) -> None:
    """Refit every convolution of `pruned` that lost inputs, in place, to what `original` writes there.

    `left` tells for each convolution that lost outputs which of the original's stayed. At most `frames` calibration
    frames are read. Raises `UserError` where a fit is not finite.
    """
    wanted, found = Kept(), Kept()
    for batch in convolutions.inputs_of(original, work, frames):
        wanted.append(batch)
        found.append(batch)
    norms = convolutions.norms_after(pruned, found[0][:1])
    judge = judging_frames([frame.source for frame in work.spread("calibration", frames)])
    pairs = list(zip(original.stages(), pruned.stages(), strict=True))
    part = work.part("repairing")
    if part.state:
        pruned.load_state_dict(part.state["network"])
        wanted, found = (Kept(part.state[side], pruned.device) for side in ("wanted", "found"))

    def state() -> State:
        return {"network": pruned.state_dict(), "wanted": wanted.batches, "found": found.batches}

    for done, ((name, before), (_, after)) in enumerate(pairs[part.done :], start=part.done + 1):
        now = convolutions.convolutions(name, after)
        cut = {
            conv: module
            for conv, module in convolutions.convolutions(name, before).items()
            if module.weight.shape[1] != now[conv].weight.shape[1]
        }
        targets, ahead = _targets(before, cut, left, wanted, Places(len(judge)))
        for conv, wished in targets.items():
            norm = pruned.get_submodule(norms[conv]) if conv in norms else None
            if isinstance(norm, nn.BatchNorm2d) and _adds_input(before, original.get_submodule(norms[conv]), wanted[0]):
                _make_up(wished, norm, left.get(conv), wanted, found)
            _refit(now[conv], norm, after, found, wished, judge, conv)
        wanted = ahead
        for place in range(len(found)):
            found[place] = after(found[place])
        part.keep(done, len(pairs), state)
        work.progress(done, len(pairs), "layers", "repairing")
    if found[0].shape[1] < wanted[0].shape[1]:
        _make_up_in_head(pruned, original, wanted, found)


def _make_up_in_head(pruned: Detector, original: Detector, wanted: Kept, found: Kept) -> None:
    """What the channels that are gone said on average goes into the head's bias.

    Its weights stay: a frame is one sample here, and there are more features than frames.
    """
    lacking = [original.classify(was)[0] - pruned.classify(now)[0] for was, now in zip(wanted, found, strict=True)]
    pruned.shift_logits(torch.cat(lacking).mean(0))


class _Stop(Exception):  # noqa: N818  (no error: the rest of a unit is not needed)
    """Raised in a hook once a convolution's input is known."""


def _targets(
    unit: nn.Module, cut: Mapping[str, nn.Conv2d], left: Mapping[str, Tensor], inputs: Kept, drawn: Places
) -> tuple[dict[str, list[tuple[Tensor, Tensor]]], Kept]:
    """Per convolution in `cut`, as they run: places [n, P], and what the original writes there, batch by batch.

    And what the unit itself writes, which is what the next one reads.
    """
    found: dict[str, list[tuple[Tensor, Tensor]]] = {}

    def note(conv: str, module: nn.Module, _: Tensor, output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        places = drawn.draw(module, output)
        found.setdefault(conv, []).append((places, at(_stayed(output, left.get(conv)), places)))

    written = Kept()
    with convolutions.watched(cut, note):
        for batch in inputs:
            written.append(unit(batch))
    return found, written


def _stayed(features: Tensor, left: Tensor | None) -> Tensor:
    return features if left is None else features[:, left.to(features.device)]


def _adds_input(unit: nn.Module, norm: nn.Module, inputs: Tensor) -> bool:
    """Whether a unit's output is its input plus what `norm` gives, perhaps with a ReLU after the sum."""
    given: list[Tensor] = []
    handle = norm.register_forward_hook(lambda _, __, output: given.append(output.clone()))
    output = unit(inputs.clone())
    handle.remove()
    if len(given) != 1 or given[0].shape != inputs.shape or output.shape != inputs.shape:
        return False
    tolerance = 1e-4 * float(output.abs().max())
    summed = given[0] + inputs
    return any(torch.allclose(one, output, atol=tolerance) for one in (summed, F.relu(summed)))


def _make_up(
    targets: list[tuple[Tensor, Tensor]], norm: nn.BatchNorm2d, left: Tensor | None, wanted: Kept, found: Kept
) -> None:
    """Ask of the last convolution before a sum, too, what its unit's input lacks by now; seen through its norm."""
    assert norm.running_var is not None
    spread = (norm.running_var + norm.eps).sqrt()
    # Where a norm lets nothing through, its convolution can make up for nothing.
    gain = torch.where(norm.weight.abs() > 1e-6, spread / norm.weight, 0.0)
    for place, (places, target) in enumerate(targets):
        target.add_(gain * (at(_stayed(wanted[place], left), places) - at(found[place], places)))


def _refit(
    conv: nn.Conv2d, norm: nn.Module | None, unit: nn.Module, inputs: Kept,
    targets: list[tuple[Tensor, Tensor]], judge: Tensor, name: str,
) -> None:  # fmt: skip
    """Ridge regression of the targets on what `conv` reads, towards its weights. The intercept goes where one is."""
    mean = norm.running_mean if isinstance(norm, nn.BatchNorm2d) else None
    if conv.bias is None and mean is None:
        # Nothing here can take up a mean, and weights that were fitted around one would be worse than none.
        return
    moments = Moments()
    judging = torch.split(judge.to(conv.weight.device), [len(places) for places, _ in targets])
    weight = conv.weight.reshape(conv.groups, conv.out_channels // conv.groups, -1)
    for batch, (places, target), judges in zip(inputs, targets, judging, strict=True):
        read = patches(conv, _input_of(conv, unit, batch), places)
        written = torch.einsum("sgd,god->sgo", read, weight)
        if conv.bias is not None:
            written = written + conv.bias.reshape(conv.groups, -1)
        wanted = target.reshape(written.shape)
        moments.add(read, wanted - written, wanted, judges.repeat_interleave(places.shape[1]))
    change, intercept = moments.solve()
    if not (change.isfinite().all() and intercept.isfinite().all()):
        raise UserError(
            f"prune: what {name} reads on the calibration frames is not finite; expected numbers that weights can be "
            "fitted to; look at these frames and at the detector's weights, or set `repair: false`"
        )
    conv.weight.add_(change.reshape(conv.weight.shape))
    if conv.bias is not None:
        conv.bias.add_(intercept.flatten())
    elif mean is not None:
        mean.sub_(intercept.flatten())


def _input_of(conv: nn.Conv2d, unit: nn.Module, inputs: Tensor) -> Tensor:
    """What `conv` reads when its unit reads `inputs`; what comes after it is not computed."""
    found: list[Tensor] = []

    def stop(_: nn.Module, read: tuple[Tensor, ...]) -> None:
        found.append(read[0])
        raise _Stop

    handle = conv.register_forward_pre_hook(stop)
    try:
        unit(inputs)
    except _Stop:
        pass
    finally:
        handle.remove()
    return found[0]
