"""Ridge regression by second moments: how weights have to change, and a ridge that frames beside the fit decide on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.variants.layers import convolutions
from bench.variants.layers.convolutions import is_constant

# Shares of an input's variance that may be added to it: how strongly weights hold to their present values. Few
# frames and many inputs want a strong hold; with the last one weights stay as they are.
_RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0, math.inf)
# One in so many sources, or frames, decides on the ridge.
_DECIDING = 4


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

    def __init__(self, decides: Tensor, felt: Tensor | None = None) -> None:
        """By frame [n], whether it `decides` on the ridge; `felt` [outputs, outputs] weighs the errors that do.

        Without `felt`, every output's error counts as a share of its variance.
        """
        self.decides, self._felt = decides, felt
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
        if self._felt is not None and len(change) == 1:
            return self._felt_error(change[0], intercept[0])
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

    def _felt_error(self, change: Tensor, intercept: Tensor) -> float:
        """What the logit difference would feel of what the deciding frames' outputs lack, but for a constant.

        The trace of the error's second moments times the gradient's.
        """
        assert self._felt is not None
        felt = self._felt.to(change)
        count, squares, products = (values[1].to(change) for values in (self._count, self._squares, self._products))
        read, lacking = self._read[1, 0].to(change), self._lacking[1, 0].to(change)
        explained = 2 * change @ products[0] - change @ squares[0] @ change.T
        crossed = 2 * torch.outer(intercept, lacking - change @ read) - count * torch.outer(intercept, intercept)
        return -float(((explained + crossed) * felt).sum() / count)
