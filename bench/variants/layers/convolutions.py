"""Looking into a network's convolutions: its units in order, what a convolution reads and writes at chosen places."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.detectors.detector import StaticPadConv2d
from bench.errors import UserError
from bench.variants.layers.compensation import batch_size

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.detectors.detector import Detector
    from bench.variants.checkpoints import Part, State
    from bench.variants.steps import StepContext

Hook: TypeAlias = Callable[[str, nn.Module, Tensor, Tensor], None]

# Margins whose variance is a smaller share of their mean square differ by rounding alone.
_SAME = 1e-10
_MOST_SAMPLES, _LEAST_SAMPLES, _SAMPLES_AN_INPUT = 16384, 2048, 64


def convolutions(unit: str, module: nn.Module) -> dict[str, nn.Conv2d]:
    """The convolutions of a unit under their names in the whole network."""
    found = ((".".join(filter(None, (unit, name))), part) for name, part in module.named_modules())
    return {name: part for name, part in found if isinstance(part, nn.Conv2d)}


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
    """Per convolution that a batch norm reads at once, the name of that batch norm. `inputs` are preprocessed."""
    written: dict[int, tuple[str, Tensor, int]] = {}
    found: dict[str, str] = {}

    def note(name: str, module: nn.Module, before: Tensor, after: Tensor) -> None:
        # Outputs are kept, so that no other tensor gets their identity; a norm's hook runs after its input was made.
        if isinstance(module, nn.Conv2d):
            written[id(after)] = (name, after, after._version)
        elif id(before) in written and before._version == written[id(before)][2]:  # nothing in place between
            found[written[id(before)][0]] = name

    parts = {n: m for n, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.BatchNorm2d))}
    with torch.no_grad(), watched(parts, note):
        model.features(inputs)
    return found


def inputs_of(model: Detector, work: StepContext, most: int, skip: int = 0) -> Iterator[Tensor]:
    """Calibration frames as the backbone gets them, float32 [n, 3, H, W], at most `most` but for the first `skip`."""
    for batch in work.batches("calibration", batch_size(model.preprocessing.size), most, skip):
        yield prepared(model, batch)


def backward_from_margin(model: Detector, inputs: Tensor) -> Tensor:
    """The margins [n] of preprocessed frames, after a backward pass of their sum."""
    logits, _ = model.classify(model.features(inputs.requires_grad_(True)))
    margin: Tensor = logits[:, 1] - logits[:, 0]
    torch.autograd.backward(margin.sum())
    return margin.detach()


def on_gradient(tensor: Tensor, hook: Callable[[Tensor], None]) -> None:
    """Call `hook(gradient)` in the backward pass."""
    tensor.register_hook(hook)  # type: ignore[no-untyped-call]  # torch gives it no types


def backward(model: Detector, work: StepContext, frames: int, part: Part, seen: Callable[[], State]) -> None:
    """The margin's gradient at everything but weights: a forward and a backward pass of the calibration frames.

    Goes on where `part` was, and keeps in it what hooks have `seen` by then. Raises `UserError` where the margin tells
    nothing.
    """
    done, total = part.done, len(work.spread("calibration", frames))
    model.requires_grad_(False)
    margins: list[Tensor] = part.state.get("margins", [])
    for inputs in inputs_of(model, work, frames, done):
        margins.append(backward_from_margin(model, inputs).cpu())
        done += len(inputs)
        part.keep(done, total, lambda: {"margins": margins, "seen": seen()})
        work.progress(done, total, "frames", "ranking")
    spread_of(torch.cat(margins), "prune")


def spread_of(margins: Tensor, step: str) -> float:
    """The variance of the calibration frames' margins; `UserError` where it tells nothing of the detector."""
    if not margins.isfinite().all():
        raise UserError(
            f"{step}: the detector's margin is not finite on calibration frames; check the weights, and the frames "
            "that it was made for"
        )
    spread = float(margins.var())
    if spread <= _SAME * float(margins.square().mean()):
        raise UserError(
            f"{step}: the detector says the same of all {len(margins)} calibration frames (margin "
            f"{float(margins[0]):.4g}), so what it would lose cannot be told; give frames as different as those that "
            "it will meet"
        )
    return spread


def prepared(model: Detector, frames: NDArray[np.uint8]) -> Tensor:
    """uint8 RGB [n, 3, H, W] on the model's device, preprocessed."""
    inputs: Tensor = model.preprocess(torch.from_numpy(frames).to(model.device)).float()
    return inputs.to(memory_format=torch.channels_last)


class Places:
    """Which places of a feature map are looked at: drawn evenly, other ones in every frame, the same every time."""

    def __init__(self, frames: int, seed: int = 0) -> None:
        self._frames = frames
        self.generator = torch.Generator().manual_seed(seed)

    def draw(self, conv: nn.Conv2d, output: Tensor) -> Tensor:
        """Flat places [n, P] in the output [n, C, h, w]: all, or as many as make `conv`'s inputs well determined."""
        count, positions = len(output), output.shape[2] * output.shape[3]
        unknowns = conv.weight[0].numel()
        wanted = min(_MOST_SAMPLES, max(_LEAST_SAMPLES, _SAMPLES_AN_INPUT * unknowns))
        each = -(-wanted // self._frames)
        if positions <= each:
            return torch.arange(positions, device=output.device).expand(count, -1)
        drawn = [torch.randperm(positions, generator=self.generator)[:each] for _ in range(count)]
        return torch.stack(drawn).to(output.device)


def at(features: Tensor, places: Tensor) -> Tensor:
    """The feature vectors [n * P, C] at the flat places [n, P] of [n, C, h, w]."""
    count, channels = features.shape[:2]
    rows = features.permute(0, 2, 3, 1).reshape(count, -1, channels)
    return rows.gather(1, places[:, :, None].expand(-1, -1, channels)).flatten(0, 1)


def patches(conv: nn.Conv2d, features: Tensor, places: Tensor) -> Tensor:
    """What `conv` reads for its outputs at `places` [n, P]: [n * P, groups, inputs a group], in its weights' order."""
    (tall, wide), (down, right), (apart_y, apart_x) = conv.kernel_size, conv.stride, conv.dilation
    framed = padded(conv, features)
    _, channels, _, width = framed.shape
    columns = (width - apart_x * (wide - 1) - 1) // right + 1
    tap = torch.arange(tall * wide, device=features.device)
    offsets = (tap // wide) * apart_y * width + (tap % wide) * apart_x
    corners = (places // columns) * down * width + (places % columns) * right
    read = at(framed, (corners[:, :, None] + offsets).flatten(1))
    read = read.reshape(-1, len(tap), conv.groups, channels // conv.groups)
    return read.permute(0, 2, 3, 1).flatten(2)


def padded(conv: nn.Conv2d, features: Tensor) -> Tensor:
    """What a convolution's kernel moves over: its input with its own padding around it."""
    if isinstance(conv, StaticPadConv2d):
        return F.pad(features, conv.pad)
    if type(conv).__name__ == "Conv2dSame":  # timm's convolution of TensorFlow's padding, worked out from its input
        from timm.layers.padding import pad_same

        same: Tensor = pad_same(features, list(conv.kernel_size), list(conv.stride), list(conv.dilation))
        return same
    # The attribute that torch itself pads by where a padding has a name instead of numbers.
    return F.pad(features, conv._reversed_padding_repeated_twice)
