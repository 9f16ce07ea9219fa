"""Changing a layer's weights input by input, so that the later ones make good for what is lost on those before.

Optimal brain surgeon in the order of the inputs (GPTQ: Frantar et al., ICLR 2023; SparseGPT: Frantar & Alistarh,
ICML 2023): the error of one input's weights is spread over the inputs that are still to come, as far as the
calibration frames say that they move together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import threadpoolctl
import torch
from scipy import linalg
from torch import Tensor, nn

from bench.errors import UserError
from bench.variants.layers.convolutions import as_map, watched

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.detectors.detector import Detector
    from bench.variants.checkpoints import Part, State
    from bench.variants.steps import StepContext

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

# Of the second moments' mean diagonal; directions that no frame shows are left where they are.
_DAMPING = 0.01
_TINY = 1e-12
# Columns whose corrections are applied to all later ones at once; a multiple of four.
_AT_ONCE = 128
# Positions of a frame that are looked at; neighbours say almost the same.
_POSITIONS = 400


@dataclass(frozen=True)
class Inputs:
    """What enters a layer: mean [in] and covariance [in, in]."""

    mean: NDArray[np.float32]
    covariance: NDArray[np.float32]


def inputs(model: Detector, names: Iterable[str], frames: int, work: StepContext) -> dict[str, Inputs]:
    """The inputs of every named 1x1 convolution or linear layer, over at most `frames` calibration frames."""
    device, part = next(model.parameters()).device, work.part("covariances")
    sums = _Sums(part, device)

    def observe(batch: NDArray[np.uint8], _: int) -> None:
        with torch.no_grad():
            model(torch.from_numpy(batch).to(device))

    with watched({name: model.get_submodule(name) for name in names}, sums.add):
        work.calibrate(part, frames, "covariances", observe, sums.state)
    return {name: sums.take(name) for name in list(sums.squares)}


class _Sums:
    """By name of a convolution, sums over its inputs' vectors: `squares` [in, in] and `totals` [in], about `shifts`.

    `counts` is how many vectors that were.
    """

    def __init__(self, part: Part, device: torch.device) -> None:
        self.squares, self.totals = part.tensors("sums", device), part.tensors("totals", device)
        self.shifts = part.tensors("about", device)
        self.counts: dict[str, int] = part.state.get("seen", {})

    def state(self) -> State:
        return {"sums": self.squares, "totals": self.totals, "about": self.shifts, "seen": self.counts}

    def add(self, name: str, module: nn.Module, inputs: Tensor, _: Tensor) -> None:
        """Add some positions of a batch of inputs: [n, in, h, w], of a linear layer [n, …, in]."""
        flat = as_map(module, inputs).flatten(2)
        every = -(-flat.shape[2] // _POSITIONS)
        rows = flat[:, :, ::every].transpose(0, 1).flatten(1)
        if name not in self.squares:
            # About the first batch's mean, so that little is lost where the two sums are subtracted.
            self.shifts[name] = rows.mean(1, keepdim=True)
            self.squares[name], self.totals[name] = rows.new_zeros(len(rows), len(rows)), 0
            self.counts[name] = 0
        rows = rows - self.shifts[name]
        self.squares[name].addmm_(rows, rows.T)
        self.totals[name] = self.totals[name] + rows.sum(1)
        self.counts[name] += rows.shape[1]

    def take(self, name: str) -> Inputs:
        """Mean and covariance of a convolution's inputs; its squares are given up for them."""
        offset = self.totals[name] / self.counts[name]
        covariance = self.squares.pop(name).div_(self.counts[name]).addr_(offset, offset, alpha=-1)
        return Inputs((self.shifts[name][:, 0] + offset).cpu().numpy(), covariance.cpu().numpy())


@contextmanager
def one_thread() -> Iterator[None]:
    """Without threads of NumPy's and SciPy's linear algebra.

    Thousands of small products: threads that wait for each other took a hundred seconds where one takes five.
    """
    # SciPy brings a library of its own, which this module has loaded: it takes no settings before.
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        yield


def side_by_side(work: Callable[[_Item], _Result], items: Iterable[_Item], threads: int) -> Iterator[_Result]:
    """`work` of every item, in their order; each on one thread, because threads that share small products only wait."""
    before = now = torch.get_num_threads()
    try:
        with one_thread(), ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            torch.set_num_threads(1)
            try:
                yield from pool.map(work, items)
            finally:
                pool.shutdown(cancel_futures=True)
                # What follows the load may have set another number meanwhile, and goes on from that.
                now = before if torch.get_num_threads() == 1 else torch.get_num_threads()
    finally:
        # Last: what leaves `one_thread` sets torch's threads too, to what they were when it was entered.
        torch.set_num_threads(now)


def one_by_one(
    weight: NDArray[np.float64],
    moments: NDArray[np.floating],
    change: Callable[[int, NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """`weight` [out, in] with every column changed, given its inputs' second moments [in, in].

    `change(column, left, curvature)` answers with the column's new values; `left` [out, in] is what the columns
    have become by then, `curvature` [in] how much a column's error costs, as a share of its square.
    """
    factor = _factor(moments)
    curvature = np.square(1 / np.diag(factor))
    # By column, so that what is read and written together lies together.
    left = np.ascontiguousarray(weight.T)
    changed = np.empty_like(left)
    for start in range(0, len(left), _AT_ONCE):
        stop = min(start + _AT_ONCE, len(left))
        errors = np.empty((stop - start, left.shape[1]))
        for column in range(start, stop):
            changed[column] = change(column, left.T, curvature)
            error = (left[column] - changed[column]) / factor[column, column]
            left[column:stop] -= factor[column, column:stop, None] * error
            errors[column - start] = error
        left[stop:] -= factor[start:stop, stop:].T @ errors
    return np.ascontiguousarray(changed.T)


def _factor(moments: NDArray[np.floating]) -> NDArray[np.float64]:
    """The upper Cholesky factor of the damped moments' inverse."""
    damped = moments.astype(np.float64)
    damped[np.diag_indices_from(damped)] += _DAMPING * np.trace(damped) / len(damped) + _TINY
    # Backwards, the factor of the moments is the upper one, and its inverse that of the moments' inverse: half the
    # work of inverting first and factoring then.
    lower, failed = linalg.lapack.dpotrf(damped[::-1, ::-1].T, lower=1, clean=1, overwrite_a=1)
    if failed:
        raise UserError(
            "calibration frames give a layer inputs that are not finite, or too large to be told apart; check the "
            "weights, and the frames that the detector was made for"
        )
    inverse, _ = linalg.lapack.dtrtri(lower, lower=1, overwrite_c=1)
    return np.ascontiguousarray(inverse[::-1, ::-1])
