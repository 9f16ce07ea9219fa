"""A frame's way through a network: what every part makes of it, and what of that speaks for a class.

Heat is Grad-CAM (Selvaraju et al., ICCV 2017) of the difference of the logits, for all parts in one backward pass. Of a
vision transformer it is what its family's map is the sum of: what the class token reads in each block.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bench.detectors import families
from bench.detectors.heads.class_token import ClassToken
from bench.detectors.networks.feature_maps import CHANNELS_LAST
from bench.detectors.preprocessing import Preprocess, WaveletBlend
from bench.records.inspection import Journey, NetworkInput, Stage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.detectors.detector import Detector
    from bench.records import ClassName, Preprocessing

GRAD_CAM, ROLL_OUT = "Grad-CAM of the logit difference", "what the class token reads, by roll-out"


def network_input(preprocessing: Preprocessing, frame: NDArray[np.uint8]) -> NetworkInput:
    """What the preprocessing makes of a fitted frame, uint8 RGB [3, size, size]."""
    module = Preprocess(preprocessing)
    with torch.inference_mode():
        before = module.scaled(torch.from_numpy(frame)[None])
        after = module.blend(before)
        low = module.blend.approximation(before) if isinstance(module.blend, WaveletBlend) else None
    colours = ("blue", "green", "red") if preprocessing.channels == "bgr" else ("red", "green", "blue")
    return NetworkInput(colours, _array(before), _array(after), None if low is None else _array(low))


def ready(detector: Detector) -> Detector:
    """The detector made ready for `journey`, in place: float32, evaluation, no gradients for its weights."""
    return detector.float().eval().requires_grad_(False)


def journey(detector: Detector, frame: NDArray[np.uint8], target: ClassName) -> Journey:
    """The way of a fitted frame, uint8 RGB [3, size, size]; `detector` is `ready`."""
    inputs = detector.preprocess(torch.from_numpy(frame)[None])
    if isinstance(detector.head, ClassToken):
        return _of_tokens(detector, inputs, target)
    outputs, attention, features = _watched(detector, inputs.requires_grad_())
    logits = detector.classify(features).logits
    difference = _for_target(logits[0, 1] - logits[0, 0], target)
    gradients = torch.autograd.grad(difference, list(outputs.values()), allow_unused=True)
    stages: list[Stage] = []
    for (name, output), gradient in zip(outputs.items(), gradients, strict=True):
        stage = _stage(detector, name, output, gradient)
        stages.append(stage)
        if name in attention:
            written = attention[name]
            stages.append(Stage(f"{stage.name}: attention map", tuple(written.shape), _array(written)))
    levels = _last_of_each_resolution(stages)
    titles = tuple(f"Grad-CAM, {height}×{width}" for height, width in (level.shape for level in levels))
    stages += _of_head(detector, features)
    return Journey(tuple(stages), levels, _pair(logits), "PyTorch", GRAD_CAM, titles)


def _watched(detector: Detector, inputs: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor], Any]:
    """What each part writes, by its name, in the order of the calls; the attention maps [1, h, w] of those that have
    one; and the features that they end in.
    """
    outputs: dict[str, Tensor] = {}
    attention: dict[str, Tensor] = {}

    def watch(name: str) -> Any:
        """A hook that keeps what a part writes, and its attention map."""

        def hook(module: nn.Module, given: Any, output: Any) -> Any:
            if not isinstance(output, Tensor):
                return None
            outputs[name] = output
            attention_map: Callable[..., Tensor] | None = getattr(module, "attention_map", None)
            if attention_map is not None:
                with torch.no_grad():
                    attention[name] = attention_map(*given)
            return output.clone()  # activations behind it write in place

        return hook

    handles = [part.register_forward_hook(watch(name)) for name, part in detector.parts()]
    try:
        with torch.enable_grad():
            features = detector.features(inputs)
            return outputs, attention, features
    finally:
        for handle in handles:
            handle.remove()


def _stage(detector: Detector, name: str, output: Tensor, gradient: Tensor | None) -> Stage:
    """A part of a network that is no transformer of tokens."""
    called, shape = families.stage_name(detector.architecture, name), tuple(output.shape)
    if output.dim() != 4:
        return Stage(called, shape)
    if type(detector.backbone).__name__ in CHANNELS_LAST:
        output = output.permute(0, 3, 1, 2)
        gradient = None if gradient is None else gradient.permute(0, 3, 1, 2)
    activation = output.detach().abs().mean(1)
    without_places: tuple[str, ...] = getattr(detector.backbone, "WITHOUT_PLACES", ())
    if gradient is None or output.shape[2:].numel() == 1 or name.split(".")[1] in without_places:
        return Stage(called, shape, _array(activation))
    heat = (gradient.mean((2, 3), keepdim=True) * output.detach()).sum(1).relu()
    return Stage(called, shape, _array(activation), _array(heat))


def _of_head(detector: Detector, features: Any) -> list[Stage]:
    """What the head's layers make of the features: vectors, drawn as rows of numbers."""
    if not isinstance(features, Tensor):
        return []  # of several branches: no chain of layers leads from them to the logits
    stages, value, counts = [], features, dict[str, int]()
    layers = detector.head.layers_to_logits()
    with torch.no_grad():
        for layer in layers:
            value = layer(value)
            name = _layer_name(layer) if layer is not layers[-1] else "logits"
            counts[name] = counts.get(name, 0) + 1
            numbered = f"head.{name}" + (f"_{counts[name]}" if counts[name] > 1 else "")
            called = families.stage_name(detector.architecture, numbered)
            stages.append(Stage(called, tuple(value.shape), in_rows(_array(value.abs().flatten(1)))))
    return stages


def _layer_name(layer: nn.Module) -> str:
    kind = type(layer).__name__.strip("_")
    return {"AdaptiveAvgPool2d": "avg_pool", "ClassTokens": "class_token"}.get(kind, kind.lower())


def _last_of_each_resolution(stages: list[Stage]) -> tuple[NDArray[np.float32], ...]:
    """The heat of the last part of each resolution, the coarsest first."""
    last = {stage.heat.shape: stage.heat for stage in stages if stage.heat is not None}
    return tuple(last[shape] for shape in sorted(last, key=math.prod))


def _of_tokens(detector: Detector, inputs: Tensor, target: ClassName) -> Journey:
    """Of a vision transformer: the halves of its blocks, and what the class token reads in each."""
    with torch.inference_mode():
        features = detector.features(inputs)
        maps = [_for_target(part[0], target) for part in detector.head.maps_by_block(features)]
        stages, value, patches = [], inputs, math.prod(features.grid)
        for index, (name, unit) in enumerate(detector.units()):
            value = unit(value)
            strength = value[0, -patches:].abs().mean(-1).reshape(features.grid)
            half, block = ("attention", "mlp")[(index + 1) % 2], (index - 1) // 2
            called = "embedding" if index == 0 else f"{name.removeprefix('backbone.')}.{half}"
            heat = maps[block].relu().numpy() if index and half == "attention" else None
            stages.append(Stage(called, tuple(value.shape), strength.numpy(), heat))
        stages += _of_head(detector, features)
        whole, early = sum(maps), sum(maps[: max(len(maps) // 2, 1)])
        assert isinstance(whole, Tensor)
        assert isinstance(early, Tensor)
        logits = detector.classify(features).logits
    levels = (whole.relu().numpy(), early.relu().numpy())
    titles = ("roll-out, all blocks", "roll-out, the first half of the blocks")
    return Journey(tuple(stages), levels, _pair(logits), "PyTorch", ROLL_OUT, titles)


def in_rows(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """The numbers of a vector [1, n] as a picture about as high as wide, row by row; the rest is zero."""
    import numpy as np

    count = vector.shape[1]
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    padded = np.zeros(rows * columns, np.float32)
    padded[:count] = vector[0]
    return padded.reshape(rows, columns)


def _for_target(for_fake: Tensor, target: ClassName) -> Tensor:
    return for_fake if target == "fake" else -for_fake


def _pair(logits: Tensor) -> tuple[float, float]:
    real, fake = logits[0].tolist()
    return real, fake


def _array(tensor: Tensor) -> NDArray[np.float32]:
    """The only frame's part of a tensor [1, …]; a matrix of rows stays as it is."""
    value: NDArray[np.float32] = tensor.detach().numpy()
    return value[0] if tensor.dim() > 2 else value
