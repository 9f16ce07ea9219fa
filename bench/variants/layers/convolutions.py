"""Looking into a network's convolutions and linear layers: what each reads and writes, and its gradients.

A linear layer over tokens is a 1x1 convolution, whose feature map has a position for each token.

Also what keeps such looks small and repeatable: sampled positions, activations in half the bits, fixed algorithms.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
import torch.nn.functional as F
from timm.layers.layer_scale import LayerScale
from torch import Tensor, nn

from bench.detectors.detector import StaticPadConv2d
from bench.detectors.networks.standardised import is_standardised
from bench.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.detectors.detector import Detector

Hook: TypeAlias = Callable[[str, nn.Module, Tensor, Tensor], None]
Layer: TypeAlias = nn.Conv2d | nn.Linear

# Logit differences whose variance is a smaller share of their mean square differ by rounding alone.
_SAME = 1e-10
CONSTANT = 1e-9
"""Inputs whose variance is a smaller share of their mean square are constant but for rounding."""
_MOST_SAMPLES, _LEAST_SAMPLES, _SAMPLES_AN_INPUT = 16384, 2048, 64
# Activations in half the bits are scaled into what those can hold.
_LARGEST = 2.0**14


def layers(unit: str, module: nn.Module) -> dict[str, Layer]:
    """The convolutions and linear layers of a unit under their names in the whole network."""
    parts = ((".".join(filter(None, (unit, name))), part) for name, part in module.named_modules())
    return {name: part for name, part in parts if isinstance(part, (nn.Conv2d, nn.Linear))}


def computed_weight(layer: Any) -> Tensor:
    """The weights that a layer computes with: where they are standardised, each output's less its mean, over its
    deviation, times its gain.
    """
    weight: Tensor = layer.weight.detach()
    if not is_standardised(layer):
        return weight
    variance, mean = torch.var_mean(weight, (1, 2, 3), correction=0, keepdim=True)
    gain: Any = layer.gain.detach() * layer.scale if hasattr(layer, "gain") else 1.0
    standardised: Tensor = (weight - mean) * (variance + layer.eps).rsqrt() * gain
    return standardised


def inputs_of(layer: nn.Module) -> int:
    """How many channels a convolution or linear layer reads; 0 of anything else."""
    return int(getattr(layer, "in_channels", getattr(layer, "in_features", 0)))


def as_map(layer: nn.Module, features: Tensor) -> Tensor:
    """What a layer reads or writes as a feature map [n, C, h, w]: of a linear layer [n, …, C] with T positions."""
    if not isinstance(layer, nn.Linear):
        return features
    return features.reshape(len(features), -1, features.shape[-1]).transpose(1, 2)[..., None]


@contextlib.contextmanager
def watched(modules: Mapping[str, nn.Module], hook: Hook) -> Iterator[None]:
    """Call `hook(name, module, input, output)` whenever one of the modules has run."""
    handles = [
        module.register_forward_hook(lambda part, read, output, name=name: hook(name, part, read[0], output))
        for name, module in modules.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def norms_after(model: Detector, inputs: Tensor) -> dict[str, str]:
    """Per convolution that a batch norm reads at once, the name of that batch norm. `inputs` are preprocessed.

    Likewise per linear layer that `LayerScale` reads.
    """
    written: dict[int, tuple[str, Tensor, int]] = {}
    norms: dict[str, str] = {}

    def note(name: str, module: nn.Module, before: Tensor, after: Tensor) -> None:
        # Outputs are kept, so that no other tensor gets their identity; a norm's hook runs after its input was made.
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            written[id(after)] = (name, after, after._version)
        elif id(before) in written and before._version == written[id(before)][2]:  # nothing in place between
            norms[written[id(before)][0]] = name

    kinds = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, LayerScale)
    parts = {n: m for n, m in model.named_modules() if isinstance(m, kinds)}
    with torch.no_grad(), watched(parts, note):
        model.features(inputs)
    return norms


def backward_from_logit_diff(model: Detector, inputs: Tensor, *, by_layer: bool = False) -> Tensor:
    """The logit differences [n], fake less real, of preprocessed frames, after a backward pass of their sum.

    With `by_layer`, the head's layers are called one after another, so that hooks see them.
    """
    classify = model.classify_to_learn if by_layer else model.classify
    logits, _ = classify(model.features(inputs.requires_grad_(True)))
    logit_diff: Tensor = logits[:, 1] - logits[:, 0]
    torch.autograd.backward(logit_diff.sum())
    return logit_diff.detach()


def on_gradient(tensor: Tensor, hook: Callable[[Tensor], None]) -> None:
    """Call `hook(gradient)` in the backward pass."""
    tensor.register_hook(hook)  # type: ignore[no-untyped-call]  # torch gives it no types


def logit_diff_variance(logit_diffs: Tensor, step: str) -> float:
    """The variance of the calibration frames' logit differences [n].

    Raises `UserError`, which names `step`, where they are not finite or all the same.
    """
    if not logit_diffs.isfinite().all():
        raise UserError(
            f"{step}: the difference of the detector's two logits is not finite on calibration frames; check the "
            "weights, and the frames that it was made for"
        )
    variance = float(logit_diffs.var())
    if variance <= _SAME * float(logit_diffs.square().mean()):
        raise UserError(
            f"{step}: the detector says the same of all {len(logit_diffs)} calibration frames (logit "
            f"difference {float(logit_diffs[0]):.4g}), so nothing shows what it would lose; give frames as different "
            "as those that it will meet"
        )
    return variance


def is_constant(variance: Tensor, mean: Tensor) -> Tensor:
    """Whether what varies over the frames is rounding alone."""
    return variance <= CONSTANT * (variance + mean.square())


def prepared(model: Detector, frames: NDArray[np.uint8]) -> Tensor:
    """uint8 RGB [n, 3, H, W] on the model's device, preprocessed."""
    inputs: Tensor = model.preprocess(torch.from_numpy(frames).to(model.device)).float()
    return inputs.to(memory_format=torch.channels_last)


class PositionSampler:
    """Draws positions of feature maps evenly: other ones in every frame, the same ones in every run."""

    def __init__(self, frames: int, seed: int = 0) -> None:
        self._frames = frames
        self.generator = torch.Generator().manual_seed(seed)

    def draw(self, layer: Layer, output: Tensor) -> Tensor:
        """Flat positions [n, P] in a map [n, C, h, w]: all, or as many as make the layer's inputs well determined."""
        count, positions = len(output), output.shape[2] * output.shape[3]
        unknowns = layer.weight[0].numel()
        samples = min(_MOST_SAMPLES, max(_LEAST_SAMPLES, _SAMPLES_AN_INPUT * unknowns))
        each = -(-samples // self._frames)
        if positions <= each:
            return torch.arange(positions, device=output.device).expand(count, -1)
        drawn = [torch.randperm(positions, generator=self.generator)[:each] for _ in range(count)]
        return torch.stack(drawn).to(output.device)


def at(features: Tensor, positions: Tensor) -> Tensor:
    """The feature vectors [n * P, C] at the flat positions [n, P] of [n, C, h, w]."""
    count, channels = features.shape[:2]
    rows = features.permute(0, 2, 3, 1).reshape(count, -1, channels)
    return rows.gather(1, positions[:, :, None].expand(-1, -1, channels)).flatten(0, 1)


def patches(conv: Layer, features: Tensor, positions: Tensor) -> Tensor:
    """What `conv` reads for its outputs at `positions` [n, P]: [n * P, groups, inputs a group], as its weights lie."""
    if isinstance(conv, nn.Linear):
        return at(as_map(conv, features), positions)[:, None]
    (tall, wide), (down, right), (apart_y, apart_x) = conv.kernel_size, conv.stride, conv.dilation
    framed = padded(conv, features)
    _, channels, _, width = framed.shape
    columns = (width - apart_x * (wide - 1) - 1) // right + 1
    tap = torch.arange(tall * wide, device=features.device)
    offsets = (tap // wide) * apart_y * width + (tap % wide) * apart_x
    corners = (positions // columns) * down * width + (positions % columns) * right
    read = at(framed, (corners[:, :, None] + offsets).flatten(1))
    read = read.reshape(-1, len(tap), conv.groups, channels // conv.groups)
    return read.permute(0, 2, 3, 1).flatten(2)


def padded(conv: nn.Conv2d, features: Tensor) -> Tensor:
    """What a convolution's kernel moves over: its input with its own padding around it."""
    if isinstance(conv, StaticPadConv2d):
        return F.pad(features, conv.pad)
    # timm's convolutions of TensorFlow's padding, worked out from their input.
    if type(conv).__name__ == "Conv2dSame" or getattr(conv, "same_pad", False):
        from timm.layers.padding import pad_same

        same: Tensor = pad_same(features, list(conv.kernel_size), list(conv.stride), list(conv.dilation))
        return same
    # The attribute that torch itself pads by where a padding has a name instead of numbers.
    return F.pad(features, conv._reversed_padding_repeated_twice)


class _Stop(Exception):  # noqa: N818  (no error: the rest of a unit is not needed)
    """Raised in a hook once a convolution's input is there."""


def input_of(conv: nn.Module, unit: nn.Module, inputs: Tensor) -> Tensor:
    """What `conv` reads when its unit reads `inputs`; what comes after it is not computed."""
    read: list[Tensor] = []

    def stop(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        read.append(arguments[0])
        raise _Stop

    handle = conv.register_forward_pre_hook(stop)
    try:
        unit(inputs)
    except _Stop:
        pass
    finally:
        handle.remove()
    return read[0]


class HalvedBatches:
    """Batches of activations as fp16 with one power of two each: rounding far below what compression changes."""

    def __init__(self, batches: Sequence[tuple[Tensor, float]] = (), device: torch.device | None = None) -> None:
        self.batches = [(small.to(device), scale) for small, scale in batches]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Tensor:
        small, scale = self.batches[index]
        return small.float() * scale

    def append(self, batch: Tensor) -> None:
        self.batches.append(_halved(batch))

    def __setitem__(self, index: int, batch: Tensor) -> None:
        self.batches[index] = _halved(batch)


def _halved(batch: Tensor) -> tuple[Tensor, float]:
    scale = 2.0 ** float((batch.abs().max().clamp_min(1e-30) / _LARGEST).log2().ceil())
    return (batch / scale).half(), scale
