"""What a network costs with any choice of widths: parameters, MACs, numbers in the file, and an estimate of time.

The estimate counts MACs and the values that convolutions write, on whose reading and writing an EfficientNet spends
much of its time, whatever its MACs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from bench.artifacts.footprint import positions_per_frame

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.detectors.detector import Detector
    from bench.variants.steps.prune.channels import Group

# What a tensor's name, shape and offsets take in a file's header, in numbers of four bytes.
_HEADER_NUMBERS = 40
# Writing one value, and what is done to it before the next convolution, takes as long as so many MACs: over four
# ways to halve a B5 in onnxruntime, time went with .6 of the share of MACs and .4 of that of values.
_MACS_A_VALUE = 67


@dataclass(frozen=True)
class _Layer:
    """What a module with weights costs: its numbers, and at how many positions of a frame it computes."""

    name: str
    rows: int
    columns: int
    weights: int
    bias: int
    statistics: int
    tensors: int
    positions: int
    macs_a_value: int


class Costs:
    """What is left of a detector by how wide its groups are."""

    def __init__(self, model: Detector, groups: list[Group]) -> None:
        self._groups, self._layers = groups, _layers(model)
        # The whole is counted without its header, of which pruning takes nothing away.
        self._full = self._cost({group.root: group.width for group in groups}, header=0)

    def shares(self, widths: Mapping[str, int]) -> NDArray[np.float64]:
        """What is left of parameters, MACs, stored numbers and time [4], each as a share of the whole."""
        shares: NDArray[np.float64] = self._cost(widths, _HEADER_NUMBERS) / self._full
        return shares

    def _cost(self, widths: Mapping[str, int], header: int) -> NDArray[np.float64]:
        """Parameters, MACs, stored numbers, time in MACs, if groups had these widths.

        Stored are the parameters, the statistics of the batch norms, and `header` numbers for each tensor.
        """
        lost_outputs: dict[str, float] = {}
        lost_inputs: dict[str, float] = {}
        for group in self._groups:
            surplus = group.width - widths[group.root]
            for name, share in group.outputs.items():
                lost_outputs[name] = lost_outputs.get(name, 0) + surplus * share
            for name, share in group.inputs.items():
                lost_inputs[name] = lost_inputs.get(name, 0) + surplus * share
        costs = np.zeros(4)
        for layer in self._layers:
            rows = 1 - lost_outputs.get(layer.name, 0) / layer.rows
            weights = layer.weights * rows
            if layer.columns:
                weights *= 1 - lost_inputs.get(layer.name, 0) / layer.columns
            numbers = weights + layer.bias * rows
            stored = numbers + layer.statistics * rows + header * layer.tensors
            macs = weights * layer.positions
            costs += (numbers, macs, stored, macs + layer.macs_a_value * layer.rows * rows * layer.positions)
        return costs


def _layers(model: Detector) -> list[_Layer]:
    """Every module of a detector that has weights."""
    positions = positions_per_frame(model)
    layers = []
    for name, module in model.named_modules():
        parameters = dict(module.named_parameters(recurse=False))
        if not parameters:
            continue
        if "weight" not in parameters:  # no channels: it stays as it is
            size = sum(parameter.numel() for parameter in parameters.values())
            layers.append(_Layer(name, 1, 0, size, 0, 0, len(parameters), 0, 0))
            continue
        weight = parameters["weight"]
        groups = module.groups if isinstance(module, nn.Conv2d) else 1
        # A depthwise convolution has no inputs of its own to lose: it loses them with its outputs.
        reads = isinstance(module, (nn.Conv2d, nn.Linear)) and (groups == 1 or groups < len(weight))
        statistics = [buffer.numel() for buffer in module.buffers(recurse=False) if buffer.ndim]
        columns = weight.shape[1] * groups if reads else 0
        bias = parameters["bias"].numel() if "bias" in parameters else 0
        sizes = len(weight), columns, weight.numel(), bias, sum(statistics), len(parameters) + len(statistics)
        count = positions.get(name, 0)
        # Over tokens a linear layer is one product of matrices, beside which writing takes no time.
        over_tokens = isinstance(module, nn.Linear) and count > 1
        layers.append(_Layer(name, *sizes, count, 0 if over_tokens else _MACS_A_VALUE))
    return layers
