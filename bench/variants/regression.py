"""Ridge regression of what convolutions should write on what they read, from sums over batches of frames.

How strong the ridge is, some of the frames decide: they judge what the others give.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Shares of an input's variance that may be added to it: how strongly weights hold to their present values. Few
# frames and many inputs want a strong hold, and the frames themselves tell: every so many of them judge, for each
# convolution, what the others give.
_RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
_JUDGING = 4
# Below this share of its mean square, an input's variance is rounding.
_CONSTANT = 1e-9


class Moments:
    """Second moments of what convolutions read, with what their outputs lack; one set a convolution group.

    Kept apart for frames that judge a fit and for those that make it: sums [2, groups, ...].
    """

    def __init__(self) -> None:
        self.frames = 0

    def add(self, read: Tensor, lacking: Tensor, frames: int) -> None:
        """`read` [S, groups, d], `lacking` [S, groups, outputs a group], S / frames rows of each frame in turn."""
        if not self.frames:
            (_, groups, inputs), outputs, device = read.shape, lacking.shape[2], read.device
            self._shift = read.mean(0), lacking.mean(0)
            self._count = torch.zeros(2, 1, 1, dtype=torch.float64, device=device)
            self._squares = torch.zeros(2, groups, inputs, inputs, dtype=torch.float64, device=device)
            self._products = torch.zeros(2, groups, inputs, outputs, dtype=torch.float64, device=device)
            self._read = torch.zeros(2, groups, inputs, dtype=torch.float64, device=device)
            self._lacking = torch.zeros(2, groups, outputs, dtype=torch.float64, device=device)
            self._errors = torch.zeros(2, groups, outputs, dtype=torch.float64, device=device)
        # Around the first batch's means, float32 products lose nothing that is needed.
        read, lacking = (read - self._shift[0]).transpose(0, 1), (lacking - self._shift[1]).transpose(0, 1)
        judges = (torch.arange(self.frames, self.frames + frames, device=read.device) + 1) % _JUDGING == 0
        judges = judges.repeat_interleave(read.shape[1] // frames)
        self.frames += frames
        for part, rows in enumerate((~judges, judges)):
            x, y = read[:, rows], lacking[:, rows]
            self._count[part] += x.shape[1]
            self._squares[part] += x.transpose(1, 2) @ x
            self._products[part] += x.transpose(1, 2) @ y
            self._read[part] += x.sum(1)
            self._lacking[part] += y.sum(1)
            self._errors[part] += y.square().sum(1)

    def solve(self) -> tuple[Tensor, Tensor]:
        """By how much weights [groups, outputs, d] and intercepts [groups, outputs] have to change."""
        errors = [self._error(*self._fit(slice(0, 1), ridge)) for ridge in _RIDGES]
        ridge = _RIDGES[min(range(len(errors)), key=errors.__getitem__)]
        change, intercept = self._fit(slice(0, 2), ridge)
        before = self._shift[0][:, None]
        return change, intercept + self._shift[1] - (change * before).sum(2)

    def _fit(self, parts: slice, ridge: float) -> tuple[Tensor, Tensor]:
        """Change and intercept, about the shift."""
        count = self._count[parts].sum()
        mean, wanted = self._read[parts].sum(0) / count, self._lacking[parts].sum(0) / count
        squares = self._squares[parts].sum(0) / count - mean[:, :, None] * mean[:, None]
        products = self._products[parts].sum(0) / count - mean[:, :, None] * wanted[:, None]
        variance = squares.diagonal(dim1=1, dim2=2)
        # Infinitely far away: inputs that are constant over the frames, whose variance is rounding, get no weight.
        constant = variance <= _CONSTANT * (variance + (mean + self._shift[0]).square())
        scale = torch.where(constant, torch.inf, variance.clamp_min(0).sqrt())
        correlation = squares / (scale[:, :, None] * scale[:, None])
        correlation.diagonal(dim1=1, dim2=2).add_(ridge)
        factor, _ = torch.linalg.cholesky_ex(correlation)
        change = (torch.cholesky_solve(products / scale[:, :, None], factor) / scale[:, :, None]).transpose(1, 2)
        return change, wanted - (change * mean[:, None]).sum(2)

    def _error(self, change: Tensor, intercept: Tensor) -> float:
        """What the judging frames' outputs would still lack, as a share of what they lack now, by the mean output."""
        count, squares, products = self._count[1].sum(), self._squares[1], self._products[1]
        read, lacking, errors = self._read[1], self._lacking[1], self._errors[1]
        explained = (change * (2 * products.transpose(1, 2) - change @ squares)).sum(2)
        crossed = 2 * intercept * (lacking - (change * read[:, None]).sum(2)) - count * intercept.square()
        return float(((errors - explained - crossed) / self._errors.sum(0).clamp_min(1e-30)).mean())
